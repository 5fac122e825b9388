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

// oneWaits is a catalogue of one language as it is shipped but for a change, by which one container waits.
func oneWaits(t testing.TB, l language.Language, change fields) func(*config.Config) {
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
	text, err := json.Marshal(fields{"defaults": shipped.Defaults, "languages": fields{l.Name: entry}}) // which is YAML
	if err != nil {
		t.Fatal(err)
	}
	return catalogue(t, string(text))
}

// toTheEnd is a rehearsal that goes on when it has ended well, so that somebody outside sees that.
func toTheEnd(l language.Language) []string {
	return append([]string{"sh", "-c", `"$@" && exec sleep 4711`, "sh"}, l.Rehearsal...)
}

// rehearsed waits until the container that waits has rehearsed to the end, and returns its id.
func (h *house) rehearsed() (id string) {
	h.t.Helper()
	docker := engine(h.t)
	if !eventually(h.t, func() bool {
		list := h.waiting()
		if len(list) != 1 {
			return false
		}
		id = list[0].ID
		top, err := docker.ContainerTop(h.t.Context(), id, nil)
		return err == nil && slices.ContainsFunc(top.Processes, func(p []string) bool { return p[len(p)-1] == "sleep 4711" })
	}) {
		h.t.Fatal("no container has rehearsed to the end")
	}
	return id
}

func TestEveryLanguageRehearsesWellAndLeavesNothing(t *testing.T) {
	for _, l := range chosen(t) {
		t.Run(l.Name, func(t *testing.T) {
			looks := append([]string{"sh", "-c", `ls -A /dev/shm /tmp /workspace; echo /proc/[0-9]*; exec "$@"`, "sh"}, l.Command...)
			h := enter(t, oneWaits(t, l, fields{"rehearsal": toTheEnd(l), "command": looks}))
			waited := h.rehearsed()
			id := h.submit(program(t, l, "hello"), fields{"language": l.Name, "timeout": 300})
			p := h.callback(id).Payload
			var self string
			if n, _ := fmt.Sscanf(p.Stdout, "/dev/shm:\n\n/tmp:\n\n/workspace:\n"+l.File+"\n/proc/1 /proc/%s\nhello\n", &self); n != 1 || p.Status != execution.Completed || p.Stderr != "" {
				t.Errorf("%s/%s, %q, %q; want nothing but its code, the init and itself, and what it prints", p.Status, p.Reason, p.Stdout, p.Stderr)
			}
			if container := h.container(id); container != waited {
				t.Errorf("it ran in %s, want %s, which waited", container, waited)
			}
		})
	}
}

// BenchmarkLanguage measures what a rehearsal saves the first program of a container that has waited: the time from the program's
// start to its end, medians in milliseconds. A round takes each way once, so compare them within a run.
func BenchmarkLanguage(b *testing.B) {
	for _, l := range chosen(b) {
		b.Run(l.Name, func(b *testing.B) {
			first := "hello"
			if _, made := works[l.Name]; made {
				first = "work"
			}
			code := program(b, l, first)
			plain := enter(b, oneWaits(b, l, fields{"rehearsal": []string{}}))
			warm := enter(b, oneWaits(b, l, fields{"rehearsal": toTheEnd(l)}))
			took := map[*house][]time.Duration{}
			for b.Loop() {
				for _, h := range []*house{plain, warm} {
					if h == warm {
						h.rehearsed()
					} else if !eventually(b, func() bool { return len(h.waiting()) == 1 }) {
						b.Fatal("no container waits")
					}
					p := h.callback(h.submit(code, fields{"language": l.Name, "timeout": 300})).Payload
					if p.Status != execution.Completed {
						b.Fatalf("%s/%s, %q, %q", p.Status, p.Reason, p.Stdout, p.Stderr)
					}
					took[h] = append(took[h], time.Duration(p.ExecutionTime))
				}
			}
			for name, h := range map[string]*house{"plain-ms": plain, "rehearsed-ms": warm} {
				slices.Sort(took[h])
				b.ReportMetric(float64(took[h][len(took[h])/2].Microseconds())/1000, name)
			}
		})
	}
}
