package callback

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"boomerang/internal/execution"
)

// earlyAnswer is a receiver that answers after the head of a request and closes the connection before it has read the
// body.
type earlyAnswer struct {
	status int
	secure bool // TLS
	final  bool // the answer has Connection: close
	resets bool // closes with an RST at once (SO_LINGER 0)
	warm   bool // the connection has served a request before
}

func (e earlyAnswer) String() string {
	word := func(is bool, yes, no string) string {
		if is {
			return yes
		}
		return no
	}
	return fmt.Sprintf("%d %s %s %s %s", e.status, word(e.secure, "https", "http"),
		word(e.final, "close", "keep-alive"), word(e.resets, "reset", "close"), word(e.warm, "reused", "fresh"))
}

// serve counts in posts the requests that it answers early. It reads a request to /warm to its end.
func (e earlyAnswer) serve(conn net.Conn, posts *atomic.Int32) {
	raw := conn
	if secured, ok := conn.(*tls.Conn); ok {
		raw = secured.NetConn()
	}
	defer closeConn(conn)
	in := bufio.NewReader(conn)
	for {
		first, err := in.ReadString('\n')
		if err != nil {
			return
		}
		length := 0
		for line := first; line != "\r\n"; {
			if line, err = in.ReadString('\n'); err != nil {
				return
			}
			_, _ = fmt.Sscanf(line, "Content-Length: %d", &length)
		}
		if strings.HasPrefix(first, "POST /warm ") {
			_, _ = io.CopyN(io.Discard, in, int64(length))
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			continue
		}
		posts.Add(1)
		if e.resets {
			reset(raw)
		}
		connection := "keep-alive"
		if e.final {
			connection = "close"
		}
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 %d X\r\nConnection: %s\r\nContent-Length: 2\r\n\r\nok", e.status, connection)
		if e.resets {
			closeConn(raw)
		}
		return
	}
}

// open serves e until the test ends, with each connection in its own goroutine.
func (e earlyAnswer) open(t *testing.T) (s *sender, url string, posts *atomic.Int32) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	s, url, posts = localSender(t, longTimeouts()), "http://hooks.example.com:"+port, new(atomic.Int32)
	s.transport.DialContext = dialerWithDNS(s.policy, map[string][][]string{"hooks.example.com": {{"127.0.0.1"}}}).dial
	if e.secure {
		own, roots := certificate(t, "hooks.example.com", time.Now().Add(24*time.Hour))
		s.transport.TLSClientConfig.RootCAs = roots
		url = strings.Replace(url, "http:", "https:", 1)
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{own}})
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { e.serve(conn, posts) })
		}
	})
	t.Cleanup(func() {
		s.transport.CloseIdleConnections()
		closeConn(l)
		serving.Wait()
	})
	return s, url, posts
}

// TestAnEarlyAnswerWinsOverTheFailingWrite posts to each receiver a few times, or BOOMERANG_EARLY_RUNS times,
// and counts duplicate posts.
func TestAnEarlyAnswerWinsOverTheFailingWrite(t *testing.T) {
	runs, sizes := 3, []int{1 << 10, 512 << 10, 8 << 20}
	if n, err := strconv.Atoi(os.Getenv("BOOMERANG_EARLY_RUNS")); err == nil {
		runs, sizes = n, []int{1 << 10, 64 << 10, 512 << 10, 1 << 20, 8 << 20}
	}
	body := make([]byte, 8<<20)
	for place := range 3 * 16 {
		e := earlyAnswer{
			status: []int{200, 410, 503}[place/16], secure: place&8 > 0, final: place&4 > 0, resets: place&2 > 0,
			warm: place&1 > 0,
		}
		for _, size := range sizes {
			s, url, posts := e.open(t)
			twice, other := 0, 0
			for range runs {
				if e.warm {
					sendAndCheck(t, s, url+"/warm", execution.AttemptSucceeded, 200)
				}
				posts.Store(0)
				d := aDelivery(url + "/hook")
				d.Body = body[:size]
				a, err := s.send(t.Context(), d)
				if a.StatusCode != e.status {
					t.Logf("%s, %d bytes: status %d, %s: %v", e, size, a.StatusCode, a.Detail, err)
					other++
				}
				if posts.Load() > 1 {
					twice++
				}
			}
			if twice+other > 0 {
				t.Errorf("%s, %d KiB: of %d runs %d were posted twice, %d have another status",
					e, size>>10, runs, twice, other)
			}
		}
	}
}

func TestAReceiverOfHTTP2AnswersEarly(t *testing.T) {
	var posts atomic.Int32
	receiver := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		posts.Add(1)
		if r.ProtoMajor != 1 {
			t.Errorf("it was spoken to in %s", r.Proto)
		}
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusGone)
	}))
	receiver.EnableHTTP2 = true
	receiver.Config.ErrorLog = discardLog
	receiver.StartTLS()
	defer receiver.Close()
	s := localSender(t, longTimeouts())
	s.transport.TLSClientConfig.RootCAs = rootsOf(receiver)
	d := aDelivery(receiver.URL)
	d.Body = make([]byte, 8<<20)
	if a, err := s.send(t.Context(), d); a.StatusCode != http.StatusGone || posts.Load() != 1 {
		t.Errorf("got %+v, %v after %d posts", a, err, posts.Load())
	}
}
