package address

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Ports are the ports of an exception, from First to Last. The zero value stands for all ports.
type Ports struct{ First, Last uint16 }

// Contain reports whether port is one of p.
func (p Ports) Contain(port uint16) bool { return p == Ports{} || p.First <= port && port <= p.Last }

// String returns ":9000", ":9000-9010" or, for all ports, "".
func (p Ports) String() string {
	switch {
	case p == Ports{}:
		return ""
	case p.First == p.Last:
		return fmt.Sprintf(":%d", p.First)
	}
	return fmt.Sprintf(":%d-%d", p.First, p.Last)
}

// parsePorts reads a port, or two ports with a hyphen between.
func parsePorts(text string) (p Ports, ok bool) {
	first, last, ranged := strings.Cut(text, "-")
	if !ranged {
		last = first
	}
	a, errA := strconv.ParseUint(first, 10, 16)
	b, errB := strconv.ParseUint(last, 10, 16)
	return Ports{uint16(a), uint16(b)}, errA == nil && errB == nil && 0 < a && a <= b
}

// Range is an exception for addresses: 10.1.0.0/16, 10.1.0.0/16:8443, [fd12::/16]:9000-9010.
type Range struct {
	Prefix netip.Prefix
	Ports  Ports
}

// ParseRange reads the text of a range.
func ParseRange(text string) (r Range, err error) {
	const form = "%q must be an address range like 10.1.0.0/16, 10.1.0.0/16:8443 or [fd12::/16]:8443-8450"
	prefix, ports, bracketed := strings.Cut(text, "]")
	switch {
	case bracketed && !strings.HasPrefix(text, "["):
		return Range{}, fmt.Errorf(form, text)
	case bracketed:
		prefix = prefix[1:]
	default:
		slash := strings.LastIndexByte(text, '/') + 1
		if colon := strings.IndexByte(text[slash:], ':'); colon >= 0 {
			prefix, ports = text[:slash+colon], text[slash+colon:]
		}
	}
	if r.Prefix, err = netip.ParsePrefix(prefix); err != nil || r.Prefix.Addr().Is6() && ports != "" && !bracketed {
		return Range{}, fmt.Errorf(form, text)
	}
	if ports == "" {
		return r, nil
	}
	var ok bool
	if r.Ports, ok = parsePorts(strings.TrimPrefix(ports, ":")); !ok || ports[0] != ':' {
		return Range{}, fmt.Errorf(form, text)
	}
	return r, nil
}

// MustParseRange is ParseRange for texts that are known to be valid; it panics otherwise.
func MustParseRange(text string) Range {
	r, err := ParseRange(text)
	if err != nil {
		panic(err)
	}
	return r
}

// Contains reports whether the exception opens an address and a port.
func (r Range) Contains(to netip.AddrPort) bool {
	return r.Prefix.Contains(to.Addr()) && r.Ports.Contain(to.Port())
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Range) UnmarshalText(text []byte) (err error) {
	*r, err = ParseRange(string(text))
	return err
}

// MarshalText implements encoding.TextMarshaler.
func (r Range) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// String returns the text of the range.
func (r Range) String() string {
	if r.Ports != (Ports{}) && r.Prefix.Addr().Is6() {
		return "[" + r.Prefix.String() + "]" + r.Ports.String()
	}
	return r.Prefix.String() + r.Ports.String()
}

// Host is an exception for a name: receiver, receiver:9000, receiver:9000-9010.
type Host struct {
	Name  string // as written; Config.Validate checks it
	Ports Ports
}

// ParseHost reads the text of an exception for a name. If the text does not end in ports it is the name.
func ParseHost(text string) Host {
	if colon := strings.LastIndexByte(text, ':'); colon >= 0 {
		if ports, ok := parsePorts(text[colon+1:]); ok {
			return Host{text[:colon], ports}
		}
	}
	return Host{Name: text}
}

// UnmarshalText implements encoding.TextUnmarshaler. It returns nil.
func (h *Host) UnmarshalText(text []byte) error {
	*h = ParseHost(string(text))
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (h Host) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// String returns the text of the exception.
func (h Host) String() string { return h.Name + h.Ports.String() }
