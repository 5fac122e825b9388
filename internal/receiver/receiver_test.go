package receiver

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"boomerang/internal/callback"
	"boomerang/internal/execution"
)

const (
	secret = "your-secret-key"
	body   = `{"execution_id":"exec_1","status":"completed","success":true,"stdout":"hello\n","exit_code":0,` +
		`"execution_time":1.5}`
)

// signed returns a request with the headers and signatures of a server.
func signed(text string, at time.Time) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/webhook", strings.NewReader(text))
	r.Header.Set(callback.HeaderAttempt, "2")
	r.Header.Set(callback.HeaderSignature, callback.Sign(secret, []byte(text)))
	r.Header.Set(callback.HeaderStandardID, "msg_exec_1")
	r.Header.Set(callback.HeaderStandardTimestamp, strconv.FormatInt(at.Unix(), 10))
	r.Header.Set(callback.HeaderStandardSignature, callback.SignStandard("msg_exec_1", at, []byte(text), secret))
	return r
}

// receive sends one request to a new receiver and returns the callbacks that it handled.
func receive(c Config, request *http.Request) (got []Callback, answer *httptest.ResponseRecorder) {
	c.Handle = func(c Callback) { got = append(got, c) }
	answer = httptest.NewRecorder()
	New(c).ServeHTTP(answer, request)
	return got, answer
}

func TestACallbackIsVerifiedDecodedAndHandled(t *testing.T) {
	got, answer := receive(Config{Secrets: []string{secret}}, signed(body, time.Now()))
	if answer.Code != http.StatusOK || len(got) != 1 {
		t.Fatalf("answered %d, %d callbacks", answer.Code, len(got))
	}
	c := got[0]
	if !c.Checked || c.Signature != nil || c.Standard != nil || c.Malformed != nil ||
		c.Status != http.StatusOK || c.Attempt != 2 || string(c.Body) != body {
		t.Errorf("got %+v", c)
	}
	p := c.Payload
	if p.ExecutionID != "exec_1" || p.Status != execution.Completed || !p.Success || p.Stdout != "hello\n" ||
		*p.ExitCode != 0 || time.Duration(p.ExecutionTime) != 1500*time.Millisecond {
		t.Errorf("got %+v", p)
	}
}

func TestTheSummaryOfABatchIsDecoded(t *testing.T) {
	const summary = `{"batch_id":"batch_1","success":false,"count":1,` +
		`"executions":[{"execution_id":"exec_1","status":"failed"}]}`
	got, answer := receive(Config{Secrets: []string{secret}}, signed(summary, time.Now()))
	if answer.Code != http.StatusOK || len(got) != 1 || got[0].Batch == nil ||
		len(got[0].Batch.Executions) != 1 || got[0].Batch.BatchID != "batch_1" {
		t.Errorf("answered %d, got %+v", answer.Code, got)
	}
	one := strings.Replace(body, "{", `{"batch_id":"batch_1",`, 1)
	if got, _ := receive(Config{Secrets: []string{secret}}, signed(one, time.Now())); got[0].Batch != nil {
		t.Error("the callback of one execution of a batch is decoded as the summary of the batch")
	}
}

func TestAnInvalidSignatureIsAnswered401AndHandled(t *testing.T) {
	unsigned := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	for name, c := range map[string]struct {
		request             *http.Request
		signature, standard error
	}{
		"unsigned":   {unsigned, callback.ErrUnsigned, callback.ErrUnsigned},
		"old":        {signed(body, time.Now().Add(-time.Hour)), nil, callback.ErrStale},
		"tampered":   {tampered(signed(body, time.Now())), callback.ErrMismatch, callback.ErrMismatch},
		"one forged": {forged(signed(body, time.Now())), callback.ErrMismatch, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, answer := receive(Config{Secrets: []string{secret}}, c.request)
			if answer.Code != http.StatusUnauthorized || len(got) != 1 {
				t.Fatalf("answered %d, %d callbacks", answer.Code, len(got))
			}
			if !errors.Is(got[0].Signature, c.signature) || !errors.Is(got[0].Standard, c.standard) {
				t.Errorf("got %v and %v, want %v and %v", got[0].Signature, got[0].Standard, c.signature, c.standard)
			}
		})
	}
}

func TestOneOfSeveralSecretsSuffices(t *testing.T) {
	for name, c := range map[string]struct {
		secrets             []string
		signature, standard error
	}{
		"the first":  {[]string{secret, "another"}, nil, nil},
		"the second": {[]string{"another", secret}, nil, nil},
		"none":       {[]string{"another", "a third"}, callback.ErrMismatch, callback.ErrMismatch},
	} {
		got, _ := receive(Config{Secrets: c.secrets}, signed(body, time.Now()))
		if !errors.Is(got[0].Signature, c.signature) || !errors.Is(got[0].Standard, c.standard) {
			t.Errorf("%s: got %v and %v; want %v and %v",
				name, got[0].Signature, got[0].Standard, c.signature, c.standard)
		}
	}
}

func tampered(r *http.Request) *http.Request {
	r.Body = io.NopCloser(strings.NewReader(strings.Replace(body, "hello", "jello", 1)))
	return r
}

func forged(r *http.Request) *http.Request {
	r.Header.Set(callback.HeaderSignature, callback.Sign("another", []byte(body)))
	return r
}

func TestWithoutASecretSignaturesAreNotChecked(t *testing.T) {
	got, answer := receive(Config{}, httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body)))
	if answer.Code != http.StatusOK || got[0].Checked || got[0].Signature != nil || got[0].Standard != nil {
		t.Errorf("answered %d: %+v", answer.Code, got)
	}
}

func TestARequestThatIsNotACallbackIsRejected(t *testing.T) {
	got, answer := receive(Config{Secrets: []string{secret}}, signed("[]", time.Now()))
	if answer.Code != http.StatusBadRequest || len(got) != 1 || got[0].Malformed == nil {
		t.Errorf("answered %d: %+v", answer.Code, got)
	}
	got, answer = receive(Config{}, httptest.NewRequest(http.MethodGet, "/", http.NoBody))
	if answer.Code != http.StatusMethodNotAllowed || answer.Header().Get("Allow") != http.MethodPost || len(got) != 0 {
		t.Errorf("GET: answered %d, handled %d times", answer.Code, len(got))
	}
	got, answer = receive(Config{}, httptest.NewRequest(http.MethodPost, "/", io.LimitReader(zeros{}, maxBody+1)))
	if answer.Code != http.StatusBadRequest || len(got) != 0 {
		t.Errorf("a body over the limit: answered %d, handled %d times", answer.Code, len(got))
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestTheFirstRequestsAreAnswered500AndHandled(t *testing.T) {
	var statuses []int
	r := New(Config{Secrets: []string{secret}, FailFirst: 2, Handle: func(c Callback) {
		statuses = append(statuses, c.Status)
	}})
	for _, want := range []int{500, 500, 200, 200} {
		answer := httptest.NewRecorder()
		r.ServeHTTP(answer, signed(body, time.Now()))
		if answer.Code != want || statuses[len(statuses)-1] != want {
			t.Errorf("answered %d, handled as %d; want %d", answer.Code, statuses[len(statuses)-1], want)
		}
	}
}

func TestServeAnswersRunningRequestsBeforeItStops(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := New(Config{Secrets: []string{secret}, Handle: func(Callback) { cancel() }}) // stop after one callback
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, l, r) }()
	request := signed(body, time.Now())
	request.RequestURI, request.URL.Scheme, request.URL.Host = "", "http", l.Addr().String()
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		t.Errorf("answered %d", answer.StatusCode)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if err := Serve(t.Context(), l, r); err == nil {
		t.Error("Serve on a closed listener: got no error")
	}
}

// single is a store of one delivery.
type single struct {
	delivery execution.Delivery
	recorded chan execution.Attempt
}

func (*single) LatestNews(context.Context) (c execution.NewsCursor, err error) {
	c.Row = 1
	return c, nil
}

func (*single) News(context.Context, execution.NewsCursor, int) (
	[]execution.Due, execution.NewsCursor, error,
) {
	return nil, execution.NewsCursor{}, nil
}

func (s *single) Heads(context.Context, string, string, int) ([]execution.Due, error) {
	return []execution.Due{{Execution: s.delivery.Execution, Destination: s.delivery.Callback.Destination()}}, nil
}

func (*single) Waiting(context.Context, string, string, int) ([]execution.Due, error) {
	return nil, nil
}

func (s *single) Delivery(context.Context, execution.ID) (execution.Delivery, error) {
	return s.delivery, nil
}

func (*single) Breakers(context.Context) ([]execution.Breaker, error) { return nil, nil }

func (*single) KeepBreaker(context.Context, execution.Breaker) error { return nil }

func (*single) ForgetBreakers(context.Context, time.Time) error { return nil }

func (s *single) Record(
	_ context.Context, a execution.Attempt, _ execution.DeliveryState, _ execution.DeadReason, _ time.Time,
) error {
	s.recorded <- a
	return nil
}

func (*single) Pending() <-chan struct{} { return nil }

func (*single) Unseal(_ execution.ID, _ string, sealed execution.Sealed) ([]byte, error) {
	return sealed, nil
}

func TestTheReceiverAcceptsTheCallbacksOfTheDeliverer(t *testing.T) {
	for sealed, secret := range map[string]string{
		`["your-secret-key"]`:                        "your-secret-key",
		`["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]`: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
		`["your-secret-key","an old one"]`:           "your-secret-key",
	} {
		var got []Callback
		handle := func(c Callback) { got = append(got, c) }
		server := httptest.NewServer(New(Config{Secrets: []string{secret}, Handle: handle}))
		defer server.Close()
		c := callback.Defaults()
		c.AllowCIDRs = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		policy, err := callback.NewPolicy(c)
		if err != nil {
			t.Fatal(err)
		}
		e := execution.Execution{
			ID: execution.NewID(time.Now()), Language: "python",
			Callback: execution.Callback{URL: server.URL, Secret: execution.Sealed(sealed)},
		}
		r := execution.Result{
			State: execution.Completed, Reason: execution.Exited, ExitCode: new(0), CompletedAt: time.Now(),
		}
		s := &single{recorded: make(chan execution.Attempt), delivery: execution.Delivery{
			Execution: e.ID, State: execution.Pending, Callback: e.Callback, Body: callback.Body(e, r, 1<<20),
		}}
		logger, _ := logtest.NewNullLogger()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- callback.NewDeliverer(c, callback.Deps{
				Store: s, Unsealer: s, Policy: policy, Version: "test", Log: logrus.NewEntry(logger),
			}).Run(ctx)
		}()
		a := <-s.recorded
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if a.Outcome != execution.AttemptSucceeded || len(got) != 1 {
			t.Fatalf("got %+v and %d callbacks", a, len(got))
		}
		if c := got[0]; c.Signature != nil || c.Standard != nil || c.Payload.ExecutionID != e.ID || c.Attempt != 1 {
			t.Errorf("got %+v", c)
		}
	}
}
