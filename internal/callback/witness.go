package callback

import (
	"crypto/tls"
	"net/http/httptrace"
	"sync"
)

// witness sees what the transport does not return: how far the connections of an attempt came, which of them carried it,
// and an error of the handshake.
type witness struct {
	mu        sync.Mutex // a handshake may end after the attempt has
	resolved  bool       // DNS gave an address
	connected bool
	tls       string // the version; empty without TLS
	open      bool
	silent    bool // a connection stood, and nothing came back on it
	handshake error
	listening bool   // for the answer
	head      []byte // of the answer, as far as it was read: at most answerHeaders bytes
	ended     bool   // there is no more to read
}

func (w *witness) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		DNSDone: func(info httptrace.DNSDoneInfo) {
			w.note(func() { w.resolved = w.resolved || info.Err == nil && len(info.Addrs) > 0 })
		},
		ConnectDone: func(_, _ string, err error) {
			w.note(func() { w.connected = w.connected || err == nil })
		},
		TLSHandshakeDone: func(state tls.ConnectionState, err error) {
			w.note(func() {
				w.handshake = err
				if err == nil {
					w.tls = tls.VersionName(state.Version)
				}
			})
		},
		GotConn: func(info httptrace.GotConnInfo) {
			top, base := layers(info.Conn)
			w.note(func() {
				w.open, w.silent = base != nil && !base.excepted, true
				w.listening, w.head, w.ended = true, nil, false
			})
			if top != nil {
				top.witness.Store(w)
			}
		},
		GotFirstResponseByte: func() {
			w.note(func() { w.silent = false })
		},
	}
}

func (w *witness) note(what func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	what()
}

// hear keeps the beginning of what the receiver says, and notes when it can say no more.
func (w *witness) hear(said []byte, ended bool) {
	w.note(func() {
		if w.listening {
			w.head = append(w.head, said[:min(len(said), answerHeaders-len(w.head))]...)
			w.ended = ended
		}
	})
}

// heard returns the beginning of the answer and whether the connection ended with it, and listens no more.
func (w *witness) heard() (head []byte, ended bool) {
	w.note(func() { w.listening, head, ended, w.head = false, w.head, w.ended, nil })
	return head, ended
}

// public tells whether everybody may read what came back: whether the policy would have let the address through without
// an exception. Behind a proxy nobody knows.
func (w *witness) public() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open
}

// explain marks what has no type of its own: most errors of a handshake in crypto/tls, and in net/http the end of a
// connection on which nothing has come back.
func (w *witness) explain(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.handshake != nil {
		return &handshakeError{err}
	}
	if w.silent {
		return &silentError{err}
	}
	return err
}
