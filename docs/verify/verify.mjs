// Verify a callback of boomerang. Copy the functions; Node's own modules are all they need.
import { createHmac, timingSafeEqual } from "node:crypto";

const tolerance = 300; // seconds

const hmac = (key, message) => createHmac("sha256", key).update(message).digest();

// timingSafeEqual throws when the lengths differ.
function equal(a, b) {
  [a, b] = [Buffer.from(a), Buffer.from(b)];
  return a.length === b.length && timingSafeEqual(a, b);
}

// Whether webhook-signature holds: one of the secrets signed this body, its id and its time, at most 5 minutes from now.
// secrets: strings; headers: as in req.headers, where Node has made all names lower case; body: a Buffer of the bytes as
// they came (in Express: express.raw({ type: "application/json" })); now: Unix seconds.
export function verify(secrets, headers, body, now) {
  const timestamp = headers["webhook-timestamp"] ?? "";
  if (!/^[0-9]+$/.test(timestamp) || Math.abs(now - Number(timestamp)) > tolerance) return false;
  const message = Buffer.concat([Buffer.from(`${headers["webhook-id"] ?? ""}.${timestamp}.`), body]);
  const signatures = (headers["webhook-signature"] ?? "").split(" ");
  return secrets.some((secret) => {
    let key = secret;
    if (secret.startsWith("whsec_")) {
      key = Buffer.from(secret.slice(6), "base64");
      if (key.toString("base64") !== secret.slice(6) || key.length < 24 || key.length > 64) return false; // it is no key
    }
    const expected = "v1," + hmac(key, message).toString("base64");
    return signatures.some((signature) => equal(signature, expected));
  });
}

// Whether X-HopX-Signature holds: one of the secrets signed this body, no matter when.
export function verifyBody(secrets, headers, body) {
  const signature = headers["x-hopx-signature"] ?? ""; // never headers["X-HopX-Signature"]: that is undefined
  return secrets.some((secret) => equal(signature, "sha256=" + hmac(secret, body).toString("hex")));
}

// To try it, and for our tests: the body on standard input, the headers in the environment under their CGI names, the
// secrets as arguments. NOW stands for the clock.
if (process.argv[1]?.endsWith("verify.mjs")) {
  const headers = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (name.startsWith("HTTP_")) headers[name.slice(5).toLowerCase().replaceAll("_", "-")] = value;
  }
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  const secrets = process.argv.slice(2);
  const body = Buffer.concat(chunks);
  const now = Number(process.env.NOW ?? Math.floor(Date.now() / 1000));
  console.log("webhook-signature", verify(secrets, headers, body, now));
  console.log("X-HopX-Signature", verifyBody(secrets, headers, body));
}
