package callback

import (
	"errors"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"boomerang/internal/address"
	"boomerang/internal/fault"
)

// maxURL is the limit of a callback URL in bytes.
const maxURL = 2048

// CheckURL decides at admission, without DNS, whether a callback may go to raw. The error is a *fault.Error that names
// the rule: INVALID_REQUEST for a malformed URL, CALLBACK_NOT_ALLOWED for a URL that the policy closes. Any other error
// means that the policy could not decide.
//
// The dial uses the reading of this parser, so a URL that two parsers could read differently is refused.
func (p *Policy) CheckURL(raw string) error { return inField("callback_url", p.checkURL(raw)) }

// inField puts the name of the field in front of the sentence of a fault.
func inField(field string, err error) error {
	f, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return err
	}
	f = f.Field(field) // a copy
	f.Sentence = field + " " + f.Sentence
	return f
}

// checkURL checks a URL whose field has no name yet.
func (p *Policy) checkURL(raw string) error {
	if err := checkCharacters(raw); err != nil {
		return err
	}
	u, err := url.Parse(raw)
	if err != nil {
		return malformed("is not a valid URL")
	}
	for _, check := range []func(*url.URL) error{p.checkScheme, checkAuthority, checkPort, p.checkHost} {
		if err := check(u); err != nil {
			return err
		}
	}
	return nil
}

func malformed(problem string) error {
	return fault.New(fault.InvalidRequest, "%s.", problem)
}

func notAllowed(problem string) error {
	return fault.New(fault.CallbackNotAllowed, "%s.", problem)
}

// ruleFault refuses a URL because of its destination.
func ruleFault(refusal *RefusalError) error {
	return fault.New(fault.CallbackNotAllowed, "must not go to %s.", refusal.Rule).Because(refusal)
}

// checkCharacters refuses characters on which URL parsers disagree.
func checkCharacters(raw string) error {
	if len(raw) > maxURL {
		return malformed("must have at most " + strconv.Itoa(maxURL) + " bytes")
	}
	for _, b := range []byte(raw) {
		switch {
		case b >= 0x80:
			return malformed("must be ASCII: write a name in punycode and escape the rest")
		case b <= ' ' || b == 0x7f:
			return malformed("must not contain spaces or control characters")
		case b == '\\':
			return malformed("must not contain a backslash")
		case b == '#':
			return malformed("must not have a fragment")
		}
	}
	return nil
}

func (p *Policy) checkScheme(u *url.URL) error {
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return malformed("must be an absolute http:// or https:// URL")
	case p.requireHTTPS && u.Scheme != "https":
		return notAllowed("must be https:// on this server")
	}
	return nil
}

func checkAuthority(u *url.URL) error {
	switch {
	case u.User != nil:
		return malformed("must not contain a user name or password: use callback_headers")
	case u.Opaque != "" || u.Hostname() == "":
		return malformed("must name a host")
	}
	return nil
}

// minPort is the first port that callbacks may use beside the well-known ones of HTTP.
const minPort = 1024

func wellKnown(port uint16) bool { return port == 80 || port == 443 }

// urlPort returns the port of a URL that checkPort has accepted.
func urlPort(u *url.URL) uint16 {
	if port := u.Port(); port != "" {
		n, _ := strconv.ParseUint(port, 10, 16)
		return uint16(n)
	}
	if u.Scheme == "https" {
		return 443
	}
	return 80
}

func checkPort(u *url.URL) error {
	if strings.HasSuffix(u.Host, ":") {
		return malformed("has an empty port")
	}
	port := u.Port()
	if port == "" {
		return nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	switch {
	case err != nil || n == 0 || strconv.FormatUint(n, 10) != port:
		return malformed("must have a port from 1 to 65535")
	case n < minPort && !wellKnown(uint16(n)):
		return notAllowed("must not use a port below 1024 other than 80 and 443")
	}
	return nil
}

// checkHost checks an address by the rules of the dial, and a name by its form.
func (p *Policy) checkHost(u *url.URL) error {
	host := u.Hostname()
	if strings.HasPrefix(u.Host, "[") || endsInNumber(host) {
		return p.checkLiteral(host, urlPort(u))
	}
	host = canonicalHost(host)
	if err := checkName(host); err != nil {
		return malformed(err.Error())
	}
	if address.MetadataName(host) {
		return ruleFault(&RefusalError{address.Metadata})
	}
	if rule := localNameRule(host); rule != "" && !p.namesHost(host, urlPort(u)) {
		if len(p.hosts[host]) > 0 {
			rule += " on this port"
		}
		return ruleFault(&RefusalError{rule})
	}
	return nil
}

func (p *Policy) checkLiteral(host string, port uint16) error {
	addr, err := netip.ParseAddr(host)
	switch {
	case err != nil: // ParseAddr takes no shorthand, no octal and no hexadecimal
		return malformed("must name its host by a name, by four decimal numbers or by an IPv6 address in brackets")
	case addr.Zone() != "":
		return malformed("must not have an IPv6 zone")
	}
	d, err := p.decide(host, netip.AddrPortFrom(addr, port))
	if err != nil {
		return err
	}
	if d.refusal != nil {
		return ruleFault(d.refusal)
	}
	return nil
}

// endsInNumber reports whether a parser may take the host for an IPv4 address: its last label is decimal, octal or
// hexadecimal (WHATWG URL, "ends in a number").
func endsInNumber(host string) bool {
	host = canonicalHost(host)
	last := host[strings.LastIndexByte(host, '.')+1:]
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return last != "" && strings.Trim(last, "0123456789") == ""
}

// hostname returns the host of a URL without brackets and port, or "" if there is none.
func hostname(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// canonicalHost returns the form in which names are compared: lower case, without the final dot of an absolute name.
func canonicalHost(host string) string { return strings.TrimSuffix(strings.ToLower(host), ".") }

// checkName allows only the letters, digits, hyphens (RFC 1123) and underscores that resolvers agree on.
func checkName(host string) error {
	if len(host) > 253 {
		return errors.New("must have a host name of at most 253 characters")
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return errors.New("has a host name that is not valid")
		}
	}
	return nil
}

// localNameRule returns the rule that closes a canonical name with a local meaning, or "".
func localNameRule(host string) string {
	switch {
	case host == "localhost" || strings.HasSuffix(host, ".localhost"):
		return "localhost (RFC 6761)"
	case strings.HasSuffix(host, ".local"):
		return "a .local name (RFC 6762)"
	case strings.HasSuffix(host, ".internal"):
		return "a .internal name"
	case !strings.Contains(host, ".") && !strings.Contains(host, ":"):
		return "a name without a dot"
	}
	return ""
}
