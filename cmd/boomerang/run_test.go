package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
)

func TestRunExitsWith125IfTheProgramDidNotRun(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(server.Close)
	missing := filepath.Join(t.TempDir(), "missing.py")
	flags := serverFlags{Server: server.URL, Token: "t"}
	for name, r := range map[string]runCmd{
		"a missing file":        {serverFlags: flags, Timeout: 60, File: missing},
		"no language":           {serverFlags: flags, Timeout: 60, File: "-"},
		"an invalid secret":     {serverFlags: flags, Timeout: 60, File: "run_test.go", Secret: []string{"whsec_"}},
		"a server that refuses": {serverFlags: flags, Timeout: 60, File: "run_test.go"},
	} {
		err := r.Run(t.Context())
		if code, ok := errors.AsType[exitError](err); !ok || code != exitNotRun {
			t.Errorf("%s: got %v; want exit code %d", name, err, exitNotRun)
		}
	}
}

func TestAnEmptyTokenIsRejectedBeforeAnyCall(t *testing.T) {
	if err := (&serverFlags{}).Validate(); err == nil || !strings.Contains(err.Error(), "BOOMERANG_TOKEN") {
		t.Errorf("got %v; want a sentence that names BOOMERANG_TOKEN", err)
	}
}
