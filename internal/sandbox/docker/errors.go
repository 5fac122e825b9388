package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"

	"github.com/containerd/errdefs/pkg/errhttp"
	"github.com/docker/docker/client"

	"boomerang/internal/sandbox"
	"boomerang/internal/shorten"
)

// wrap adds the name of the call to its error. If ctx has ended, the error is the cause of ctx. Else it is the error's
// kind and the engine's own text, shortened and without the seccomp profile.
func (d *Docker) wrap(ctx context.Context, act string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", act, context.Cause(ctx))
	}
	return fmt.Errorf("%s: %w: %w", act, kindOf(err), &engineError{text: d.logText(err.Error()), err: err})
}

// engineError is an error of the engine with a text for the log.
type engineError struct {
	text string
	err  error
}

func (a *engineError) Error() string { return a.text }
func (a *engineError) Unwrap() error { return a.err }

// kindOf classifies an error of the engine's client: sandbox.ErrRefused, sandbox.ErrTemporary or
// sandbox.ErrUnavailable.
//
// The statuses 502, 503 and 504 come from a proxy in front of a missing engine, and from an engine that waits for
// containerd. Any other status is the engine's own answer. Without a status, a failed connection means that the engine
// does not answer. The remaining errors are malformed answers, such as a connection that is not upgraded.
func kindOf(err error) error {
	switch status := statusOf(err); {
	case status == http.StatusRequestTimeout, status == http.StatusConflict, status == http.StatusTooManyRequests:
		return sandbox.ErrTemporary
	case status == http.StatusBadGateway, status == http.StatusServiceUnavailable, status == http.StatusGatewayTimeout:
		return sandbox.ErrUnavailable
	case status >= http.StatusInternalServerError:
		return sandbox.ErrTemporary
	case status >= http.StatusBadRequest:
		return sandbox.ErrRefused
	case connectionFailed(err):
		return sandbox.ErrUnavailable
	}
	return sandbox.ErrTemporary
}

// statusOf returns the HTTP status behind an error of the client; 0 if there was none. The client keeps the status as
// an error of errhttp, which can be compared but not read.
func statusOf(err error) int {
	for status := http.StatusBadRequest; status < 600; status++ {
		if errors.Is(err, errhttp.ToNative(status)) {
			return status
		}
	}
	return 0
}

// connectionFailed reports whether a connection failed, broke, or timed out.
func connectionFailed(err error) bool {
	var ofNet net.Error
	var ofKernel syscall.Errno
	return client.IsErrConnectionFailed(err) || errors.As(err, &ofNet) || errors.As(err, &ofKernel) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// maxEngineText is the length in bytes of an engine's error text in the log.
const maxEngineText = 512

// logText prepares an engine's error text for the log: without the seccomp profile, in one line, and shortened.
func (d *Docker) logText(text string) string {
	for _, profile := range []string{d.seccomp, d.gvisorSeccomp} {
		text = withoutProfile(text, profile)
	}
	return shorten.Middle(strings.Join(strings.Fields(text), " "), maxEngineText)
}

const leftOutProfile = "(the seccomp profile)"

// withoutProfile removes a seccomp profile from a text, whether it is quoted, reformatted, or cut off at its end.
func withoutProfile(text, profile string) string {
	for range 3 {
		text = withoutForm(text, profile)
		quoted := strconv.Quote(profile)
		profile = quoted[1 : len(quoted)-1]
	}
	i := strings.Index(text, "defaultAction") // part of every profile
	if i < 0 {
		return text
	}
	begin := max(strings.Index(text[:i], "{"), 0)
	return text[:begin] + leftOutProfile + text[begin+object(text[begin:]):]
}

// withoutForm removes every occurrence of the profile, or of the longest beginning of the profile, from the text.
func withoutForm(text, profile string) string {
	const least = 24 // bytes that identify the beginning of a profile
	if len(profile) < least {
		return text
	}
	for {
		i := strings.Index(text, profile[:least])
		if i < 0 {
			return text
		}
		n := least
		for n < len(profile) && i+n < len(text) && text[i+n] == profile[n] {
			n++
		}
		text = text[:i] + leftOutProfile + text[i+n:]
	}
}

// object returns the length of the JSON object at the start of text, or the length of text if the object is cut off.
func object(text string) int {
	depth := 0
	for i, c := range []byte(text) {
		switch c {
		case '{':
			depth++
		case '}':
			if depth--; depth <= 0 {
				return i + 1
			}
		}
	}
	return len(text)
}
