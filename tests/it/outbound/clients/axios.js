const axios = require("axios");
const url = process.argv[3];

(async () => {
  const hello = (await axios.get(url + "/hello")).data;
  const count = (await axios.post(url + "/count", Buffer.alloc(100000))).data;
  const large = (await axios.get(url + "/large", { responseType: "arraybuffer" })).data;
  console.log(hello, count, large.byteLength);
})();
