//go:build bench

package bench

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"
)

// tap forwards the calls of a server to the engine and records them. It forwards bytes unchanged and recognises a call
// by the first line of a request. The data behind an upgrade never begins with such a line.
type tap struct {
	socket, engine string
	listener       net.Listener
	all            sync.WaitGroup

	mu    sync.Mutex // guards calls
	calls map[string]Sample
}

// newTap listens on a socket in dir.
func newTap(t *testing.T, dir, engine string) *tap {
	t.Helper()
	w := &tap{socket: filepath.Join(dir, "wire.sock"), engine: engine, calls: map[string]Sample{}}
	var err error
	if w.listener, err = net.Listen("unix", w.socket); err != nil {
		t.Fatal(err)
	}
	w.all.Go(func() {
		for {
			connection, err := w.listener.Accept()
			if err != nil {
				return
			}
			w.all.Go(func() { w.pass(connection.(*net.UnixConn)) })
		}
	})
	t.Cleanup(func() {
		_ = w.listener.Close()
		w.all.Wait() // the server has ended, and with it its connections
	})
	return w
}

var (
	request = regexp.MustCompile(`^([A-Z]+) /v[0-9.]+(/[^ ?]*)[^ ]* HTTP/1\.1\r\n`)
	names   = regexp.MustCompile(`[0-9a-f]{64}|/boomerang[^/]*`)
)

// pass forwards one connection. The time of a call is that from its first byte to the first byte of its answer.
func (w *tap) pass(client *net.UnixConn) {
	defer func() { _ = client.Close() }()
	connection, err := net.Dial("unix", w.engine)
	if err != nil {
		return
	}
	engine := connection.(*net.UnixConn)
	defer func() { _ = engine.Close() }()
	var mu sync.Mutex // guards call, since
	var call string
	var since time.Time
	var all sync.WaitGroup
	all.Go(func() {
		pump(engine, client, func(b []byte) {
			if found := request.FindSubmatch(b); found != nil {
				mu.Lock()
				defer mu.Unlock()
				call, since = string(found[1])+" "+names.ReplaceAllString(string(found[2]), "…"), time.Now()
			}
		})
	})
	all.Go(func() {
		pump(client, engine, func([]byte) {
			mu.Lock()
			defer mu.Unlock()
			if call != "" {
				w.note(call, time.Since(since))
			}
			call = ""
		})
	})
	all.Wait()
}

func (w *tap) note(call string, took time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls[call] = append(w.calls[call], Millis(took))
}

// drain returns the calls since the last drain.
func (w *tap) drain() map[string]Sample {
	w.mu.Lock()
	defer w.mu.Unlock()
	calls := w.calls
	w.calls = map[string]Sample{}
	return calls
}

// pump copies one direction to its end, and calls show with the bytes before it writes them.
func pump(to, from *net.UnixConn, show func([]byte)) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			show(buffer[:n])
			if _, bad := to.Write(buffer[:n]); bad != nil {
				err = bad
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				_ = from.Close()
			}
			_ = to.CloseWrite()
			return
		}
	}
}
