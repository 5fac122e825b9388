package journal

import (
	"errors"
	"path"
	"slices"
	"strings"
)

// MaxGlob is the maximum length of a glob in bytes.
const MaxGlob = 1024

// Glob chooses files by their path below a directory. "*", "?" and "[…]" between two slashes have the meaning of
// path.Match and match no slash. "**" between two slashes matches any number of directories, including none; at the end
// it matches everything below. A name that begins with a dot is not special.
type Glob struct {
	parts []string // never empty; the last is never "**"
}

const anyDirs = "**"

// ParseGlob parses a glob. Its error completes a sentence that begins with the glob.
func ParseGlob(text string) (Glob, error) {
	switch {
	case text == "":
		return Glob{}, errors.New("must not be empty")
	case len(text) > MaxGlob:
		return Glob{}, errors.New("must have at most 1024 bytes")
	case strings.ContainsRune(text, 0):
		return Glob{}, errors.New("must not contain a NUL")
	case path.IsAbs(text):
		return Glob{}, errors.New("must be relative to the working directory")
	}
	parts := strings.Split(text, "/")
	for _, part := range parts {
		if part == "" || part == "." || part == ".." {
			return Glob{}, errors.New(
				`must be written without "." and "..", without double slashes and without a slash at its end`)
		}
		if _, err := path.Match(part, ""); err != nil {
			return Glob{}, errors.New("has a bracket that is not closed, or an escape of nothing")
		}
	}
	parts = slices.CompactFunc(parts, func(a, b string) bool { return a == anyDirs && b == anyDirs })
	if parts[len(parts)-1] == anyDirs {
		parts = append(parts, "*")
	}
	return Glob{parts}, nil
}

// Match reports whether the glob chooses a file with this path, which is relative and clean and has slashes. It
// allocates nothing, and its time is at most proportional to the product of both lengths.
func (g Glob) Match(name string) bool {
	parts, rest, more := g.parts, name, true
	var after []string // the parts behind the last "**"
	var again string   // the part of the path where these were tried last
	for more {
		part, next, found := strings.Cut(rest, "/")
		switch {
		case len(parts) > 0 && parts[0] == anyDirs:
			parts = parts[1:]
			after, again = parts, rest
		case len(parts) > 0 && matches(parts[0], part):
			parts, rest, more = parts[1:], next, found
		case after != nil:
			// The last "**" matches one directory more. An earlier one need not be tried again, because it could only
			// match directories that the last one can match.
			_, again, found = strings.Cut(again, "/")
			if !found {
				return false
			}
			parts, rest = after, again
		default:
			return false
		}
	}
	return len(parts) == 0
}

// Below reports whether the glob can choose a file below a directory; "" is the root of all paths.
func (g Glob) Below(dir string) bool {
	parts := g.parts
	for rest, more := dir, dir != ""; more; {
		if parts[0] == anyDirs {
			return true
		}
		var part string
		part, rest, more = strings.Cut(rest, "/")
		if len(parts) == 1 || !matches(parts[0], part) {
			return false
		}
		parts = parts[1:]
	}
	return true
}

func matches(pattern, name string) bool {
	ok, _ := path.Match(pattern, name) // ParseGlob has checked the pattern
	return ok
}
