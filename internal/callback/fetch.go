package callback

import (
	"context"
	"errors"
	"io"
	"net/http"

	"boomerang/internal/address"
	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

// Fetcher downloads the files that clients name by URL. It uses the guarded dial and the egress proxy of callbacks, but
// has exceptions of its own: permission to post to an address is no permission to read from it.
type Fetcher struct {
	policy    *Policy
	transport *http.Transport
	agent     string
}

// NewFetcher returns a Fetcher. From c it takes the rules for URLs, the proxy and the certificate authorities. The
// ranges in allow are open although a rule closes them. Errors are those of NewPolicy.
func NewFetcher(c Config, allow []address.Range, version string) (*Fetcher, error) {
	c.AllowCIDRs, c.AllowHosts, c.ClientCertificates = allow, nil, nil // a fetch never shows a client certificate
	policy, err := NewPolicy(c)
	if err != nil {
		return nil, err
	}
	agent := "boomerang/" + version
	transport := newTransport(c, policy, agent, defaultTimeouts())
	transport.DisableKeepAlives = true
	return &Fetcher{policy: policy, transport: transport, agent: agent}, nil
}

// Fetch returns the body of a 200 answer, at most limit bytes. It does not follow redirects. Errors are faults that
// name field: INVALID_REQUEST with the outcome of the failed attempt in the detail "error", or PAYLOAD_TOO_LARGE. The
// context must have a deadline: a failed download from an exception takes until then, so that its time tells nothing.
func (f *Fetcher) Fetch(ctx context.Context, field, url string, limit int) ([]byte, error) {
	if err := inField(field, f.policy.checkURL(url)); err != nil {
		if closed, ok := errors.AsType[*fault.Error](err); ok {
			closed.Code = fault.InvalidRequest
		}
		return nil, err
	}
	trace := new(connTrace)
	content, err := f.fetch(ctx, trace, field, url, limit)
	if err != nil && fault.Of(err).Code != fault.PayloadTooLarge &&
		f.policy.hidesOutcome(url, trace, errors.Unwrap(err)) {
		return nil, hideFetch(ctx, field, err)
	}
	return content, err
}

func (f *Fetcher) fetch(ctx context.Context, trace *connTrace, field, url string, limit int) ([]byte, error) {
	ctx = trace.attach(withPeer(ctx, hostname(url)))
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fetchFault(field, &unsentError{err})
	}
	request.Header.Set("User-Agent", f.agent)
	response, err := f.transport.RoundTrip(request) // without an http.Client, so redirects are not followed
	if err != nil {
		return nil, fetchFault(field, trace.wrapError(err))
	}
	defer response.Body.Close() //nolint:errcheck // it was read, or the error is told already
	if response.StatusCode != http.StatusOK {
		class, _ := classifyStatus(response.StatusCode)
		if class == execution.AttemptSucceeded {
			class = execution.AttemptStatus // a 206 or a 204 is not the file
		}
		return nil, fault.New(fault.InvalidRequest, "%s could not be fetched: the server answered %d.",
			field, response.StatusCode).Field(field).Detail("error", class)
	}
	content, err := io.ReadAll(io.LimitReader(response.Body, int64(limit)+1))
	if err != nil {
		return nil, fetchFault(field, err)
	}
	if len(content) > limit {
		return nil, fault.New(fault.PayloadTooLarge, "%s leads to more than the %d bytes that are left for files.",
			field, limit).Field(field)
	}
	return content, nil
}

// fetchFault returns the reason for a missing answer, without the addresses in err.
func fetchFault(field string, err error) error {
	if refusal, ok := errors.AsType[*RefusalError](err); ok {
		return fault.New(fault.InvalidRequest, "%s must not go to %s.", field, refusal.Rule).Field(field).
			Detail("error", execution.AttemptBlocked).Because(err)
	}
	class, _ := classifyError(err)
	return fault.New(fault.InvalidRequest, "%s could not be fetched: %s.", field, class).
		Field(field).Detail("error", class).Because(err)
}
