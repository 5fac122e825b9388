package server

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
)

// pipes is a listener in memory, so that the clock of a test can run ahead.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if conn, ok := <-p; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// lasts writes said to a new connection of a server with the default limits, and then drip each second. It returns the
// time until the server closes the connection, and the answer.
func lasts(t *testing.T, said, drip string) (d time.Duration, answer string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		logger, _ := logtest.NewNullLogger()
		server := NewHTTP(Defaults(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				w.WriteHeader(http.StatusBadRequest)
			}
		}), logrus.NewEntry(logger))
		listener := make(pipes)
		served := make(chan error, 1)
		go func() { served <- server.Serve(listener) }()
		client, conn := net.Pipe()
		listener <- conn
		began := time.Now()
		var talk sync.WaitGroup
		talk.Go(func() {
			_, err := io.WriteString(client, said)
			for ; err == nil && drip != ""; <-time.After(time.Second) {
				_, err = io.WriteString(client, drip)
			}
		})
		text, _ := io.ReadAll(client) // until the server hangs up
		d, answer = time.Since(began), string(text)
		_ = client.Close()
		talk.Wait()
		close(listener)
		if err := <-served; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		_ = server.Close()
	})
	return d, answer
}

func TestTheServerDropsASlowConnection(t *testing.T) {
	const get = "GET / HTTP/1.1\r\nHost: x\r\n"
	const post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
	const hangsUp = "" // with a 400 if the client is quick to read it
	for name, test := range map[string]struct {
		said, drip string
		within     time.Duration
		answer     string
	}{
		"silence":           {"", "", headerTimeout, hangsUp},
		"half a header":     {get, "", headerTimeout, hangsUp},
		"a header by drops": {get, "X: y\r\n", headerTimeout, hangsUp},
		"no body":           {post, "", Defaults().Timeout, hangsUp},
		"a body by drops":   {post, "x", Defaults().Timeout, hangsUp},
		"a body in chunks without end": {strings.Replace(post, "Content-Length: 1000",
			"Transfer-Encoding: chunked", 1), "1\r\nx\r\n", Defaults().Timeout, hangsUp},
		"nothing more after the first": {get + "\r\n", "", idleTimeout, "HTTP/1.1 200"},
		"half a second request":        {get + "\r\n" + get, "", headerTimeout, "HTTP/1.1 200"},
		"a header of 17 KiB":           {get + "X: " + strings.Repeat("x", 17<<10), "", 0, "431"},
		"a header of 17 KiB, line by line": {
			get + strings.Repeat("X: "+strings.Repeat("x", 120)+"\r\n", 139), "",
			0, "431",
		},
		"a request line of 17 KiB": {"GET /" + strings.Repeat("x", 17<<10), "", 0, "431"},
		"two lengths": {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: " +
			"2\r\n\r\nxx", "", 0, "400"},
		"no host":                           {"GET / HTTP/1.1\r\n\r\n", "", 0, "400"},
		"a control character in the header": {get + "X: a\x00b\r\n\r\n", "", 0, "400"},
	} {
		t.Run(name, func(t *testing.T) {
			d, answer := lasts(t, test.said, test.drip)
			if d > test.within+time.Second || !strings.Contains(answer, test.answer) || test.answer == hangsUp &&
				strings.Contains(answer, "HTTP/1.1 200") {
				t.Errorf("got %q after %s; want %q within %s", answer, d, test.answer, test.within)
			}
		})
	}
}

func TestTheMessagesOfNetHTTPGoToTheLog(t *testing.T) {
	logger, hook := logtest.NewNullLogger()
	logger.SetLevel(logrus.DebugLevel)
	said := NewHTTP(Defaults(), nil, logrus.NewEntry(logger)).ErrorLog
	for line, want := range map[string]logrus.Level{
		"http: TLS handshake error from 192.0.2.1:1: EOF":          logrus.DebugLevel,
		"http: Accept error: too many open files; retrying in 5ms": logrus.WarnLevel,
	} {
		said.Print(line)
		if e := hook.LastEntry(); e == nil || e.Level != want || e.Data["said"] != line {
			t.Errorf("%s: got %v; want it as %s", line, e, want)
		}
	}
}
