package callback

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"boomerang/internal/address"
	"boomerang/internal/fault"
)

// fileServer is a server of files.
func fileServer(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/file":
			_, _ = w.Write([]byte("file\x00\xff"))
		case "/agent":
			_, _ = fmt.Fprint(w, r.Method, " ", r.Header)
		case "/moved":
			http.Redirect(w, r, "/file", http.StatusFound)
		case "/part":
			w.WriteHeader(http.StatusPartialContent)
		case "/short":
			w.Header().Set("Content-Length", "9")
			_, _ = w.Write([]byte("half"))
		case "/slow":
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return server
}

func fetcher(t *testing.T, c Config, allow ...string) *Fetcher {
	t.Helper()
	c.RevealExceptions = true
	var cidrs []address.Range
	for _, cidr := range allow {
		cidrs = append(cidrs, address.MustParseRange(cidr))
	}
	f, err := NewFetcher(c, cidrs, "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFetchReturnsTheBody(t *testing.T) {
	server, f := fileServer(t), fetcher(t, Defaults(), "127.0.0.0/8")
	for path, want := range map[string]string{
		"/file":  "file\x00\xff",
		"/agent": "GET map[Connection:[close] User-Agent:[boomerang/1.2.3]]",
	} {
		got, err := f.Fetch(t.Context(), "files[0].url", server.URL+path, len(want))
		if err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v, want %q", path, got, err, want)
		}
	}
}

func TestFetchNamesTheFailure(t *testing.T) {
	server, f := fileServer(t), fetcher(t, Defaults(), "127.0.0.0/8")
	closed := httptest.NewServer(nil)
	closed.Close()
	for url, want := range map[string]struct {
		code  fault.Code
		class any
	}{
		server.URL + "/none":      {fault.InvalidRequest, "http_status"},
		server.URL + "/part":      {fault.InvalidRequest, "http_status"},
		server.URL + "/moved":     {fault.InvalidRequest, "redirect"},
		server.URL + "/short":     {fault.InvalidRequest, "connection_error"},
		server.URL + "/slow":      {fault.InvalidRequest, "timeout"},
		closed.URL:                {fault.InvalidRequest, "connection_refused"},
		server.URL + "/agent":     {fault.PayloadTooLarge, nil},
		"ftp://example.com/a":     {fault.InvalidRequest, nil},
		"http://10.0.0.1/a":       {fault.InvalidRequest, nil},
		"http://169.254.169.254/": {fault.InvalidRequest, nil},
	} {
		patience := time.Minute
		if want.class == "timeout" {
			patience = 100 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		_, err := f.Fetch(ctx, "files[3].url", url, 6)
		cancel()
		got := fault.Of(err)
		if err == nil || got.Code != want.code || got.Details["field"] != "files[3].url" ||
			!strings.HasPrefix(got.Sentence, "files[3].url ") {
			t.Errorf("%s: got %v with %v, want %s", url, err, got.Details, want.code)
		}
		if class := got.Details["error"]; (class != nil || want.class != nil) && fmt.Sprint(class) != want.class {
			t.Errorf("%s: got the class %v, want %v", url, class, want.class)
		}
		if strings.Contains(got.Sentence, "127.0.0.1") {
			t.Errorf("%s: %q says an address", url, got.Sentence)
		}
	}
}

// A callback writes to an exception; a fetch would read from it.
func TestFetchIgnoresTheExceptionsOfCallbacks(t *testing.T) {
	server, c := fileServer(t), Defaults()
	c.AllowCIDRs = []address.Range{address.MustParseRange("127.0.0.0/8")}
	c.AllowHosts = []address.Host{{Name: "127.0.0.1"}, {Name: "hook.test"}}
	f := fetcher(t, c)
	if got, err := f.Fetch(t.Context(), "url", server.URL+"/file", 100); err == nil {
		t.Errorf("got %q, want a refusal", got)
	}
}

func TestFetchIsRefusedByTheDialToo(t *testing.T) {
	f := fetcher(t, Defaults())
	names := dnsServer{
		answers: map[string][][]string{"files.example.": {{"10.0.0.1"}}, "files.example": {{"10.0.0.1"}}},
	}
	f.transport.DialContext = guardedDialer{policy: f.policy, resolver: names.resolver(), timeout: time.Second}.dial
	_, err := f.Fetch(t.Context(), "url", "http://files.example/a", 100)
	if got := fault.Of(err); err == nil || fmt.Sprint(got.Details["error"]) != "blocked" ||
		strings.Contains(got.Sentence, "10.0.0.1") {
		t.Errorf("got %v with %v, want blocked", err, got.Details)
	}
}
