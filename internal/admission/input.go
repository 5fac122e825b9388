package admission

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/journal"
	"boomerang/internal/language"
	"boomerang/internal/workspace"
)

// File is a file that a program finds in its working directory.
type File struct {
	Path    string // relative to the working directory
	Mode    uint32 // permissions; 0 = 0600, like the file of the code
	Content []byte
	URL     string // source of Content; "" = Content is given
}

// Fetcher downloads files.
type Fetcher interface {
	// Fetch returns at most limit bytes. Errors are faults that name field.
	Fetch(ctx context.Context, field, url string, limit int) ([]byte, error)
}

const (
	defaultFileMode = 0o600
	maxFileMode     = 0o777
	maxArtifacts    = 32      // globs
	maxMetadata     = 32      // entries
	maxMetadataSize = 8 << 10 // bytes of all keys and values together
)

// fetchTimeout limits the download of all files of one submission: the SDKs give up after 10 s and post again.
const fetchTimeout = 5 * time.Second

// maxFetching is the number of submissions per subject whose files are fetched at a time. The queue's limits do not
// cover them, because files are fetched before a submission is stored.
const maxFetching = 8

func (a *Admission) checkArgs(s Submission) error {
	if len(s.Args) > a.config.Args.Entries {
		return invalid("args", "args must have at most %d entries, not %d.", a.config.Args.Entries, len(s.Args))
	}
	size := 0
	for i, arg := range s.Args {
		if strings.ContainsRune(arg, 0) {
			return invalid(fmt.Sprintf("args[%d]", i), "args[%d] must not contain a NUL.", i)
		}
		size += len(arg) + len("\x00")
	}
	if size > int(a.config.Args.Size) {
		return invalid("args", "args must have at most %d bytes in all, counted with one more each.",
			int(a.config.Args.Size))
	}
	return nil
}

func (a *Admission) checkStdin(s Submission) error {
	if len(s.Stdin) > int(a.config.Stdin) {
		return tooLarge("stdin", "stdin must have at most %d bytes, not %d.", int(a.config.Stdin), len(s.Stdin))
	}
	return nil
}

func (a *Admission) checkFiles(s Submission) error {
	if len(s.Files) > a.config.Files.Entries {
		return invalid("files", "files must have at most %d entries, not %d.", a.config.Files.Entries, len(s.Files))
	}
	size := 0
	files, dirs := make(map[string]bool), make(map[string]bool)
	for i, f := range s.Files {
		field := func(name string) string { return fmt.Sprintf("files[%d].%s", i, name) }
		if err := checkPath(field("path"), f.Path); err != nil {
			return err
		}
		if files[f.Path] || dirs[f.Path] {
			return invalid(field("path"), "%s: another file has this path, or one below it.", field("path"))
		}
		files[f.Path] = true
		for dir := path.Dir(f.Path); dir != "."; dir = path.Dir(dir) {
			if files[dir] {
				return invalid(field("path"), "%s lies below another file.", field("path"))
			}
			dirs[dir] = true
		}
		if f.Mode > maxFileMode {
			return invalid(field("mode"), "%s must be permissions from 001 to 777.", field("mode"))
		}
		if f.URL != "" && !a.config.Files.URL {
			return invalid(field("url"), "%s is not allowed on this server; send the file as text or base64.",
				field("url"))
		}
		size += len(f.Content)
	}
	if size > int(a.config.Files.Size) {
		return tooLarge("files", "files must have at most %d bytes in all, not %d.", int(a.config.Files.Size), size)
	}
	return nil
}

func checkPath(field, name string) error {
	switch {
	case name == "":
		return missing(field)
	case isTooLong(name):
		return invalid(field, "%s must have at most %d bytes, and at most %d between two slashes.",
			field, maxPath, maxPathPart)
	case strings.ContainsRune(name, 0):
		return invalid(field, "%s must not contain a NUL.", field)
	case path.IsAbs(name):
		return invalid(field, "%s must be relative to the working directory.", field)
	case !fs.ValidPath(name) || name == ".":
		return invalid(field,
			`%s must be written without "." and "..", without double slashes and without a slash at its end.`, field)
	}
	return nil
}

func checkArtifacts(s Submission) error {
	if len(s.Artifacts) > maxArtifacts {
		return invalid("artifacts", "artifacts must have at most %d entries, not %d.", maxArtifacts, len(s.Artifacts))
	}
	for i, glob := range s.Artifacts {
		if _, err := journal.ParseGlob(glob); err != nil {
			field := fmt.Sprintf("artifacts[%d]", i)
			return invalid(field, "%s %s.", field, err)
		}
	}
	return nil
}

func checkMetadata(s Submission) error {
	if len(s.Metadata) > maxMetadata {
		return invalid("metadata", "metadata must have at most %d entries, not %d.", maxMetadata, len(s.Metadata))
	}
	size := 0
	for key, value := range s.Metadata {
		size += len(key) + len(value)
	}
	if size > maxMetadataSize {
		return invalid("metadata", "metadata must have at most %d bytes in all, not %d.", maxMetadataSize, size)
	}
	return nil
}

func checkWorkspace(s Submission) error {
	if s.Workspace.Name == "" {
		return nil
	}
	return workspace.CheckName("workspace", s.Workspace.Name)
}

// checkLanguage applies the rules that depend on the language.
func checkLanguage(l language.Language, s Submission) error {
	for i, f := range s.Files {
		if f.Path == l.File || strings.HasPrefix(f.Path, l.File+"/") {
			field := fmt.Sprintf("files[%d].path", i)
			return invalid(field, "%s: the code itself is written to %s.", field, l.File)
		}
	}
	if _, ok := l.On(s.Network); !ok {
		return invalid("network", "network must be %q or the network of the language, %q.",
			language.NoNetwork, l.Network)
	}
	return checkLimits(l, s.Limits)
}

func checkLimits(l language.Language, asked execution.Limits) error {
	most := l.Most()
	for _, f := range execution.RequestableLimits() {
		value, largest := f.Float(asked), f.Float(most)
		least := min(f.LeastAsked, largest) // a language may have less
		if value == 0 || least <= value && value <= largest {
			continue
		}
		field := "limits." + f.Name
		return invalid(field, "%s must be between %v and %v %s for this language.",
			field, f.Value(least), f.Of(most), f.Unit).
			Detail("min", f.Value(least)).Detail("max", f.Of(most))
	}
	return nil
}

// hasURLFiles reports whether a submission has files by URL.
func hasURLFiles(s Submission) bool {
	return slices.ContainsFunc(s.Files, func(f File) bool { return f.URL != "" })
}

// fetchFiles downloads the files that have a URL. It runs after all checks, so that no file is fetched for a submission
// that is refused. It runs before the execution is stored, so that the program gets the files that were accepted.
func (a *Admission) fetchFiles(ctx context.Context, s Submission) (Submission, error) {
	release, _, ok := a.fetching.Acquire(s.Subject, 1, maxFetching)
	if !ok {
		return Submission{}, fault.New(fault.RateLimitExceeded,
			"Files are being fetched for %d submissions already, which is as many as are allowed.", maxFetching).
			After(fetchTimeout)
	}
	defer release()
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	s.Files = slices.Clone(s.Files)
	left := int(a.config.Files.Size)
	for _, f := range s.Files {
		left -= len(f.Content)
	}
	for i := range s.Files {
		f := &s.Files[i]
		if f.URL == "" {
			continue
		}
		content, err := a.Fetcher.Fetch(ctx, fmt.Sprintf("files[%d].url", i), f.URL, left)
		if err != nil {
			return Submission{}, err
		}
		f.Content = content
		left -= len(content)
	}
	return s, nil
}

// encodeInput returns the JSON of the input that is sealed beside code and env, or nil if there is none.
func encodeInput(s Submission) ([]byte, error) {
	input := execution.Input{Args: s.Args, Stdin: s.Stdin}
	for _, f := range s.Files {
		input.Files = append(input.Files,
			execution.File{Path: f.Path, Mode: cmp.Or(f.Mode, defaultFileMode), Content: f.Content})
	}
	if input.Empty() {
		return nil, nil
	}
	return json.Marshal(input)
}

// optionsOf returns the unsealed part of the input, visible to each client that may see the execution.
func optionsOf(s Submission) execution.Options {
	o := execution.Options{
		Args: len(s.Args), Stdin: len(s.Stdin), Limits: s.Limits, Metadata: maps.Clone(s.Metadata), Network: s.Network,
		Artifacts: slices.Clone(s.Artifacts),
		Workspace: s.Workspace,
	}
	for _, f := range s.Files {
		o.Files = append(o.Files, execution.FileInfo{Path: f.Path, Size: len(f.Content)})
	}
	return o
}
