"""Does what a user of HopX's Python client does, request by request, with the standard library alone.

    python3 hopx.py BASE_URL API_KEY
"""

import json
import sys
import time
import urllib.error
import urllib.request


class Error(Exception):
    def __init__(self, status, code, message):
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code, self.message = status, code, message


def call(method, url, headers, body=None, timeout=10):
    """One call, as the client makes it: 5xx and 429 are tried again, an error is read from either of its shapes."""
    data = None if body is None else json.dumps(body).encode()
    for attempt in range(3):
        request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                return json.loads(response.read())
        except urllib.error.HTTPError as e:
            answer = json.loads(e.read())
            if (e.code == 429 or e.code >= 500) and attempt < 2:
                time.sleep(2**attempt)
                continue
            error = answer["error"]
            if isinstance(error, dict):
                raise Error(e.code, error["code"], error["message"])
            raise Error(e.code, answer["code"], error)


class Sandbox:
    def __init__(self, id, key, base):
        self.id, self.key, self.base = id, {"X-API-Key": key}, base
        info = call("GET", f"{base}/v1/sandboxes/{id}", self.key)
        assert info["status"] == "running", info
        self.host = info["public_host"].rstrip("/")
        token = call("POST", f"{base}/v1/sandboxes/{id}/token/refresh", self.key)
        self.auth = {"Authorization": "Bearer " + token["auth_token"]}
        assert self.agent("GET", "/health")["status"] == "healthy"

    @classmethod
    def create(cls, template, key, base):
        made = call("POST", f"{base}/v1/sandboxes", {"X-API-Key": key}, {"template_name": template})
        return cls(made["id"], key, base)

    def agent(self, method, path, body=None, timeout=10):
        return call(method, self.host + path, self.auth, body, timeout)

    def run_code(self, code, timeout=120, **more):
        body = {"language": "python", "code": code, "workdir": "/workspace", "timeout": timeout, **more}
        return self.agent("POST", "/execute", body, timeout + 30)

    def background(self, code, name):
        return self.agent("POST", "/execute/background", {"code": code, "language": "python", "timeout": 300, "name": name})

    def process(self, id):
        return next(p for p in self.agent("GET", "/execute/processes")["processes"] if p["process_id"] == id)

    def wait(self, id, *states):
        for _ in range(1200):
            process = self.process(id)
            if process["status"] in states:
                return process
            time.sleep(0.1)
        raise AssertionError(f"it is {process['status']}, not one of {states}")


def main(base, key):
    try:
        Sandbox("sb1", key + "x", base)
        raise AssertionError("a wrong key was taken")
    except Error as e:
        assert (e.status, e.code) == (401, "INVALID_TOKEN"), e

    sandbox = Sandbox.create("code-interpreter", key, base)
    good = sandbox.run_code("print('grüße')")
    assert (good["success"], good["stdout"], good["exit_code"]) == (True, "grüße\n", 0), good
    bad = sandbox.run_code("x")
    assert not bad["success"] and bad["exit_code"] == 1 and "NameError" in bad["stderr"], bad

    sandbox.agent("PATCH", "/env", {"env_vars": {"PLACE": "Kraków", "API_KEY": "hidden"}, "merge": True})
    assert sandbox.agent("GET", "/env")["env_vars"] == {"PLACE": "Kraków", "API_KEY": "***MASKED***"}
    show = "import os; print(os.environ['PLACE'], os.environ['API_KEY'])"
    assert sandbox.run_code(show)["stdout"] == "Kraków hidden\n"
    assert sandbox.run_code(show, env={"PLACE": "here"})["stdout"] == "here hidden\n"
    assert sandbox.agent("DELETE", "/env")["count"] == 0

    started = sandbox.background("print('done')", "short")
    process = sandbox.wait(started["process_id"], "completed", "failed")
    assert (process["status"], process["stdout"], process["name"]) == ("completed", "done\n", "short"), process

    started = sandbox.background("import time; time.sleep(300)", "long")
    sandbox.wait(started["process_id"], "running")
    snapshot = sandbox.agent("GET", "/metrics/snapshot")
    assert snapshot["process"]["count"] == snapshot["active_executions"] == 1, snapshot
    killed = sandbox.agent("POST", f"/execute/kill/{started['process_id']}")
    assert killed["status"] == "killed", killed
    sandbox.wait(started["process_id"], "killed")
    try:
        sandbox.agent("POST", "/execute/kill/proc_1")
        raise AssertionError("a process that is not there was killed")
    except Error as e:
        assert e.code == "PROCESS_NOT_FOUND" and "not found" not in e.message, e

    call("DELETE", f"{base}/v1/sandboxes/{sandbox.id}", sandbox.key)
    print("ok")


main(*sys.argv[1:])
