// Node.js' own fetch, or undici's with what the first argument names.
const [agentOf, url] = process.argv.slice(2);
const undici = agentOf === "own" ? undefined : require("undici");
const dispatchers = {
  own: () => undefined,
  ProxyAgent: () => new undici.ProxyAgent(process.env.CF_INSTANCE_MTLS_PROXY),
  EnvHttpProxyAgent: () => new undici.EnvHttpProxyAgent(),
};
const dispatcher = dispatchers[agentOf]();
const ask = (path, more) => (undici ?? globalThis).fetch(url + path, { dispatcher, ...more });

(async () => {
  const hello = await (await ask("/hello")).text();
  const body = new ReadableStream({
    start(sink) {
      for (let part = 0; part < 100; part++) sink.enqueue(new Uint8Array(1000));
      sink.close();
    },
  });
  const count = await (await ask("/count", { method: "POST", body, duplex: "half" })).text();
  console.log(hello, count, (await (await ask("/large")).arrayBuffer()).byteLength);
  await dispatcher?.close();
})();
