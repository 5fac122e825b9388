package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
)

func TestRunEndsWith125WhenNothingRan(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	t.Cleanup(server.Close)
	missing := filepath.Join(t.TempDir(), "missing.py")
	for name, r := range map[string]runCmd{
		"a file that is not there": {remote: remote{Server: server.URL, Token: "t"}, File: missing},
		"no language":              {remote: remote{Server: server.URL, Token: "t"}, File: "-"},
		"a secret that is no key":  {remote: remote{Server: server.URL, Token: "t"}, File: "run_test.go", Secret: []string{"whsec_"}},
		"a server that refuses":    {remote: remote{Server: server.URL, Token: "t"}, File: "run_test.go"},
	} {
		err := r.Run(t.Context())
		if code, ok := errors.AsType[exitError](err); !ok || code != exitNotRun {
			t.Errorf("%s: got %v; want exit code %d", name, err, exitNotRun)
		}
	}
}

func TestATokenThatIsSetToNothingIsRefusedBeforeAnyCall(t *testing.T) {
	if err := (&remote{}).Validate(); err == nil || !strings.Contains(err.Error(), "BOOMERANG_TOKEN") {
		t.Errorf("got %v; want a sentence that names BOOMERANG_TOKEN", err)
	}
}
