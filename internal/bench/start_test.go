//go:build bench

package bench

import (
	"path/filepath"
	"time"
)

// starts measures the time from the start of the program until /healthz and /readyz answer 200, with a new data
// directory and with an existing one.
func starts(h *harness) {
	names := []string{"a fresh directory", "an existing one"}
	alive, ready := map[string]Sample{}, map[string]Sample{}
	correct := "all right"
	dirs := map[string]string{}
	for round := range max(h.rounds/3, 3) {
		for _, name := range names {
			dir := ""
			if name == names[1] {
				dir = filepath.Join(h.dir, "existing")
				dirs[name] = dir
			}
			began := time.Now()
			s := h.launch(settings{slots: 4, dir: dir})
			up := func(path string) float64 {
				if err := s.awaitAnswer(path); err != nil {
					h.Fatal(err)
				}
				return Millis(time.Since(began))
			}
			a, r := up("/healthz"), up("/readyz")
			if said := s.stop(); said != "all 0" {
				correct = said
			}
			if round > 0 {
				alive[name], ready[name] = append(alive[name], a), append(ready[name], r)
			}
		}
	}
	for _, name := range names {
		h.add(Row{
			What: "G  start to ready, " + name, Ours: Figure{Unit: "ms", Sample: ready[name]},
			Theirs: Figure{Name: "to /healthz", Unit: "ms", Sample: alive[name]}, Goal: "≤ 300 ms",
			Met: ready[name].Median() <= 300, Correct: correct,
		})
	}
}
