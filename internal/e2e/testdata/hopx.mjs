// Does what a user of HopX's JavaScript client does, request by request, without any package.
//
//     node hopx.mjs BASE_URL API_KEY

import assert from "node:assert/strict";

const [base, key] = process.argv.slice(2);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// One call, as the client makes it: 5xx is tried again, an error is read from either of its shapes.
async function call(method, url, headers, body, attempt = 1) {
  const response = await fetch(url, {
    method,
    headers: { "Content-Type": "application/json", ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const answer = await response.json();
  if (response.ok) return answer;
  if (response.status >= 500 && attempt < 3) {
    await pause(1000 * 2 ** (attempt - 1));
    return call(method, url, headers, body, attempt + 1);
  }
  const message = String(answer.message || answer.error?.message);
  throw Object.assign(new Error(message), { status: response.status, code: answer.code ?? answer.error?.code });
}

class Sandbox {
  static async connect(id, apiKey) {
    const sandbox = new Sandbox();
    sandbox.key = { "X-API-Key": apiKey };
    const info = await call("GET", `${base}/v1/sandboxes/${id}`, sandbox.key);
    assert.equal(info.status, "running");
    sandbox.host = info.public_host;
    await sandbox.refresh(id);
    assert.ok(sandbox.hoursLeft() >= 1, "it would ask for another token before each call");
    return sandbox;
  }

  async refresh(id) {
    const { auth_token, token_expires_at } = await call("POST", `${base}/v1/sandboxes/${id}/token/refresh`, this.key);
    this.auth = { Authorization: `Bearer ${auth_token}` };
    this.expires = new Date(token_expires_at);
  }

  hoursLeft() {
    return (this.expires.getTime() - Date.now()) / 3_600_000;
  }

  agent(method, path, body) {
    return call(method, this.host + path, this.auth, body);
  }

  runCode(code, more = {}) {
    return this.agent("POST", "/execute", { code, language: "javascript", timeout: 120, workdir: "/workspace", ...more });
  }

  background(code, name) {
    return this.agent("POST", "/execute/background", { code, language: "javascript", timeout: 300, workdir: "/workspace", name });
  }

  async wait(id, ...states) {
    for (let i = 0; i < 1200; i++) {
      const { processes } = await this.agent("GET", "/execute/processes");
      const found = processes.find((p) => p.process_id === id);
      if (states.includes(found.status)) return found;
      await pause(100);
    }
    assert.fail(`it is none of ${states}`);
  }

  // The client knows no call for it: it puts back all but one of what it is shown.
  async unset(name) {
    const { env_vars } = await this.agent("GET", "/env");
    delete env_vars[name];
    return this.agent("PUT", "/env", { env_vars });
  }
}

await assert.rejects(Sandbox.connect("sb1", key + "x"), { status: 401, code: "INVALID_TOKEN" });
const sandbox = await Sandbox.connect("sb1", key);

const good = await sandbox.runCode("console.log('grüße')");
assert.deepEqual([good.success, good.stdout, good.exit_code], [true, "grüße\n", 0]);
for (const rich of ["png", "html", "json", "result"]) assert.equal(good[rich], undefined);
const bad = await sandbox.runCode("process.exit(3)");
assert.deepEqual([bad.success, bad.exit_code], [false, 3]);

await sandbox.agent("PATCH", "/env", { env_vars: { PLACE: "Kraków", API_KEY: "hidden" }, merge: true });
await sandbox.unset("PLACE");
const show = "console.log(process.env.PLACE, process.env.API_KEY)";
assert.equal((await sandbox.runCode(show)).stdout, "undefined hidden\n");
await sandbox.agent("DELETE", "/env");

const short = await sandbox.background("console.log('done')", "short");
assert.equal((await sandbox.wait(short.process_id, "completed", "failed")).stdout, "done\n");
const long = await sandbox.background("setTimeout(() => {}, 300_000)", "long");
await sandbox.wait(long.process_id, "running");
await sandbox.agent("DELETE", "/execute/kill", { process_id: long.process_id });
await sandbox.wait(long.process_id, "killed");
await assert.rejects(sandbox.agent("POST", "/execute/kill/proc_1"), { code: "PROCESS_NOT_FOUND", message: "There is no such process." });
console.log("ok");
