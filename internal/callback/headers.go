package callback

import (
	"maps"
	"slices"
	"strings"

	"boomerang/internal/fault"
)

// Limits of a callback's custom headers: their number, and the bytes of all names and values.
const (
	maxHeaders     = 32
	maxHeaderBytes = 8 << 10
)

// Header names that a client may not set: hop-by-hop headers (RFC 9110 §7.6.1), headers that frame or route the
// message, headers that boomerang sets, and headers by which metadata services of clouds recognise a local caller.
var (
	reservedHeaders = map[string]bool{
		"connection": true, "keep-alive": true, "te": true, "trailer": true, "transfer-encoding": true, "upgrade": true,
		"host": true, "expect": true, "forwarded": true, "idempotency-key": true, "traceparent": true,
		"tracestate": true, "metadata": true,
	}
	reservedHeaderPrefixes = []string{
		"proxy-", "content-", "x-forwarded-", "webhook-", "x-hopx-", "metadata-", "x-aws-ec2-metadata-",
	}
)

// CheckHeaders checks the custom headers of a callback at admission. The error is a *fault.Error (INVALID_REQUEST) that
// names the header. Headers that pass can be sent unchanged.
func (p *Policy) CheckHeaders(headers map[string]string) error {
	if len(headers) > maxHeaders {
		return invalidHeader("callback_headers must have at most %d entries.", maxHeaders)
	}
	size := 0
	seen := make(map[string]bool, len(headers))
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		lower := strings.ToLower(name)
		size += len(name) + len(headers[name])
		switch {
		case name == "" || strings.IndexFunc(name, isNotTokenRune) >= 0:
			return invalidHeader("callback_headers: %q is not a header name.", name)
		case isReserved(lower):
			return invalidHeader("callback_headers: %q may not be set.", name)
		case seen[lower]:
			return invalidHeader("callback_headers: %q appears twice.", name)
		case strings.ContainsFunc(headers[name], isControl):
			return invalidHeader(
				"callback_headers: the value of %q must not contain line breaks or other control characters.", name,
			)
		case size > maxHeaderBytes:
			return invalidHeader("callback_headers must have at most %d bytes in all; %q is too much.",
				maxHeaderBytes, name)
		}
		seen[lower] = true
	}
	return nil
}

func invalidHeader(format string, args ...any) error {
	return fault.New(fault.InvalidRequest, format, args...).Field("callback_headers")
}

// isReserved reports whether a client may not set the header with this lower-case name.
func isReserved(name string) bool {
	return reservedHeaders[name] ||
		slices.ContainsFunc(reservedHeaderPrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// isNotTokenRune reports whether a character is forbidden in a header name (RFC 9110 §5.6.2).
func isNotTokenRune(r rune) bool {
	alphanumeric := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
	return !alphanumeric && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}

// isControl reports whether a character is forbidden in a header value (RFC 9110 §5.5). A tab is allowed.
func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
