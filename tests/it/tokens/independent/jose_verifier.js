// Verifies a token by npm's jose and the chain by Node's own X509Certificate: jose_verifier.js CA AUDIENCE < TOKEN
const { readFileSync } = require('node:fs');
const { X509Certificate } = require('node:crypto');
const { decodeProtectedHeader, importX509, jwtVerify } = require('jose');

const pem = (der) => `-----BEGIN CERTIFICATE-----\n${der}\n-----END CERTIFICATE-----\n`;

// Each has issued the one before it; the CA has issued the last, or is it.
function checkChain(x5c, ca) {
  const chain = [...x5c.map((der) => new X509Certificate(Buffer.from(der, 'base64'))), ca];
  for (let at = 0; at + 1 < chain.length; at += 1) {
    const [certificate, issuer] = [chain[at], chain[at + 1]];
    if (!certificate.checkIssued(issuer) || !certificate.verify(issuer.publicKey)) {
      throw new Error(`${certificate.subject} is not issued by ${issuer.subject}`);
    }
    if (!issuer.ca) throw new Error(`${issuer.subject} is no CA`);
  }
}

async function main() {
  const [ca, audience] = process.argv.slice(2);
  const token = readFileSync(0, 'utf8');
  const { alg, x5c } = decodeProtectedHeader(token);
  const key = await importX509(pem(x5c[0]), alg);
  const options = { audience, typ: 'JWT', algorithms: ['RS256', 'PS256', 'ES256', 'ES384', 'EdDSA'] };
  const { payload } = await jwtVerify(token, key, options);
  checkChain(x5c, new X509Certificate(readFileSync(ca)));
  console.log(JSON.stringify({ claims: payload }));
}

main().catch((error) => {
  console.log(JSON.stringify({ error: String(error) }));
  process.exitCode = 1;
});
