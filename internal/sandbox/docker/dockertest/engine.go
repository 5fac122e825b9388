// Package dockertest fakes a Docker engine that follows a script: it answers the calls that make a container, and
// refuses, hangs or disconnects as the script says. It runs no program.
package dockertest

import (
	"archive/tar"
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Act names one kind of call to the engine.
type Act string

// The acts that a script can distinguish. All other calls are Other.
const (
	Ping   Act = "ping"
	Image  Act = "inspect image"
	Helper Act = "create helper" // the container that fills the init's volume
	Create Act = "create"
	Attach Act = "attach"
	Start  Act = "start"
	Remove Act = "remove"
	Other  Act = "other"
)

// Answer replaces the answer of a working engine.
type Answer struct {
	Status  int    // an HTTP status; 0 means the normal answer
	Message string // for use with Status
	Close   bool   // close the connection without an answer
	Hang    bool   // wait until the client has gone
	Body    string // a body with status 200 in place of the normal body
}

// Engine is a scripted engine. Its methods may be called at the same time.
type Engine struct {
	Host    string // address for docker.Config
	InitDir string // a directory with an init for each architecture

	mu      sync.Mutex // guards all fields below
	script  func(act Act, n int) Answer
	calls   map[Act]int
	files   map[string][]byte
	held    map[string]net.Conn // attached streams, keyed by container
	names   map[string]string   // container ids, keyed by name
	made    int
	version map[string]any
	sizes   map[string]int64
	created []string
}

// New starts an engine. The script gets the act and its count of calls, from 1; a nil script is an engine that works.
func New(t testing.TB, script func(act Act, n int) Answer) *Engine {
	t.Helper()
	e := &Engine{
		script: script, calls: map[Act]int{}, files: map[string][]byte{}, held: map[string]net.Conn{},
		names: map[string]string{}, InitDir: t.TempDir(),
		version: map[string]any{
			"Version": "28.0.0", "ApiVersion": "1.48", "Arch": "amd64", "Os": "linux",
			"Components": []map[string]any{
				{"Name": "Engine", "Version": "28.0.0"},
				{"Name": "runc", "Version": "1.3.3"},
			},
		},
		sizes: map[string]int64{},
	}
	for _, arch := range []string{"amd64", "arm64"} {
		if err := os.WriteFile(filepath.Join(e.InitDir, "boomerang-init-linux-"+arch), []byte("init"),
			0o600); err != nil {
			t.Fatal(err)
		}
	}
	server := httptest.NewServer(http.HandlerFunc(e.serve))
	e.Host = "tcp://" + server.Listener.Addr().String()
	t.Cleanup(func() {
		e.release()
		server.Close()
	})
	return e
}

// Play replaces the script; nil is an engine that works.
func (e *Engine) Play(script func(act Act, n int) Answer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.script = script
}

// Say sets a field of the answer to /version.
func (e *Engine) Say(field string, value any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.version[field] = value
}

// Sized sets the size of an image in bytes.
func (e *Engine) Sized(image string, bytes int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sizes[image] = bytes
}

// Calls returns the number of calls of an act.
func (e *Engine) Calls(act Act) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.calls[act]
}

// Images returns the images of all create calls, in order, without helpers.
func (e *Engine) Images() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string(nil), e.created...)
}

// Containers returns the number of attached containers.
func (e *Engine) Containers() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.held)
}

func (e *Engine) release() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for id, conn := range e.held {
		_ = conn.Close()
		delete(e.held, id)
	}
}

// Refuse answers every call of an act with a status.
func Refuse(act Act, status int, message string) func(Act, int) Answer {
	return Until(act, 0, Answer{Status: status, Message: message})
}

// Until gives an answer to the first n calls of an act, or to all calls if n is 0.
func Until(act Act, n int, a Answer) func(Act, int) Answer {
	return func(asked Act, i int) Answer {
		if asked == act && (n == 0 || i <= n) {
			return a
		}
		return Answer{}
	}
}

func (e *Engine) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	act := actOf(r)
	e.mu.Lock()
	e.calls[act]++
	var answer Answer
	if e.script != nil {
		answer = e.script(act, e.calls[act])
	}
	if act == Create {
		var asked struct{ Image string }
		_ = json.Unmarshal(body, &asked)
		e.created = append(e.created, asked.Image)
	}
	e.mu.Unlock()
	w.Header().Set("Api-Version", "1.41")
	w.Header().Set("Content-Type", "application/json")
	switch {
	case answer.Close:
		panic(http.ErrAbortHandler)
	case answer.Hang:
		<-r.Context().Done()
	case answer.Status != 0:
		w.WriteHeader(answer.Status)
		_ = json.NewEncoder(w).Encode(map[string]string{"message": answer.Message})
	case answer.Body != "":
		_, _ = io.WriteString(w, answer.Body)
	default:
		e.works(w, r, act, body)
	}
}

func actOf(r *http.Request) Act {
	p := r.URL.Path
	switch {
	case strings.HasSuffix(p, "/_ping"):
		return Ping
	case strings.Contains(p, "/images/"):
		return Image
	case strings.HasSuffix(p, "/containers/create") && strings.HasPrefix(r.URL.Query().Get("name"), "boomerang-init-"):
		return Helper
	case strings.HasSuffix(p, "/containers/create"):
		return Create
	case strings.HasSuffix(p, "/attach"):
		return Attach
	case strings.HasSuffix(p, "/start"):
		return Start
	case r.Method == http.MethodDelete && strings.Contains(p, "/containers/"):
		return Remove
	}
	return Other
}

// works writes the answer of a working engine.
func (e *Engine) works(w http.ResponseWriter, r *http.Request, act Act, body []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	name := path.Base(r.URL.Path)
	switch {
	case act == Image:
		_, ref, _ := strings.Cut(r.URL.Path, "/images/")
		ref = strings.TrimSuffix(ref, "/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"Id": ref, "Size": e.sizes[ref]})
	case act == Create, act == Helper:
		e.made++
		e.names[r.URL.Query().Get("name")] = fmt.Sprintf("c%d", e.made)
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, `{"Id": "c%d"}`, e.made)
	case act == Attach:
		e.attach(w, path.Base(strings.TrimSuffix(r.URL.Path, "/attach")))
	case act == Start:
		w.WriteHeader(http.StatusNoContent)
	case act == Remove:
		id := cmp.Or(e.names[name], name)
		if conn := e.held[id]; conn != nil {
			_ = conn.Close()
			delete(e.held, id)
		}
		w.WriteHeader(http.StatusNoContent)
	case name == "archive" && r.Method == http.MethodPut:
		maps.Copy(e.files, unpacked(body))
	case name == "archive":
		e.sendFile(w, path.Base(r.URL.Query().Get("path")))
	case name == "info":
		_, _ = io.WriteString(w, `{"NCPU": 2, "MemTotal": 4294967296, "OSType": "linux",
			"CgroupVersion": "2", "CgroupDriver": "systemd",
			"DefaultRuntime": "runc", "MemoryLimit": true, "SwapLimit": true, "PidsLimit": true, "CpuCfsPeriod": true,
			"CpuCfsQuota": true, "SecurityOptions": ["name=seccomp,profile=builtin", "name=apparmor"]}`)
	case name == "version":
		_ = json.NewEncoder(w).Encode(e.version)
	case name == "volumes":
		_, _ = io.WriteString(w, `{}`)
	case strings.Contains(r.URL.Path, "/volumes/"):
		_ = json.NewEncoder(w).Encode(map[string]string{"Name": name})
	case strings.HasSuffix(r.URL.Path, "/containers/json"):
		_, _ = io.WriteString(w, `[]`)
	}
}

// attach keeps the streams open until the container is removed, like the init of a waiting container.
func (e *Engine) attach(w http.ResponseWriter, id string) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	_, _ = buffered.WriteString("HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
	_ = buffered.Flush()
	e.held[id] = conn
}

func (e *Engine) sendFile(w http.ResponseWriter, name string) {
	content, ok := e.files[name]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"message": "no such file"}`)
		return
	}
	stat := fmt.Sprintf(`{"name": %q, "size": %d}`, name, len(content))
	w.Header().Set("X-Docker-Container-Path-Stat", base64.StdEncoding.EncodeToString([]byte(stat)))
	archive := tar.NewWriter(w)
	_ = archive.WriteHeader(&tar.Header{Name: name, Size: int64(len(content)), Mode: 0o755})
	_, _ = archive.Write(content)
	_ = archive.Close()
}

func unpacked(archive []byte) map[string][]byte {
	files := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := r.Next()
		if err != nil {
			return files
		}
		files[header.Name], _ = io.ReadAll(r)
	}
}
