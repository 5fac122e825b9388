package language

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"boomerang/internal/journal"
	"boomerang/internal/sandbox"
)

var update = flag.Bool("update", false, "write the golden files anew")

// The spec and the job of each shipped language must equal a file that a person has read. The engine's settings are
// equal for all specs and have golden files in sandbox/docker.
func TestThePlanOfEveryShippedLanguageEqualsItsGoldenFile(t *testing.T) {
	catalogue, err := Open(Defaults())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range catalogue.Languages() {
		spec, job := Plan(l, Request{Execution: "exec", Code: "code", Timeout: time.Hour, Nonce: "nonce"})
		got, err := json.MarshalIndent(struct {
			Spec sandbox.Spec
			Job  journal.Job
		}{spec, job}, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, '\n')
		path := filepath.Join("testdata", l.Name+".json")
		if *update {
			if err := os.WriteFile(path, got, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v\n got %s\nwant %s", path, err, got, want)
		}
	}
}
