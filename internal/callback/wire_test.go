package callback

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"boomerang/internal/execution"
)

// captureRequest returns the bytes of one request that arrives at a raw socket, and answers it with 204.
func captureRequest(t *testing.T) (port string, request <-chan []byte) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeConn(l) })
	got := make(chan []byte, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer closeConn(conn)
		got <- readRequest(conn)
		_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
	}()
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port, got
}

// readRequest reads a request up to the end given by Content-Length, byte for byte.
func readRequest(r io.Reader) []byte {
	var request bytes.Buffer
	in := bufio.NewReader(io.TeeReader(r, &request))
	length := 0
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return request.Bytes()
		}
		_, _ = fmt.Sscanf(line, "Content-Length: %d", &length)
		if line == "\r\n" {
			break
		}
	}
	_, _ = io.CopyN(io.Discard, in, int64(length))
	return request.Bytes()
}

func TestAttemptIsTheWireByteForByte(t *testing.T) {
	r := completed()
	body := Body(execution.Execution{ID: testID, Language: "python"}, r, 1<<20)
	for name, callback := range map[string]execution.Callback{
		"attempt_bare.http": {},
		"attempt_signed.http": {
			Secret:  execution.Sealed(`["your-secret-key"]`),
			Headers: execution.Sealed(`{"X-Custom-Header":"my-value","X-Task-ID":"task-123","x-lower":"ä"}`),
			Depth:   2,
		},
		"attempt_standard.http": {
			Secret:  execution.Sealed(`["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]`),
			Headers: execution.Sealed(`{"user-agent":"mine","authorization":"Bearer t"}`),
		},
		"attempt_rotating.http": {
			Secret: execution.Sealed(`["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw","your-secret-key"]`),
		},
	} {
		t.Run(name, func(t *testing.T) {
			port, request := captureRequest(t)
			callback.URL = "http://127.0.0.1:" + port + "/webhook?token=a%20b"
			s := testSender(newTestPolicy(t, allowLoopback))
			s.now = func() time.Time { return time.Unix(1706400000, 999_000_000) }
			a, err := s.send(t.Context(),
				execution.Delivery{Execution: testID, Callback: callback, Body: body, Attempts: 2})
			if err != nil || a.Outcome != execution.AttemptSucceeded || a.StatusCode != http.StatusNoContent ||
				a.Number != 3 {
				t.Errorf("got %+v, %v", a, err)
			}
			golden(t, name, []byte(strings.ReplaceAll(string(<-request), port, "PORT")))
		})
	}
}
