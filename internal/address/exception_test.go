package address

import (
	"encoding/json"
	"errors"
	"net/netip"
	"testing"
)

func TestARangeOpensItsPortsOnly(t *testing.T) {
	for text, c := range map[string]struct{ open, closed string }{
		"10.1.0.0/16":            {"10.1.2.3:1", "10.2.0.0:1"},
		"10.1.0.0/16:8443":       {"10.1.2.3:8443", "10.1.2.3:8444"},
		"10.1.0.0/16:8443-8450":  {"10.1.2.3:8450", "10.1.2.3:8451"},
		"fd12::/16":              {"[fd12::1]:1", "[fd13::1]:1"},
		"[fd12::/16]":            {"[fd12::1]:1", "[fd13::1]:1"},
		"[fd12::/16]:8443-65535": {"[fd12::1]:65535", "[fd12::1]:8442"},
		"[10.1.0.0/16]:80":       {"10.1.2.3:80", "10.1.2.3:81"},
	} {
		r, err := ParseRange(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if !r.Contains(netip.MustParseAddrPort(c.open)) || r.Contains(netip.MustParseAddrPort(c.closed)) {
			t.Errorf("%s: opens %s: %t; opens %s: %t", text, c.open, r.Contains(netip.MustParseAddrPort(c.open)),
				c.closed, r.Contains(netip.MustParseAddrPort(c.closed)))
		}
		var again Range
		written, err := json.Marshal(r)
		if err := errors.Join(err, json.Unmarshal(written, &again)); err != nil || again != r {
			t.Errorf("%s is written as %s, which gives %+v, %v", text, written, again, err)
		}
	}
	for _, text := range []string{
		"", "10.0.0.1", "10.0.0.1:80", "10.1.0.0/16:", "10.1.0.0/16:0", "10.1.0.0/16:65536", "10.1.0.0/16:9-8",
		"10.1.0.0/16:-9", "10.1.0.0/16:80,81", "fd12::/16:80", "[fd12::/16", "fd12::/16]:80", "[fd12::/16]80",
		"10.1.0.0/16:+80", "[fd12::/16]:", "10.1.0.0/33",
	} {
		if r, err := ParseRange(text); err == nil {
			t.Errorf("%q gives %+v; want an error", text, r)
		}
	}
}

func TestAHostMayHavePorts(t *testing.T) {
	for text, want := range map[string]Host{
		"receiver":           {Name: "receiver"},
		"receiver:9000":      {"receiver", Ports{9000, 9000}},
		"receiver:9000-9010": {"receiver", Ports{9000, 9010}},
		"receiver:":          {Name: "receiver:"}, // Config.Validate refuses the name
		"receiver:0":         {Name: "receiver:0"},
		"http://receiver":    {Name: "http://receiver"},
	} {
		var again Host
		got := ParseHost(text)
		written, err := json.Marshal(got)
		if err := errors.Join(err, json.Unmarshal(written, &again)); err != nil || got != want || again != want {
			t.Errorf("%s: got %+v, written %s, %v; want %+v", text, got, written, err, want)
		}
	}
}
