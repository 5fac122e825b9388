// Package workspace defines the names and limits of workspaces and of the files in them.
//
// The package does not know where files are stored or how programs get them.
package workspace

import (
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/alecthomas/units"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/journal"
)

// Dir is the path of the workspace inside a container.
const Dir = "/workspace"

// Default is the name of the implicit workspace.
const Default = "default"

// Config limits the stored workspaces.
type Config struct {
	// Size is the largest size of one workspace. limits.workspace also limits the bytes that a program can write.
	Size units.Base2Bytes `yaml:"size"`
	// Entries is the largest number of files, directories and links in a workspace.
	Entries    int        `yaml:"entries"`
	PerSubject PerSubject `yaml:"per_subject"`
	// Keep is how long an unused workspace is kept. 0 = for ever.
	Keep time.Duration `yaml:"keep"`
	// Implicit gives the workspace Default to executions that name none.
	Implicit bool `yaml:"implicit"`
}

// PerSubject limits all workspaces of one subject together.
type PerSubject struct {
	Size  units.Base2Bytes `yaml:"size"`
	Count int              `yaml:"count"`
}

// Defaults returns the default settings.
func Defaults() Config {
	return Config{Size: 256 * units.MiB, Entries: 10_000, PerSubject: PerSubject{Size: units.GiB, Count: 20}}
}

// maxEntries entries fit into a container's tmpfs, which has 16 384 inodes, and leave room for the program.
const maxEntries = 16_000

// Validate returns an error that names the invalid key.
func (c Config) Validate() error {
	switch {
	case c.Size < units.KiB || c.Size > 64*units.GiB:
		return fmt.Errorf("size must be between 1KiB and 64GiB, not %s", c.Size)
	case c.Entries < 1 || c.Entries > maxEntries:
		return fmt.Errorf("entries must be between 1 and %d, not %d", maxEntries, c.Entries)
	case c.PerSubject.Size < c.Size:
		return fmt.Errorf("per_subject.size must be at least size, %s, not %s", c.Size, c.PerSubject.Size)
	case c.PerSubject.Count < 1 || c.PerSubject.Count > 100_000:
		return fmt.Errorf("per_subject.count must be between 1 and 100000, not %d", c.PerSubject.Count)
	case c.Keep != 0 && c.Keep < time.Minute:
		return fmt.Errorf("keep must be 0 or at least 1m, not %s", c.Keep)
	}
	return nil
}

// Limits returns the limits in the form that the store uses.
func (c Config) Limits() execution.WorkspaceLimits {
	return execution.WorkspaceLimits{
		Size: int64(c.Size), Entries: c.Entries, Count: c.PerSubject.Count, Total: int64(c.PerSubject.Size),
	}
}

var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// CheckName returns a fault INVALID_REQUEST that names the field.
func CheckName(field, name string) error {
	if !nameForm.MatchString(name) {
		return fault.New(fault.InvalidRequest, "%s must be the name of a workspace: "+
			"1 to 63 characters of a-z, 0-9, dot, underscore and hyphen, starting with a letter or digit.", field).
			Field(field)
	}
	return nil
}

// Limits of a path.
const (
	MaxPath = journal.MaxCollectedPath // bytes
	MaxPart = 255                      // bytes between two slashes: the file system's NAME_MAX
)

// CheckPath returns a fault INVALID_REQUEST that names the field.
func CheckPath(field, path string) error {
	refuse := func(format string, args ...any) error {
		return fault.New(fault.InvalidRequest, field+" "+format, args...).Field(field)
	}
	parts := strings.Split(path, "/")
	switch {
	case path == "":
		return fault.New(fault.MissingParameter, "%s is required.", field).Field(field)
	case len(path) > MaxPath || slices.ContainsFunc(parts, func(part string) bool { return len(part) > MaxPart }):
		return refuse("must have at most %d bytes, and at most %d between two slashes.", MaxPath, MaxPart)
	case len(parts) > journal.MaxTreeDepth:
		return refuse("must have at most %d parts.", journal.MaxTreeDepth)
	case !utf8.ValidString(path) || strings.ContainsRune(path, 0):
		return refuse("must be UTF-8 without a NUL.")
	case !fs.ValidPath(path) || path == ".":
		return refuse(`must be relative to the workspace and written without "." and "..", ` +
			"without double slashes and without a slash at its end.")
	}
	return nil
}

// Within reports whether a link at path that leads to target stays within the workspace, whatever the other entries are
// and become. A ".." behind a name is refused, because the name may be a link: then ".." leads to the parent of the
// link's target. The parents of path are directories and no links.
func Within(path, target string) bool {
	if target == "" || strings.HasPrefix(target, "/") || len(target) > MaxPath ||
		!utf8.ValidString(target) || strings.ContainsRune(target, 0) {
		return false
	}
	depth, named := strings.Count(path, "/"), false
	for part := range strings.SplitSeq(target, "/") {
		switch part {
		case "", ".":
		case "..":
			if depth--; named || depth < 0 {
				return false
			}
		default:
			named = true
		}
	}
	return true
}
