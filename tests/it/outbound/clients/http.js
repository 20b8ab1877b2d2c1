// Node.js' own http and https, and with an agent if the first argument names one.
const [agentOf, url] = process.argv.slice(2);
const client = url.startsWith("https:") ? require("https") : require("http");
const proxy = process.env.CF_INSTANCE_MTLS_PROXY;
const made = {
  own: () => undefined,
  "http-proxy-agent": () => new (require("http-proxy-agent").HttpProxyAgent)(proxy),
  "https-proxy-agent": () => new (require("https-proxy-agent").HttpsProxyAgent)(proxy),
};
const agent = made[agentOf]();

const ask = (path, body) =>
  new Promise((resolve, reject) => {
    const options = { agent, method: body ? "POST" : "GET", rejectUnauthorized: false };
    const request = client.request(url + path, options, (response) => {
      const parts = [];
      response.on("data", (part) => parts.push(part));
      response.on("end", () => resolve(Buffer.concat(parts)));
      response.on("error", reject);
    });
    request.on("error", reject);
    // By itself, so that it is sent in chunks.
    if (body) request.write(body);
    request.end();
  });

(async () => {
  console.log(`${await ask("/hello")} ${await ask("/count", Buffer.alloc(100000))} ${(await ask("/large")).length}`);
})();
