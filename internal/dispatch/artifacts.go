package dispatch

import (
	"cmp"
	"io/fs"
	"slices"
	"strings"
	"unicode/utf8"

	"boomerang/internal/execution"
	"boomerang/internal/journal"
	"boomerang/internal/sandbox"
)

// artifactRules are the rules for artifacts. The store would refuse a result with an artifact that breaks them, on
// every attempt.
type artifactRules struct{}

func (artifactRules) accept(c *collection, path string, _ int64) bool {
	return c.files < sandbox.MaxArtifacts && fs.ValidPath(path) && path != "." &&
		utf8.ValidString(path) && !strings.ContainsRune(path, 0) &&
		!slices.ContainsFunc(c.entries, func(e execution.Entry) bool { return e.Path == path })
}

func (artifactRules) addPresent(*collection, journal.Present) {}

// artifacts returns the artifacts of an execution. Without the end frame of stdout the journal proves nothing about the
// files; end is nil then.
func (c *collection) artifacts(e execution.Execution, end *journal.End) *execution.Artifacts {
	a := noArtifacts(e)
	switch {
	case a == nil:
	case end == nil:
		a.Cut = execution.CutLost
	default:
		for _, f := range c.entries {
			a.Files = append(a.Files, execution.Artifact{Path: f.Path, Mode: f.Mode, Blob: f.Blob})
		}
		a.Omissions = execution.Omissions{Omitted: c.omitted, Count: c.missing, Cut: c.cut}
		slices.SortFunc(a.Files, func(a, b execution.Artifact) int { return cmp.Compare(a.Path, b.Path) })
	}
	return a
}

// noArtifacts returns the empty artifacts of an execution that did not run; nil if the execution asked for none.
func noArtifacts(e execution.Execution) *execution.Artifacts {
	if len(e.Options.Artifacts) == 0 {
		return nil
	}
	return new(execution.Artifacts)
}
