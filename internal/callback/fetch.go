package callback

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/netip"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

// Fetcher brings what lies behind a URL that a client names. It goes where a callback could go, through the same dial and
// the same proxy, but the exceptions are its own: who may post to an address may not read there.
type Fetcher struct {
	policy    *Policy
	transport *http.Transport
	agent     string
}

// NewFetcher makes a Fetcher. Of c it takes the rules for URLs, the proxy and the authorities; allow are the addresses that
// are open although a rule closes them. Errors are those of NewPolicy.
func NewFetcher(c Config, allow []netip.Prefix, version string) (*Fetcher, error) {
	c.AllowCIDRs, c.AllowHosts, c.ClientCertificates = allow, nil, nil // nobody reads with a certificate of ours
	policy, err := NewPolicy(c)
	if err != nil {
		return nil, err
	}
	agent := "boomerang/" + version
	transport := newTransport(c, policy, agent, usualLimits())
	transport.DisableKeepAlives = true
	return &Fetcher{policy: policy, transport: transport, agent: agent}, nil
}

// Fetch returns the body of a 200, at most limit bytes. Redirects are not followed. Errors are faults that name field:
// INVALID_REQUEST, whose detail "error" is the class of an attempt that failed, or PAYLOAD_TOO_LARGE.
func (f *Fetcher) Fetch(ctx context.Context, field, url string, limit int) ([]byte, error) {
	if err := inField(field, f.policy.checkURL(url)); err != nil {
		if closed, ok := errors.AsType[*fault.Error](err); ok {
			closed.Code = fault.InvalidRequest
		}
		return nil, err
	}
	w := new(connTrace)
	request, err := http.NewRequestWithContext(httptrace.WithClientTrace(with(ctx, hostname(url)), w.trace()), http.MethodGet, url, nil)
	if err != nil {
		return nil, unfetched(field, &unsentError{err})
	}
	request.Header.Set("User-Agent", f.agent)
	response, err := f.transport.RoundTrip(request) // without an http.Client nobody follows redirects
	if err != nil {
		return nil, unfetched(field, w.explain(err))
	}
	defer response.Body.Close() //nolint:errcheck // it was read, or the error is told already
	if response.StatusCode != http.StatusOK {
		class, _ := outcome(response.StatusCode)
		if class == execution.AttemptSucceeded {
			class = execution.AttemptStatus // a 206 or a 204 is not the file
		}
		return nil, fault.New(fault.InvalidRequest, "%s could not be fetched: the server answered %d.", field, response.StatusCode).
			Field(field).Detail("error", class)
	}
	content, err := io.ReadAll(io.LimitReader(response.Body, int64(limit)+1))
	if err != nil {
		return nil, unfetched(field, err)
	}
	if len(content) > limit {
		return nil, fault.New(fault.PayloadTooLarge, "%s leads to more than the %d bytes that are left for files.", field, limit).Field(field)
	}
	return content, nil
}

// unfetched says why there was no answer, without the addresses that are in err.
func unfetched(field string, err error) error {
	if refusal, ok := errors.AsType[*RefusalError](err); ok {
		return fault.New(fault.InvalidRequest, "%s must not go to %s.", field, refusal.Rule).Field(field).
			Detail("error", execution.AttemptBlocked).Because(err)
	}
	class, _ := classify(err)
	return fault.New(fault.InvalidRequest, "%s could not be fetched: %s.", field, class).Field(field).Detail("error", class).Because(err)
}
