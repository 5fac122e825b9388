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
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/coder/websocket"

	"boomerang/internal/execution"
	"boomerang/internal/servertest"
)

// follower follows an execution over several connections, as a client with curl would.
type follower struct {
	h      *harness
	id     execution.ID
	last   string                   // ID of the last event
	text   map[string]*bytes.Buffer // by the name of the event
	gaps   []string                 // data of the gap events
	end    map[string]any           // data of the end event, nil before it
	breaks int                      // connections that ended
}

func (h *harness) follow(id execution.ID) *follower {
	return &follower{h: h, id: id, text: map[string]*bytes.Buffer{"stdout": {}, "stderr": {}}}
}

// open connects. It returns nil while no server runs.
func (l *follower) open() io.ReadCloser {
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
		l.h.t.Fatalf("events after %q: got status %d, want 200", l.last, response.StatusCode)
	}
	return response.Body
}

// read reads at most so many output events over one connection, and closes it.
func (l *follower) read(most int) {
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
			if l.handle(name, data) {
				most--
			}
			l.last, name = id, ""
		}
	}
	l.breaks++
}

// handle keeps the data of an event and reports whether the event has output.
func (l *follower) handle(name, data string) (output bool) {
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
		at.WriteString(omissionMark(int(fields["bytes"].(float64))))
	case "end":
		l.end = fields
	}
	return false
}

// printer prints a mixture of text and other bytes for ten seconds, which is longer than two restarts of the server.
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

// printerPrints returns the output of printer.
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

// awaitServer waits until a server process answers.
func (h *harness) awaitServer() {
	h.t.Helper()
	if !eventually(h.t, func() bool { return servertest.Answers(h.t.Context(), h.url+"/healthz") }) {
		h.t.Fatal("the server does not start")
	}
}

// TestAFollowerLosesNothingWhateverBreaks kills and restarts the server, and breaks the connection of a client several
// times. The client and the command boomerang run get each byte once.
func TestAFollowerLosesNothingWhateverBreaks(t *testing.T) {
	t.Parallel()
	binary := build(t, "boomerang/cmd/boomerang")
	h := &harness{t: t, config: defaults()}
	h.config.DataDir, h.config.HTTP.Addr, h.config.Dispatch.Slots = t.TempDir(), servertest.FreeAddress(t), 1
	h.url = "http://" + h.config.HTTP.Addr
	end, _ := startProcess(t, h.config)
	h.awaitServer()
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

	l := h.follow(id)
	for l.read(4); l.end == nil && l.breaks < 6; l.read(4) {
		switch l.breaks {
		case 2:
			end(syscall.SIGKILL)
			end, _ = startProcess(t, h.config)
		case 4:
			end(syscall.SIGTERM)
			end, _ = startProcess(t, h.config)
		}
	}
	if l.end != nil {
		t.Errorf("the execution ended after %d breaks, so the breaks prove nothing", l.breaks)
	}
	for l.end == nil {
		l.read(1000)
	}
	wantOut, wantErr := printerPrints()
	compareText(t, "stdout of the events", l.text["stdout"].String(), wantOut)
	compareText(t, "stderr of the events", l.text["stderr"].String(), wantErr)
	if l.end["status"] != "failed" || l.end["exit_code"] != 3.0 || l.end["stdout_bytes"] != float64(len(wantOut)) {
		t.Errorf("the execution ended with %v", l.end)
	}
	err := command.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 3 {
		t.Errorf("boomerang run: %v, want the program's exit code 3; stderr %q", err, stderr.String())
	}
	compareText(t, "stdout of boomerang run", stdout.String(), wantOut)
	compareText(t, "stderr of boomerang run", stderr.String(), wantErr)

	for _, flag := range []string{"-q", "-qf"} {
		command := exec.CommandContext(t.Context(), binary, "logs", flag, string(id), "--server", h.url, "--token",
			h.token)
		stdout.Reset()
		stderr.Reset()
		command.Stdout, command.Stderr = &stdout, &stderr
		if err := command.Run(); err != nil {
			t.Errorf("boomerang logs %s: %v, %s", flag, err, stderr.String())
		}
		compareText(t, "stdout of boomerang logs", stdout.String(), wantOut)
		compareText(t, "stderr of boomerang logs", stderr.String(), wantErr)
	}
	if !eventually(t, func() bool { return len(containersWithLabel(t, "boomerang.execution="+string(id))) == 0 }) {
		t.Error("the container is left behind")
	}
	end(syscall.SIGTERM)
}

func TestAFollowerSeesTheGapInTruncatedOutput(t *testing.T) {
	const line, size, tail = 64, 8 * mib, 64 * kib
	h := newHarness(t)
	id := h.submit(fmt.Sprintf("import sys\nfor i in range(0, %d, 8192):\n"+
		" sys.stdout.write(''.join('%%063d\\n' %% n for n in range(i, i + 8192)))", size/line))
	stuck := h.follow(id).open() // reads nothing, and must not delay other followers
	defer stuck.Close()
	live := h.follow(id)
	for live.end == nil {
		live.read(1)
	}
	_, _, raw := h.output(id, "stdout")
	compareText(t, "the followed output", live.text["stdout"].String(), raw)
	later := h.follow(id)
	later.read(1000)
	compareText(t, "the output read afterwards", later.text["stdout"].String(), live.text["stdout"].String())
	if want := fmt.Sprintf(`[{"stream":"stdout","bytes":%d}]`, size-mib-tail); fmt.Sprint(live.gaps) != want ||
		fmt.Sprint(later.gaps) != want {
		t.Errorf("got the gaps %v and %v, want %s", live.gaps, later.gaps, want)
	}
	h.awaitCallback(id)
}

func TestCodeRunsOverAWebSocket(t *testing.T) {
	h := newHarness(t)
	open := func(code string) *websocket.Conn {
		url := strings.Replace(h.url, "http", "ws", 1) + "/execute/stream"
		conn, _, err := websocket.Dial(t.Context(), url, //nolint:bodyclose // Dial closes the body
			&websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + h.token}}})
		if err != nil {
			t.Fatal(err)
		}
		frame, _ := json.Marshal(fields{
			"type": "execute", "code": code, "language": "bash",
			"env": fields{"NAME": "ann"},
		})
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
	if printed["stdout"] != "hello ann\n" || printed["stderr"] != "oops\n" ||
		fmt.Sprint(rest) != "[result3 false complete<nil> false]" {
		t.Errorf("got %q and %v", printed, rest)
	}

	conn = open("echo one; sleep 1; echo two")
	frame, err := hear(conn)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.CloseNow() // the connection is lost
	if record := h.awaitRecord(execution.ID(frame["execution_id"].(string))); record["status"] != "completed" ||
		record["stdout"] != "one\ntwo\n" {
		t.Errorf("execution whose socket was lost: got %v", record)
	}

	conn = open("echo up; sleep 2; echo still up")
	if frame, err = hear(conn); err != nil {
		t.Fatal(err)
	}
	h.stopServer()
	if last, err := hear(conn); err != nil || last["code"] != "SERVICE_UNAVAILABLE" {
		t.Errorf("when the server stops: got %v, %v", last, err)
	}
	h.startServer()
	if record := h.awaitRecord(execution.ID(frame["execution_id"].(string))); record["stdout"] != "up\nstill up\n" {
		t.Errorf("execution whose server was restarted: got %v", record)
	}
}
