// Reads a token from stdin, and prints which app has made it for us.
//
//     vestibule token jwt --audience billing | node receiver.mjs ca.crt billing
//
// Needs Node.js 20 or newer and the package jose, 6 or newer.
// Left out: what node:crypto does not show of a certificate (whether its key is for signatures, path lengths, name
// constraints, critical extensions that nobody knows), CRLs, one use only (replay), roles, a longest life for tokens,
// and JSON with a member that is there twice.
// A token that is bound to a certificate (cnf) is refused, since nobody tells this program who the caller is.

import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { decodeProtectedHeader, jwtVerify } from 'jose';

const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2';

/** The app that has made `token` for `audience`, as its certificate says. Everything else is an exception. */
export async function verify(token, cas, audience) {
  if (token.length > 16384) throw new Error('it is too long');
  const { x5c } = decodeProtectedHeader(token);
  if (!Array.isArray(x5c) || x5c.length < 1 || x5c.length > 6) throw new Error('it carries no certificates');
  const path = x5c.map((text) => new X509Certificate(Buffer.from(text, 'base64')));
  const leaf = path[0];

  if (!isIssuedBelow(cas, path)) throw new Error('no CA of ours vouches for its certificate');
  // What Node.js calls keyUsage are the extended ones.
  if (leaf.ca || !leaf.keyUsage?.includes(CLIENT_AUTH)) throw new Error("its certificate is not a client's");

  // From here on the certificate is believed, and the token is not.
  const { payload } = await jwtVerify(token, leaf.publicKey, {
    algorithms: algorithms(leaf.publicKey),
    audience,
    clockTolerance: 60,
    requiredClaims: ['exp', 'nbf', 'iat', 'sub'],
  });
  if (payload.iat > Date.now() / 1000 + 60) throw new Error('it is from the future');
  const app = appOf(leaf);
  if (payload.sub !== `cf:app:${app}`) throw new Error('it speaks for another app than its certificate');
  if ('cnf' in payload) throw new Error("it is bound to a certificate, and the caller's is not known here");
  return app;
}

/** Whether a way of valid certificates leads from the first of `path` over those behind it to one of `cas`. */
function isIssuedBelow(cas, path) {
  const now = Date.now();
  const isValid = (one) => now >= Date.parse(one.validFrom) && now <= Date.parse(one.validTo);
  const hasIssued = (ca, one) => ca.ca && isValid(ca) && one.checkIssued(ca) && one.verify(ca.publicKey);
  for (const [place, one] of path.entries()) {
    if (!isValid(one)) return false;
    if (cas.some((ca) => hasIssued(ca, one))) return true;
    if (!path[place + 1] || !hasIssued(path[place + 1], one)) return false;
  }
  return false;
}

/** The key says which algorithms count, and not the header (RFC 8725, section 3.1). */
function algorithms({ asymmetricKeyType: type, asymmetricKeyDetails: details }) {
  if (type === 'rsa' && details.modulusLength >= 2048 && details.modulusLength <= 4096) return ['RS256', 'PS256'];
  if (type === 'ec' && details.namedCurve === 'prime256v1') return ['ES256'];
  if (type === 'ec' && details.namedCurve === 'secp384r1') return ['ES384'];
  return type === 'ed25519' ? ['EdDSA'] : [];
}

/** The GUID in OU=app:GUID. The CN is the instance's; without it the instance is about to stop. */
function appOf(leaf) {
  const { OU: units = [], CN: instance } = leaf.toLegacyObject().subject;
  const apps = [units].flat().filter((unit) => unit.startsWith('app:'));
  if (apps.length !== 1 || typeof instance !== 'string') {
    throw new Error('its certificate does not name one app and one instance');
  }
  return apps[0].slice('app:'.length);
}

if (process.argv.length !== 4) {
  console.error('usage: receiver.mjs CA_FILE AUDIENCE < TOKEN');
  process.exit(2);
}
const [, , file, audience] = process.argv;
const cas = readFileSync(file, 'utf8')
  .match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g)
  .map((pem) => new X509Certificate(pem));
try {
  console.log(`permit ${await verify(readFileSync(0, 'utf8').trim(), cas, audience)}`);
} catch (error) {
  console.error(`refused: ${error.message}`);
  process.exitCode = 1;
}
