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

// What a container of each shipped language is given, and what its init is told, is compared with a file that a person
// has read. What
// the engine is then asked for is the same for all specs, and has golden files in sandbox/docker.
func TestEveryShippedLanguageIsGivenWhatIsWritten(t *testing.T) {
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
