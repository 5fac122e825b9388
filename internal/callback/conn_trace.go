package callback

import (
	"context"
	"crypto/tls"
	"net/http/httptrace"
	"sync"
)

// connTrace observes the connections of an attempt, because the transport does not return them: how far they came,
// which of them carried the attempt, and the error of a TLS handshake.
type connTrace struct {
	mu           sync.Mutex // a handshake may end after the attempt
	resolved     bool       // DNS returned an address
	connected    bool
	tls          string // TLS version; empty without TLS
	public       bool
	excepted     bool // only an exception opens an address of the receiver, or its name
	unanswered   bool // connected, but no byte came back
	handshakeErr error
	recording    bool   // the answer's bytes are being recorded
	head         []byte // first bytes of the answer, at most maxAnswerHeaders
	ended        bool   // the connection has no more to read
}

func (t *connTrace) clientTrace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		DNSDone: func(info httptrace.DNSDoneInfo) {
			t.update(func() { t.resolved = t.resolved || info.Err == nil && len(info.Addrs) > 0 })
		},
		ConnectDone: func(_, _ string, err error) {
			t.update(func() { t.connected = t.connected || err == nil })
		},
		TLSHandshakeDone: func(state tls.ConnectionState, err error) {
			t.update(func() {
				t.handshakeErr = err
				if err == nil {
					t.tls = tls.VersionName(state.Version)
				}
			})
		},
		GotConn: func(info httptrace.GotConnInfo) {
			top, base := unwrapConn(info.Conn)
			t.update(func() {
				t.public, t.unanswered = base != nil && !base.excepted, true
				t.excepted = t.excepted || base != nil && base.excepted
				t.recording, t.head, t.ended = true, nil, false
			})
			if top != nil {
				top.trace.Store(t)
			}
		},
		GotFirstResponseByte: func() {
			t.update(func() { t.unanswered = false })
		},
	}
}

// traceKey is the context key of the connTrace of an attempt.
type traceKey struct{}

// attach returns a context for the attempt that t observes. The transport dials with the values of the context.
func (t *connTrace) attach(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(context.WithValue(ctx, traceKey{}, t), t.clientTrace())
}

// noteException tells the attempt behind a dial that only an exception opens the destination.
func noteException(ctx context.Context) {
	if t, ok := ctx.Value(traceKey{}).(*connTrace); ok {
		t.update(func() { t.excepted = true })
	}
}

// isException reports whether only an exception opened the destination.
func (t *connTrace) isException() (excepted bool) {
	t.update(func() { excepted = t.excepted })
	return excepted
}

func (t *connTrace) update(change func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change()
}

// recordBytes keeps the first bytes that the receiver sends, and notes the end of the connection.
func (t *connTrace) recordBytes(data []byte, ended bool) {
	t.update(func() {
		if t.recording {
			t.head = append(t.head, data[:min(len(data), maxAnswerHeaders-len(t.head))]...)
			t.ended = ended
		}
	})
}

// stopRecording ends the recording. It returns the recorded bytes of the answer and whether the connection ended after
// them.
func (t *connTrace) stopRecording() (head []byte, ended bool) {
	t.update(func() { t.recording, head, ended, t.head = false, t.head, t.ended, nil })
	return head, ended
}

// answerIsPublic reports whether the client may read the answer: only if the policy allowed the address without an
// exception. Behind a proxy the address is unknown, so the answer is not public.
func (t *connTrace) answerIsPublic() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.public
}

// wrapError gives a type to errors that lack one: most handshake errors of crypto/tls, and the error of net/http for a
// connection that ended without an answer.
func (t *connTrace) wrapError(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.handshakeErr != nil {
		return &handshakeError{err}
	}
	if t.unanswered {
		return &unansweredError{err}
	}
	return err
}
