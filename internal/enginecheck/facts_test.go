package enginecheck

import (
	"testing"
	"time"

	"boomerang/internal/sandbox"
)

func TestStrictRefusesWarningsOnTheEngineAlone(t *testing.T) {
	own := sandbox.Fact{Name: "runc advisories", Weight: sandbox.Warning, Own: true}
	hole := sandbox.Fact{Name: "runc", Weight: sandbox.Warning}
	for name, c := range map[string]struct {
		warnings []sandbox.Fact
		refused  bool
	}{
		"no warning":          {nil, false},
		"an old table":        {[]sandbox.Fact{own}, false},
		"a hole":              {[]sandbox.Fact{hole}, true},
		"a table and a hole":  {[]sandbox.Fact{own, hole}, true},
		"a hole and no table": {[]sandbox.Fact{hole, own}, true},
	} {
		f := &facts{strict: true, asked: time.Now(), warnings: c.warnings}
		if err := f.check(t.Context()); (err != nil) != c.refused {
			t.Errorf("%s: got %v, want a refusal: %t", name, err, c.refused)
		}
		if got := len(f.names(t.Context())); got != len(c.warnings) {
			t.Errorf("%s: %d warnings are shown, want %d", name, got, len(c.warnings))
		}
	}
}
