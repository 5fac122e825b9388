package httpapi

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

// subjectParameter names another subject. Only a caller with the scope admin may use it.
const subjectParameter = "subject"

// parameters are what the query of a route may hold. Each may be given once.
type parameters struct {
	names   []string
	lenient bool // the query is not checked: the handler reads its names, and everything else is ignored
}

// mayBeEmpty are parameters whose empty value means something: from the beginning, and everything.
var mayBeEmpty = []string{"cursor", "prefix"}

// only refuses every parameter that is not named: an unknown one is a spelling mistake, and ignoring it does something else
// than what was asked for.
func only(names ...string) parameters { return parameters{names: names} }

// atLeast ignores other parameters. HopX's clients may send more than we know.
func atLeast(names ...string) parameters { return parameters{names: names, lenient: true} }

// check refuses a query that is not what the route may be given, or what p may give. Errors: faults INVALID_REQUEST and FORBIDDEN.
func (known parameters) check(r *http.Request, p auth.Principal) error {
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
			return fault.New(fault.InvalidRequest, "%q is not a query parameter of this route; %s.", clip(name), known).Field(clip(name))
		case name == subjectParameter && !p.Admin:
			return fault.New(fault.AccessForbidden, "%s is for tokens with the scope %s.", name, auth.ScopeAdmin).Field(name)
		case len(given) > 1:
			return fault.New(fault.InvalidRequest, "%s must be given once, not %d times.", name, len(given)).Field(name)
		case given[0] == "" && !slices.Contains(mayBeEmpty, name):
			return fault.New(fault.InvalidRequest, "%s must not be empty; leave it out if you do not need it.", name).Field(name)
		case !utf8.ValidString(given[0]):
			return fault.New(fault.InvalidRequest, "%s must be UTF-8.", name).Field(name)
		}
	}
	return nil
}

// String lists the names for the end of a sentence.
func (known parameters) String() string {
	switch last := len(known.names) - 1; last {
	case -1:
		return "it has none"
	case 0:
		return "it has " + known.names[0]
	default:
		return "it has " + strings.Join(known.names[:last], ", ") + " and " + known.names[last]
	}
}

// readQuery reads the query strictly: r.URL.Query() would drop what it cannot read.
func readQuery(r *http.Request) (url.Values, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err == nil {
		return values, nil
	}
	if escape, ok := errors.AsType[url.EscapeError](err); ok {
		return nil, fault.New(fault.InvalidRequest, "The query of the URL has %q in it, which is not a percent sign with two hexadecimal digits.",
			clip(string(escape))).Because(err)
	}
	if strings.Contains(r.URL.RawQuery, ";") {
		return nil, fault.New(fault.InvalidRequest, "The query of the URL has a semicolon in it; write & between parameters, and %%3B in a value.").Because(err)
	}
	return nil, fault.New(fault.InvalidRequest, "The query of the URL cannot be read.").Because(err)
}
