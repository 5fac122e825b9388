package journal

import (
	"errors"
	"path"
	"slices"
	"strings"
)

// MaxGlob is how many bytes a glob may have.
const MaxGlob = 1024

// Glob chooses files by their path below a directory. Between two slashes "*", "?" and "[…]" mean what they mean to
// path.Match, and match no slash; "**" alone there is any number of directories, none included. At the end it is everything
// below. A name that begins with a dot is a name like any other.
type Glob struct {
	parts []string // never empty; the last is never "**"
}

const anyDirs = "**"

// ParseGlob reads a glob. The error says what is wrong, as the end of a sentence.
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
			return Glob{}, errors.New(`must be written without "." and "..", without double slashes and without a slash at its end`)
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

// Match tells whether the glob chooses a file with this path: relative, clean, with slashes. It allocates nothing, and
// takes time in proportion to both lengths at most.
func (g Glob) Match(name string) bool {
	parts, rest, more := g.parts, name, true
	var after []string // what stands behind the last "**"
	var again string   // where that was tried last
	for more {
		part, next, found := strings.Cut(rest, "/")
		switch {
		case len(parts) > 0 && parts[0] == anyDirs:
			parts = parts[1:]
			after, again = parts, rest
		case len(parts) > 0 && matches(parts[0], part):
			parts, rest, more = parts[1:], next, found
		case after != nil:
			// The "**" takes one directory more. An earlier one need not be asked: it could only take what this one can.
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

// Below tells whether the glob can choose anything below a directory; "" is the one that all paths begin in.
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
	ok, _ := path.Match(pattern, name) // ParseGlob has seen to the error
	return ok
}
