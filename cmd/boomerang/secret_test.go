package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"boomerang/internal/client"
	"boomerang/internal/fault"
)

// withSecret holds the commands that take a secret, with their other required flags. %s stands for the URL of a server.
var withSecret = []string{
	"run secret_test.go --server %s --token t",
	"callbacks test https://example.com/ --server %s --token t",
	"listen --addr nowhere.invalid:0",
	"verify --signature sha256=00",
}

func TestAnInvalidSecretIsRejectedBeforeAnyRequest(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("got a request for %s; want none", r.URL)
	}))
	defer server.Close()
	for _, line := range withSecret {
		args := strings.Fields(strings.ReplaceAll(line, "%s", server.URL))
		for _, flags := range [][]string{{"--secret", "whsec_"}, {"--secret", "new", "--secret", "whsec_HUSH"}} {
			if err := runCommand(t, append(args, flags...)...); err == nil || strings.Contains(err.Error(), "HUSH") {
				t.Errorf("%v: got %v, want an error that does not show the secret", append(args, flags...), err)
			}
		}
		if args[0] == "run" {
			continue // run does not read the variable
		}
		t.Setenv("BOOMERANG_SECRET", "whsec_HUSH")
		if err := runCommand(t, args...); err == nil || strings.Contains(err.Error(), "HUSH") {
			t.Errorf("%v with BOOMERANG_SECRET: got %v, want an error that does not show the secret", args, err)
		}
		t.Setenv("BOOMERANG_SECRET", "")
	}
}

// runCommand runs a command line and returns its error.
func runCommand(t *testing.T, args ...string) error {
	t.Helper()
	exit := func(int) { t.Errorf("%v: the command exits", args) }
	parser := kong.Must(&cli{}, kong.BindToProvider(t.Context), kong.Exit(exit))
	command, err := parser.Parse(args)
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return command.Run()
}

func TestTheServerRejectsAnInvalidSecret(t *testing.T) {
	h := newHarness(t)
	server, err := client.New(h.url, h.token)
	if err != nil {
		t.Fatal(err)
	}
	for field, secrets := range map[string]client.Secrets{
		"callback_signature_secret": {"whsec_"}, "callback_signature_secret[1]": {"new", "whsec_-_"},
	} {
		_, tested := server.Test(t.Context(), client.Sample{URL: h.receiver.URL, Secrets: secrets})
		submission := client.Submission{Code: "1", CallbackURL: h.receiver.URL, Secrets: secrets}
		_, submitted := server.Submit(t.Context(), submission)
		for call, err := range map[string]error{"test": tested, "submission": submitted} {
			f, ok := errors.AsType[*fault.Error](err)
			if !ok || f.Code != fault.InvalidRequest || f.Details["field"] != field {
				t.Errorf("%s with %q: got %v, want INVALID_REQUEST of %s", call, secrets, err, field)
			}
		}
	}
}
