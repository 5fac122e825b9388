package callback

import (
	"maps"
	"slices"
	"strings"

	"boomerang/internal/fault"
)

// The bounds of a callback's own headers: their number, and the bytes of all names and values.
const (
	maxHeaders     = 32
	maxHeaderBytes = 8 << 10
)

// The names that a client may not set: hop-by-hop (RFC 9110 §7.6.1), those that frame or route the message, those that
// we set, and those that metadata services of clouds ask for as proof of a local caller.
var (
	closedHeaders = map[string]bool{
		"connection": true, "keep-alive": true, "te": true, "trailer": true, "transfer-encoding": true, "upgrade": true,
		"host": true, "expect": true, "forwarded": true, "idempotency-key": true, "traceparent": true, "tracestate": true,
		"metadata": true,
	}
	closedHeaderPrefixes = []string{
		"proxy-", "content-", "x-forwarded-", "webhook-", "x-hopx-", "metadata-", "x-aws-ec2-metadata-",
	}
)

// CheckHeaders decides at admission whether a callback may carry these headers. The error is a *fault.Error
// (INVALID_REQUEST) that names the header. What passes can be sent as it is.
func (p *Policy) CheckHeaders(headers map[string]string) error {
	if len(headers) > maxHeaders {
		return badHeader("callback_headers must have at most %d entries.", maxHeaders)
	}
	size := 0
	seen := make(map[string]bool, len(headers))
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		lower := strings.ToLower(name)
		size += len(name) + len(headers[name])
		switch {
		case name == "" || strings.IndexFunc(name, notToken) >= 0:
			return badHeader("callback_headers: %q is not a header name.", name)
		case closedHeaders[lower] || slices.ContainsFunc(closedHeaderPrefixes, func(p string) bool { return strings.HasPrefix(lower, p) }):
			return badHeader("callback_headers: %q may not be set.", name)
		case seen[lower]:
			return badHeader("callback_headers: %q is there twice.", name)
		case strings.ContainsFunc(headers[name], control):
			return badHeader("callback_headers: the value of %q must not contain line breaks or other control characters.", name)
		case size > maxHeaderBytes:
			return badHeader("callback_headers must have at most %d bytes in all; %q is too much.", maxHeaderBytes, name)
		}
		seen[lower] = true
	}
	return nil
}

func badHeader(format string, args ...any) error {
	return fault.New(fault.InvalidRequest, format, args...).Field("callback_headers")
}

// notToken tells whether a character may not be in a header's name (RFC 9110 §5.6.2).
func notToken(r rune) bool {
	alphanumeric := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
	return !alphanumeric && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}

// control tells whether a character may not be in a header's value (RFC 9110 §5.5); a tab may.
func control(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
