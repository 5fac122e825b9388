//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"boomerang/configs"
	"boomerang/internal/config"
	"boomerang/internal/execution"
	"boomerang/internal/language"
)

// withOneWarm offers only one of the languages that ship, with a change and with one warm container.
func withOneWarm(t testing.TB, l language.Language, change fields) func(*config.Config) {
	t.Helper()
	var shipped struct {
		Defaults  fields
		Languages map[string]fields
	}
	if err := yaml.Unmarshal(configs.Languages, &shipped); err != nil {
		t.Fatal(err)
	}
	entry := shipped.Languages[l.Name]
	entry["warm"] = 1
	maps.Copy(entry, change)
	text, err := json.Marshal(fields{"defaults": shipped.Defaults, "languages": fields{l.Name: entry}}) // JSON is YAML
	if err != nil {
		t.Fatal(err)
	}
	return withLanguages(t, string(text))
}

// markedRehearsal returns the rehearsal of a language, followed by a process that shows its success to other processes.
func markedRehearsal(l language.Language) []string {
	return append([]string{"sh", "-c", `"$@" && exec sleep 4711`, "sh"}, l.Rehearsal...)
}

// awaitRehearsal waits until the warm container has finished its rehearsal, and returns its ID.
func (h *harness) awaitRehearsal() (id string) {
	h.t.Helper()
	docker := engine(h.t)
	if !eventually(h.t, func() bool {
		list := h.warmContainers()
		if len(list) != 1 {
			return false
		}
		id = list[0].ID
		top, err := docker.ContainerTop(h.t.Context(), id, nil)
		return err == nil && slices.ContainsFunc(top.Processes, func(p []string) bool {
			return p[len(p)-1] == "sleep 4711"
		})
	}) {
		h.t.Fatal("no container has finished its rehearsal")
	}
	return id
}

func TestEveryLanguageRehearsesAndLeavesNothing(t *testing.T) {
	for _, l := range selectedLanguages(t) {
		t.Run(l.Name, func(t *testing.T) {
			looks := append([]string{"sh", "-c", `ls -A /dev/shm /tmp /workspace; echo /proc/[0-9]*; exec "$@"`, "sh"},
				l.Command...)
			h := newHarness(t, withOneWarm(t, l, fields{"rehearsal": markedRehearsal(l), "command": looks}))
			waited := h.awaitRehearsal()
			id := h.submit(program(t, l, "hello"), fields{"language": l.Name, "timeout": 300})
			p := h.awaitCallback(id).Payload
			var self string
			if n, _ := fmt.Sscanf(p.Stdout, "/dev/shm:\n\n/tmp:\n\n/workspace:\n"+l.File+"\n/proc/1 /proc/%s\nhello\n",
				&self); n != 1 || p.Status != execution.Completed || p.Stderr != "" {
				t.Errorf("%s/%s, %q, %q; want only its code, the init, itself and its output", p.Status, p.Reason,
					p.Stdout, p.Stderr)
			}
			if container := h.containerOf(id); container != waited {
				t.Errorf("the execution ran in %s, want the warm container %s", container, waited)
			}
		})
	}
}

// BenchmarkLanguage measures the time from the start of the first program in a warm container to its end, with and
// without a rehearsal: medians in milliseconds. Both alternate, so compare the figures of one run.
func BenchmarkLanguage(b *testing.B) {
	for _, l := range selectedLanguages(b) {
		b.Run(l.Name, func(b *testing.B) {
			first := "hello"
			if _, made := libraryPrograms[l.Name]; made {
				first = "work"
			}
			code := program(b, l, first)
			plain := newHarness(b, withOneWarm(b, l, fields{"rehearsal": []string{}}))
			warm := newHarness(b, withOneWarm(b, l, fields{"rehearsal": markedRehearsal(l)}))
			took := map[*harness][]time.Duration{}
			for b.Loop() {
				for _, h := range []*harness{plain, warm} {
					if h == warm {
						h.awaitRehearsal()
					} else if !eventually(b, func() bool { return len(h.warmContainers()) == 1 }) {
						b.Fatal("there is no warm container")
					}
					p := h.awaitCallback(h.submit(code, fields{"language": l.Name, "timeout": 300})).Payload
					if p.Status != execution.Completed {
						b.Fatalf("%s/%s, %q, %q", p.Status, p.Reason, p.Stdout, p.Stderr)
					}
					took[h] = append(took[h], time.Duration(p.ExecutionTime))
				}
			}
			for name, h := range map[string]*harness{"plain-ms": plain, "rehearsed-ms": warm} {
				slices.Sort(took[h])
				b.ReportMetric(float64(took[h][len(took[h])/2].Microseconds())/1000, name)
			}
		})
	}
}
