package client

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

// serve returns a client of a server with the handler h. Tests of httpapi use the client with the real server.
func serve(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	c, err := New(server.URL+"/below", "token")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEveryCallSendsTheTokenToAPathBelowTheServersURL(t *testing.T) {
	var got []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Method+" "+r.URL.RequestURI()+" "+r.Header.Get("Authorization"))
		_, _ = w.Write([]byte("{}"))
	})
	_, err1 := c.Submit(t.Context(), Submission{CallbackURL: "https://receiver.example/"})
	_, err0 := c.Submit(t.Context(), Submission{})
	_, err2 := c.Get(t.Context(), "exec_1", 90*time.Second)
	_, err3 := c.Cancel(t.Context(), "exec_1")
	_, err4 := c.Output(t.Context(), "exec_1", execution.Stderr)
	if err := errors.Join(err0, err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"POST /below/execute/async Bearer token",
		"POST /below/execute/background Bearer token", // a submission without a callback URL
		"GET /below/executions/exec_1?wait=60 Bearer token",
		"POST /below/executions/exec_1/cancel Bearer token",
		"GET /below/executions/exec_1/output?stream=stderr Bearer token",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q; want %q", got, want)
	}
}

func TestSecretsAreAStringOrAList(t *testing.T) {
	for want, secrets := range map[string]Secrets{
		`{"code":""}`: nil,
		`{"code":"","callback_signature_secret":"s"}`:           {"s"},
		`{"code":"","callback_signature_secret":["new","old"]}`: {"new", "old"},
	} {
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if got, err := io.ReadAll(r.Body); err != nil || string(got) != want {
				t.Errorf("got %s, %v; want %s", got, err, want)
			}
			_, _ = w.Write([]byte("{}"))
		})
		if _, err := c.Submit(t.Context(), Submission{Secrets: secrets}); err != nil {
			t.Error(err)
		}
	}
}

func TestAnErrorAnswerBecomesAFault(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = w.Write([]byte(
			`{"message":"The queue is full.","code":"QUEUE_FULL","details":{"limit":"total"},"retry_after":5}`))
	})
	_, err := c.Submit(t.Context(), Submission{})
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || f.Code != fault.QueueFull || f.Sentence != "The queue is full." ||
		f.RetryAfter != 5*time.Second || f.Details["limit"] != "total" {
		t.Errorf("got %#v; want the fault with all its fields", err)
	}
}

func TestAnAnswerOfAnotherProgramIsNotAFault(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"a proxy's page": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "<h1>Bad Gateway</h1>", http.StatusBadGateway)
		},
		"other JSON": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, `{"detail":"no"}`, http.StatusForbidden)
		},
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		},
		"200 without JSON": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) },
		"an empty answer":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
	} {
		t.Run(name, func(t *testing.T) {
			_, err := serve(t, h).Get(t.Context(), "exec_1", 0)
			if _, ok := errors.AsType[*fault.Error](err); err == nil || ok {
				t.Errorf("got %v; want an error that is not a fault", err)
			}
		})
	}
}

func TestTheTokenDoesNotFollowARedirect(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the client followed the redirect")
	}))
	defer other.Close()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	})
	if _, err := c.Submit(t.Context(), Submission{}); err == nil {
		t.Error("got no error; want one for the redirect")
	}
}

func TestOutputReturnsTheServersFault(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, `{"message":"There is no such execution.","code":"EXECUTION_NOT_FOUND"}`, http.StatusNotFound)
	})
	_, err := c.Output(t.Context(), "exec_1", execution.Stdout)
	if f, ok := errors.AsType[*fault.Error](err); !ok || f.Code != fault.ExecutionNotFound {
		t.Errorf("got %v; want EXECUTION_NOT_FOUND", err)
	}
}

func TestNewRejectsAnInvalidServerURL(t *testing.T) {
	for _, server := range []string{"", "localhost:8080", "ftp://example.com", "http://", "http://a b"} {
		if _, err := New(server, "token"); err == nil {
			t.Errorf("%q: got a client; want an error", server)
		}
	}
}
