package callback

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

// unsentError says that a request could not be built. The fault is on this server, not at the receiver.
type unsentError struct{ cause error }

func (e *unsentError) Error() string { return "make request: " + e.cause.Error() }
func (e *unsentError) Unwrap() error { return e.cause }

// handshakeError is an error that ended a TLS handshake.
type handshakeError struct{ cause error }

func (e *handshakeError) Error() string { return "TLS handshake: " + e.cause.Error() }
func (e *handshakeError) Unwrap() error { return e.cause }

// unansweredError is an error of a connection on which no byte came back.
type unansweredError struct{ cause error }

func (e *unansweredError) Error() string { return "no answer: " + e.cause.Error() }
func (e *unansweredError) Unwrap() error { return e.cause }

// errNoStatus says that the number in an answer's status line is not a valid status.
var errNoStatus = errors.New("the answer's status is not a number from 100 to 999")

// classifyStatus returns the outcome of an answer with this status, and a public sentence.
func classifyStatus(status int) (execution.AttemptOutcome, string) {
	switch {
	case status >= 200 && status < 300:
		return execution.AttemptSucceeded, fmt.Sprintf("The receiver answered %d.", status)
	case status >= 300 && status < 400:
		return execution.AttemptRedirect, fmt.Sprintf("The receiver answered %d; redirects are not followed.", status)
	}
	return execution.AttemptStatus, fmt.Sprintf("The receiver answered %d.", status)
}

// classifyError returns the outcome of an attempt without an answer, and a public sentence. The sentence is composed
// here because the texts of errors contain addresses.
func classifyError(err error) (execution.AttemptOutcome, string) {
	if refusal, ok := errors.AsType[*RefusalError](err); ok {
		return execution.AttemptBlocked, refusal.Error()
	}
	if closed, ok := errors.AsType[*fault.Error](err); ok {
		return execution.AttemptBlocked, closed.Sentence
	}
	if _, ok := errors.AsType[*unsentError](err); ok {
		return execution.AttemptConnection, "Not sent: the callback's headers or secret could not be read on our side."
	}
	if _, ok := errors.AsType[*proxyError](err); ok {
		return execution.AttemptConnection, "The egress proxy made no connection to the receiver."
	}
	if unresolved, ok := errors.AsType[*net.DNSError](err); ok {
		if unresolved.IsNotFound {
			return execution.AttemptDNS, "The receiver's name has no address."
		}
		return execution.AttemptDNS, "The receiver's name could not be resolved."
	}
	timeout, ok := errors.AsType[net.Error](err)
	if ok && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return execution.AttemptTimeout, "The receiver did not answer in time."
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return execution.AttemptRefused, "The receiver refused the connection."
	}
	const cut = "The connection broke off before there was an answer."
	if isConnectionCut(err) {
		return execution.AttemptConnection, cut
	}
	if sentence := tlsSentence(err); sentence != "" {
		return execution.AttemptTLS, sentence
	}
	if _, ok := errors.AsType[*unansweredError](err); ok {
		return execution.AttemptConnection, cut
	}
	return execution.AttemptConnection, "There was no answer that could be read."
}

// isConnectionCut reports whether the network or the receiver cut the connection.
func isConnectionCut(err error) bool {
	if _, ok := errors.AsType[syscall.Errno](err); ok {
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// tlsSentence describes an error of the receiver's TLS, or returns "" for any other error.
func tlsSentence(err error) string {
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "The receiver does not speak TLS."
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return "The receiver's certificate has expired or is not valid yet."
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "The receiver's certificate is for another name."
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "The receiver's certificate is not signed by an authority that this server trusts."
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "The receiver's certificate is not valid."
	}
	if _, ok := errors.AsType[*handshakeError](err); ok {
		return "The TLS handshake failed."
	}
	// An alert may come after the handshake (TLS 1.3).
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
		return "The receiver broke off with a TLS alert."
	}
	return ""
}
