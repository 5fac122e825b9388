package server

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"boomerang/internal/auth"
	"boomerang/internal/fault"
)

// SubjectParameter is the parameter that names another subject. Only a caller with the scope admin may use it.
const SubjectParameter = "subject"

// Parameters are the names that the query of a route may hold, each once.
type Parameters struct {
	names   []string
	lenient bool // the query is not checked: the handler reads the names, and other parameters are ignored
}

// mayBeEmpty are the parameters whose empty value has a meaning: an empty cursor is the beginning, an empty prefix
// matches everything.
var mayBeEmpty = []string{"cursor", "prefix"}

// Only refuses every parameter that is not named: an unknown parameter is a spelling mistake, and an answer that
// ignores it would be the wrong one.
func Only(names ...string) Parameters { return Parameters{names: names} }

// AtLeast ignores parameters that are not named: the clients of a foreign protocol may send more of them.
func AtLeast(names ...string) Parameters { return Parameters{names: names, lenient: true} }

// check refuses a query that the route does not have or that p may not send. Errors: faults INVALID_REQUEST and
// FORBIDDEN.
func (known Parameters) check(r *http.Request, p auth.Principal) error {
	if known.lenient {
		return nil
	}
	values, err := readQuery(r)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		switch given := values[name]; {
		case !slices.Contains(known.names, name):
			return fault.New(fault.InvalidRequest, "%q is not a query parameter of this route; %s.", Clip(name), known).
				Field(Clip(name))
		case name == SubjectParameter && !p.Admin:
			return fault.New(fault.Forbidden, "%s is for tokens with the scope %s.", name, auth.ScopeAdmin).Field(name)
		case len(given) > 1:
			return fault.New(fault.InvalidRequest, "%s must be given once, not %d times.", name, len(given)).Field(name)
		case given[0] == "" && !slices.Contains(mayBeEmpty, name):
			return fault.New(fault.InvalidRequest, "%s must not be empty; leave it out if you do not need it.", name).
				Field(name)
		case !utf8.ValidString(given[0]):
			return fault.New(fault.InvalidRequest, "%s must be UTF-8.", name).Field(name)
		}
	}
	return nil
}

// Names returns the declared names.
func (known Parameters) Names() []string { return known.names }

// Lenient tells whether other parameters are ignored.
func (known Parameters) Lenient() bool { return known.lenient }

// String lists the names for the end of a sentence.
func (known Parameters) String() string {
	switch last := len(known.names) - 1; last {
	case -1:
		return "it has none"
	case 0:
		return "it has " + known.names[0]
	default:
		return "it has " + strings.Join(known.names[:last], ", ") + " and " + known.names[last]
	}
}

// readQuery parses the query strictly: r.URL.Query() would drop the parameters that it cannot parse.
func readQuery(r *http.Request) (url.Values, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err == nil {
		return values, nil
	}
	if escape, ok := errors.AsType[url.EscapeError](err); ok {
		return nil, fault.New(fault.InvalidRequest,
			"The query of the URL has %q in it, which is not a percent sign with two hexadecimal digits.",
			Clip(string(escape))).Because(err)
	}
	if strings.Contains(r.URL.RawQuery, ";") {
		return nil, fault.New(fault.InvalidRequest,
			"The query of the URL has a semicolon in it; write & between parameters, and %%3B in a value.").Because(err)
	}
	return nil, fault.New(fault.InvalidRequest, "The query of the URL cannot be read.").Because(err)
}
