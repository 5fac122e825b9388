//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/coder/websocket"

	"boomerang/internal/execution"
)

// listener follows an execution as anybody with curl would, over as many connections as it takes.
type listener struct {
	h      *house
	id     execution.ID
	last   string
	text   map[string]*bytes.Buffer // by the event's name
	gaps   []string
	end    map[string]any
	breaks int
}

func (h *house) listen(id execution.ID) *listener {
	return &listener{h: h, id: id, text: map[string]*bytes.Buffer{"stdout": {}, "stderr": {}}}
}

// open connects; nil while there is no server.
func (l *listener) open() io.ReadCloser {
	request, err := http.NewRequest(http.MethodGet, l.h.url+"/executions/"+string(l.id)+"/events", nil)
	if err != nil {
		l.h.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+l.h.token)
	if l.last != "" {
		request.Header.Set("Last-Event-ID", l.last)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil
	}
	if response.StatusCode != http.StatusOK {
		_ = response.Body.Close()
		l.h.t.Fatalf("events from %q on: %d", l.last, response.StatusCode)
	}
	return response.Body
}

// hear takes so many events of output over one connection, or all there are, and breaks it.
func (l *listener) hear(most int) {
	l.h.t.Helper()
	var body io.ReadCloser
	if !eventually(l.h.t, func() bool { body = l.open(); return body != nil }) {
		l.h.t.Fatal("no server")
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, mib)
	var id, name, data string
	for most > 0 && lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch {
		case field == "id":
			id = value
		case field == "event":
			name = value
		case field == "data":
			data = value
		case field == "" && name != "":
			if l.take(name, data) {
				most--
			}
			l.last, name = id, ""
		}
	}
	l.breaks++
}

func (l *listener) take(name, data string) (output bool) {
	l.h.t.Helper()
	var fields map[string]any
	if err := json.Unmarshal([]byte(data), &fields); err != nil {
		l.h.t.Fatalf("event %s: %q: %v", name, data, err)
	}
	switch name {
	case "stdout", "stderr":
		text := fields["data"].(string)
		if fields["encoding"] == "base64" {
			raw, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				l.h.t.Fatal(err)
			}
			text = string(raw)
		}
		l.text[name].WriteString(text)
		return true
	case "gap":
		l.gaps = append(l.gaps, data)
		at := l.text[fields["stream"].(string)]
		at.WriteString(leftOut(int(fields["bytes"].(float64))))
	case "end":
		l.end = fields
	}
	return false
}

// printer prints bytes that are text in part, for ten seconds: longer than two restarts take on a busy machine.
const (
	printer = `
import hashlib, os, sys, time
for i in range(100):
    os.write(1, ("größe %d 🪃\n" % i).encode()[i % 3:] + hashlib.sha256(b"o%d" % i).digest()[:i % 33])
    os.write(2, hashlib.sha256(b"e%d" % i).digest()[:i % 7])
    time.sleep(0.1)
sys.exit(3)`
	printed = 100
)

// printerPrints is what printer prints.
func printerPrints() (stdout, stderr string) {
	var out, err bytes.Buffer
	for i := range printed {
		digest := sha256.Sum256(fmt.Appendf(nil, "o%d", i))
		out.WriteString(fmt.Sprintf("größe %d 🪃\n", i)[i%3:])
		out.Write(digest[:i%33])
		digest = sha256.Sum256(fmt.Appendf(nil, "e%d", i))
		err.Write(digest[:i%7])
	}
	return out.String(), err.String()
}

// freePort is one that a server can listen on again after a restart.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// awaken waits until the server of another process answers.
func (h *house) awaken() {
	h.t.Helper()
	if !eventually(h.t, func() bool {
		response, err := http.Get(h.url + "/healthz")
		if err == nil {
			_ = response.Body.Close()
		}
		return err == nil
	}) {
		h.t.Fatal("the server does not start")
	}
}

// A client that loses its connection five times, and a command that is never told of anything, have every byte once though
// the server is killed and restarted meanwhile.
func TestWhoFollowsLosesNothingWhateverBreaks(t *testing.T) {
	t.Parallel()
	binary := build(t, "boomerang/cmd/boomerang")
	port := freePort(t)
	h := &house{t: t, config: defaults(), url: "http://127.0.0.1:" + port}
	h.config.DataDir, h.config.HTTP.Addr, h.config.Dispatch.Slots = t.TempDir(), "127.0.0.1:"+port, 1
	end, _ := launch(t, h.config)
	h.awaken()
	h.token = h.tokenFor("me")

	file := filepath.Join(t.TempDir(), "printer.py")
	if err := os.WriteFile(file, []byte(printer), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), binary, "run", "-q", file, "--server", h.url, "--token", h.token)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	var id execution.ID
	if !eventually(t, func() bool {
		_, page := h.call(http.MethodGet, "/executions", nil)
		if page["count"] == 1.0 {
			id = execution.ID(page["executions"].([]any)[0].(map[string]any)["execution_id"].(string))
		}
		return id != ""
	}) {
		t.Fatal("nothing was submitted")
	}

	l := h.listen(id)
	for l.hear(4); l.end == nil && l.breaks < 6; l.hear(4) {
		switch l.breaks {
		case 2:
			end(syscall.SIGKILL)
			end, _ = launch(t, h.config)
		case 4:
			end(syscall.SIGTERM)
			end, _ = launch(t, h.config)
		}
	}
	if l.end != nil {
		t.Errorf("it has ended after %d breaks; they prove nothing", l.breaks)
	}
	for l.end == nil {
		l.hear(1000)
	}
	wantOut, wantErr := printerPrints()
	same(t, "stdout of the events", l.text["stdout"].String(), wantOut)
	same(t, "stderr of the events", l.text["stderr"].String(), wantErr)
	if l.end["status"] != "failed" || l.end["exit_code"] != 3.0 || l.end["stdout_bytes"] != float64(len(wantOut)) {
		t.Errorf("it ended with %v", l.end)
	}
	err := command.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 3 {
		t.Errorf("boomerang run: %v, want the program's exit code 3; stderr %q", err, stderr.String())
	}
	same(t, "stdout of boomerang run", stdout.String(), wantOut)
	same(t, "stderr of boomerang run", stderr.String(), wantErr)

	for _, flag := range []string{"-q", "-qf"} {
		command := exec.CommandContext(t.Context(), binary, "logs", flag, string(id), "--server", h.url, "--token", h.token)
		stdout.Reset()
		stderr.Reset()
		command.Stdout, command.Stderr = &stdout, &stderr
		if err := command.Run(); err != nil {
			t.Errorf("boomerang logs %s: %v, %s", flag, err, stderr.String())
		}
		same(t, "stdout of boomerang logs", stdout.String(), wantOut)
		same(t, "stderr of boomerang logs", stderr.String(), wantErr)
	}
	if !eventually(t, func() bool { return len(labelled(t, "boomerang.execution="+string(id))) == 0 }) {
		t.Error("the container is left behind")
	}
	end(syscall.SIGTERM)
}

func TestAFollowerIsToldWhatAFloodLeavesOut(t *testing.T) {
	const line, size, tail = 64, 8 * mib, 64 * kib
	h := enter(t)
	id := h.submit(fmt.Sprintf("import sys\nfor i in range(0, %d, 8192):\n sys.stdout.write(''.join('%%063d\\n' %% n for n in range(i, i + 8192)))", size/line))
	stuck := h.listen(id).open() // takes nothing, and keeps nobody waiting
	defer stuck.Close()
	live := h.listen(id)
	for live.end == nil {
		live.hear(1)
	}
	_, _, raw := h.output(id, "stdout")
	same(t, "what was followed", live.text["stdout"].String(), raw)
	later := h.listen(id)
	later.hear(1000)
	same(t, "what was read afterwards", later.text["stdout"].String(), live.text["stdout"].String())
	if want := fmt.Sprintf(`[{"stream":"stdout","bytes":%d}]`, size-mib-tail); fmt.Sprint(live.gaps) != want || fmt.Sprint(later.gaps) != want {
		t.Errorf("told of the gaps %v and %v, want %s", live.gaps, later.gaps, want)
	}
	h.callback(id)
}

func TestAStreamRunsCodeOverAWebSocket(t *testing.T) {
	h := enter(t)
	open := func(code string) *websocket.Conn {
		conn, _, err := websocket.Dial(t.Context(), strings.Replace(h.url, "http", "ws", 1)+"/execute/stream", //nolint:bodyclose // it closes it
			&websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + h.token}}})
		if err != nil {
			t.Fatal(err)
		}
		frame, _ := json.Marshal(fields{"type": "execute", "code": code, "language": "bash", "env": fields{"NAME": "ann"}})
		if err := conn.Write(t.Context(), websocket.MessageText, frame); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	hear := func(conn *websocket.Conn) (frame map[string]any, err error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, text, err := conn.Read(ctx)
		if err == nil {
			err = json.Unmarshal(text, &frame)
		}
		return frame, err
	}

	conn := open("echo hello $NAME; echo oops >&2; exit 3")
	printed, rest := map[any]string{}, []string{}
	for {
		frame, err := hear(conn)
		if err != nil {
			if websocket.CloseStatus(err) != websocket.StatusNormalClosure {
				t.Error(err)
			}
			break
		}
		if data, ok := frame["data"]; ok {
			printed[frame["type"]] += data.(string)
			continue
		}
		rest = append(rest, fmt.Sprint(frame["type"], frame["exit_code"], frame["success"]))
	}
	if printed["stdout"] != "hello ann\n" || printed["stderr"] != "oops\n" || fmt.Sprint(rest) != "[result3 false complete<nil> false]" {
		t.Errorf("got %q and %v", printed, rest)
	}

	conn = open("echo one; sleep 1; echo two")
	frame, err := hear(conn)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.CloseNow() // lost
	if record := h.record(execution.ID(frame["execution_id"].(string))); record["status"] != "completed" || record["stdout"] != "one\ntwo\n" {
		t.Errorf("whose socket was lost: %v", record)
	}

	conn = open("echo up; sleep 2; echo still up")
	if frame, err = hear(conn); err != nil {
		t.Fatal(err)
	}
	h.leave()
	if last, err := hear(conn); err != nil || last["code"] != "SERVICE_UNAVAILABLE" {
		t.Errorf("when the server stops: %v, %v", last, err)
	}
	h.start()
	if record := h.record(execution.ID(frame["execution_id"].(string))); record["stdout"] != "up\nstill up\n" {
		t.Errorf("whose server was restarted: %v", record)
	}
}
