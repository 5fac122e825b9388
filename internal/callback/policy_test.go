package callback

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"boomerang/internal/address"
	"boomerang/internal/fault"
)

// hostAddress is a public address of an interface of this host.
const hostAddress = "81.2.69.142"

// newTestPolicy returns a policy of a host with the address hostAddress.
func newTestPolicy(tb testing.TB, change func(*Config)) *Policy {
	tb.Helper()
	c := Defaults()
	change(&c)
	p, err := NewPolicy(c)
	if err != nil {
		tb.Fatal(err)
	}
	p.hostAddresses = func() ([]netip.Addr, error) { return []netip.Addr{netip.MustParseAddr(hostAddress)}, nil }
	return p
}

func defaultConfig(*Config) {}

// openConfig allows all destinations that an operator can allow.
func openConfig(c *Config) {
	c.AllowCIDRs = []address.Range{address.MustParseRange("0.0.0.0/0"), address.MustParseRange("::/0")}
	c.AllowHosts = []address.Host{
		{Name: "receiver"}, {Name: "host.docker.internal"}, {Name: "localhost"}, {Name: "evil.example.com"},
	}
}

const (
	invalid = fault.InvalidRequest
	banned  = fault.CallbackNotAllowed
)

// hostile lists URLs that admission refuses, with a part of the error.
var hostile = []struct {
	url  string
	code fault.Code
	rule string
}{
	// URLs that two parsers could read differently.
	{"", invalid, "absolute"},
	{"/webhook", invalid, "absolute"},
	{"//example.com/webhook", invalid, "absolute"},
	{"example.com/webhook", invalid, "absolute"},
	{"ftp://example.com/", invalid, "absolute"},
	{"file:///etc/passwd", invalid, "absolute"},
	{"gopher://127.0.0.1:6379/_FLUSHALL", invalid, "absolute"},
	{"unix:///var/run/docker.sock", invalid, "absolute"},
	{"javascript:alert(1)", invalid, "absolute"},
	{"http:example.com", invalid, "name a host"},
	{"http:/example.com/", invalid, "name a host"},
	{"http:127.0.0.1", invalid, "name a host"},
	{"http:/127.0.0.1/", invalid, "name a host"},
	{"http:////127.0.0.1/", invalid, "name a host"},
	{"http://?@127.0.0.1/", invalid, "name a host"},
	{"url:http://127.0.0.1/", invalid, "absolute"},
	{"jar:http://127.0.0.1!/", invalid, "absolute"},
	{"http:///etc", invalid, "name a host"},
	{"http://", invalid, "name a host"},
	{"http://:8080/", invalid, "name a host"},
	{"http://example.com/a b", invalid, "spaces"},
	{" http://example.com/", invalid, "spaces"},
	{"http://example.com/\r\nX-Evil: 1", invalid, "control"},
	{"http://example.com/\x00", invalid, "control"},
	{"http://example.com/\x7f", invalid, "control"},
	{"http://exa\tmple.com/", invalid, "control"},
	{`http://example.com\@127.0.0.1/`, invalid, "backslash"},
	{`http:\\127.0.0.1\`, invalid, "backslash"},
	{`http://example.com\.127.0.0.1/`, invalid, "backslash"},
	{`http://127.0.0.1\t@example.com/`, invalid, "backslash"},
	{"http://127.0.0.1\t/", invalid, "control"},
	{"http://127.0.0.1\n.example.com/", invalid, "control"},
	{"ht\ntp://127.0.0.1/", invalid, "control"},
	{"http://127.0.0.1/\u2028", invalid, "ASCII"},
	{"http://ex\u00e4mple.com/", invalid, "ASCII"},
	{"http://example.com/\u00e4", invalid, "ASCII"},
	{"http://\uff11\uff12\uff17.0.0.1/", invalid, "ASCII"},
	{"http://127\u30020\u30020\u30021/", invalid, "ASCII"},
	{"http://127\uff0e0\uff0e0\uff0e1/", invalid, "ASCII"},
	{"http://127\uff610\uff610\uff611/", invalid, "ASCII"},
	{"http://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460/", invalid, "ASCII"},
	{"http://local\u00adhost/", invalid, "ASCII"},
	{"http://%e2%91%a0.0.0.1/", invalid, "decimal numbers"},
	{"http://\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3/", invalid, "ASCII"},
	{"http://[::\uff11]/", invalid, "ASCII"},
	{"http://%6c%6f%63%61%6c%68%6f%73%74/", invalid, "not a valid URL"},
	{"http://%31%32%37%2e%30%2e%30%2e%31/", invalid, "not a valid URL"},
	{"http://127.0.0.1%00.example.com/", invalid, "not a valid URL"},
	{"http://127.0.0.1%0a.example.com/", invalid, "not a valid URL"},
	{"http://[%3a%3a1]/", invalid, "not"},
	{"http://127.0.0.1%2f@example.com/", invalid, "user name"},
	{"http://user@example.com/", invalid, "user name"},
	{"http://user:password@example.com/", invalid, "user name"},
	{"http://example.com@127.0.0.1/", invalid, "user name"},
	{"http://@127.0.0.1/", invalid, "user name"},
	{"http://:@example.com/", invalid, "user name"},
	{"http://example.com/#", invalid, "fragment"},
	{"http://example.com/#@127.0.0.1/", invalid, "fragment"},
	{"http://example.com/" + strings.Repeat("a", maxURL), invalid, "2048 bytes"},
	{"http://[::1", invalid, "not a valid URL"},
	{"http://[localhost]/", invalid, "not a valid URL"},
	{"http://[127.0.0.1]/", invalid, "not a valid URL"},
	{"http://[v1.fe80::1]/", invalid, "not a valid URL"},
	{"http://::1/", invalid, "not"},
	{"http://[fe80::1%25eth0]/", invalid, "zone"},
	{"http://[2606:4700::1111%25eth0]/", invalid, "zone"},
	{"http://exa*mple.com/", invalid, "not valid"},
	{"http://a..b.com/", invalid, "not valid"},
	{"http://.example.com/", invalid, "not valid"},
	{"http://example.com../", invalid, "not valid"},
	{"http://" + strings.Repeat("a", 64) + ".com/", invalid, "not valid"},
	{"http://" + strings.Repeat("a.", 127) + "com/", invalid, "253"},

	// Ports.
	{"http://example.com:/", invalid, "empty port"},
	{"http://[2606:4700::1111]:/", invalid, "empty port"},
	{"http://example.com:0/", invalid, "port"},
	{"http://example.com:080/", invalid, "port"},
	{"http://example.com:65536/", invalid, "port"},
	{"http://example.com:99999999999999999999/", invalid, "port"},
	{"http://example.com:-80/", invalid, "not a valid URL"},
	{"http://example.com:80:80/", invalid, "not a valid URL"},
	{"http://example.com:22/", banned, "below 1024"},
	{"http://example.com:25/", banned, "below 1024"},
	{"https://example.com:1023/", banned, "below 1024"},

	// Addresses in disguise: decimal, hexadecimal, octal, short, and with a final dot.
	{"http://2130706433/", invalid, "decimal numbers"},
	{"http://017700000001/", invalid, "decimal numbers"},
	{"http://0x7f000001/", invalid, "decimal numbers"},
	{"http://0X7F.1/", invalid, "decimal numbers"},
	{"http://0x7f.0x0.0x0.0x1/", invalid, "decimal numbers"},
	{"http://0177.0.0.1/", invalid, "decimal numbers"},
	{"http://127.1/", invalid, "decimal numbers"},
	{"http://127.0.1/", invalid, "decimal numbers"},
	{"http://0/", invalid, "decimal numbers"},
	{"http://0x/", invalid, "decimal numbers"},
	{"http://00.00.00.00/", invalid, "decimal numbers"},
	{"http://127.0.0.1./", invalid, "decimal numbers"},
	{"http://127.0.0.01/", invalid, "decimal numbers"},
	{"http://256.1.1.1/", invalid, "decimal numbers"},
	{"http://1.2.3.4.5/", invalid, "decimal numbers"},
	{"http://example.127/", invalid, "decimal numbers"},
	{"http://example.0x7f/", invalid, "decimal numbers"},
	{"http://4294967297/", invalid, "decimal numbers"},

	// Address literals of every closed kind.
	{"http://0.0.0.0/", banned, "RFC 791"},
	{"http://10.0.0.1/", banned, "RFC 1918"},
	{"http://100.64.0.1/", banned, "RFC 6598"},
	{"http://127.0.0.1/", banned, "loopback"},
	{"HTTP://127.0.0.1/", banned, "loopback"},
	{"hTtPs://127.0.0.1:6379/", banned, "loopback"},
	{"http://127.255.255.254:8080/", banned, "loopback"},
	{"http://169.254.1.1/", banned, "link-local"},
	{"http://172.31.255.255/", banned, "RFC 1918"},
	{"http://192.0.0.8/", banned, "RFC 6890"},
	{"http://192.168.1.1/", banned, "RFC 1918"},
	{"http://198.19.0.1/", banned, "RFC 2544"},
	{"http://224.0.0.1/", banned, "multicast"},
	{"http://255.255.255.255/", banned, "RFC 1112"},
	{"http://[::]/", banned, "not global"},
	{"http://[::1]/", banned, "not global"},
	{"http://[0:0:0:0:0:0:0:1]/", banned, "not global"},
	{"http://[::127.0.0.1]/", banned, "not global"},
	{"http://[::ffff:127.0.0.1]/", banned, "loopback"},
	{"http://[::ffff:7f00:1]/", banned, "loopback"},
	{"http://[::ffff:0a00:0001]/", banned, "RFC 1918"},
	{"http://[64:ff9b::127.0.0.1]/", banned, "not global"},
	{"http://[64:ff9b:1::a00:1]/", banned, "not global"},
	{"http://[100::1]/", banned, "not global"},
	{"http://[2001::1]/", banned, "RFC 2928"},
	{"http://[2001:0:a00:1:0:0:80ff:fffe]/", banned, "RFC 2928"},
	{"http://[fe80::5efe:10.0.0.1]/", banned, "not global"},
	{"http://[fe80::200:5efe:a00:1]/", banned, "not global"},
	{"http://[2001:db8::1]/", banned, "RFC 3849"},
	{"http://[2002:7f00:1::]/", banned, "6to4"},
	{"http://[2620:4f:8000::1]/", banned, "AS112"},
	{"http://[3fff::1]/", banned, "RFC 9637"},
	{"http://[5f00::1]/", banned, "not global"},
	{"http://[fc00::1]/", banned, "not global"},
	{"http://[fd12:3456::1]/", banned, "not global"},
	{"http://[fe80::1]/", banned, "not global"},
	{"http://[ff02::1]/", banned, "not global"},
	{"http://" + hostAddress + "/", banned, "this host"},
	{"http://[::ffff:" + hostAddress + "]/", banned, "this host"},

	// Names with a local meaning.
	{"http://localhost/", banned, "localhost"},
	{"http://LOCALHOST:8080/", banned, "localhost"},
	{"http://localhost./", banned, "localhost"},
	{"http://foo.localhost/", banned, "localhost"},
	{"http://printer.local/", banned, ".local"},
	{"http://printer.local./", banned, ".local"},
	{"http://db.internal/", banned, ".internal"},
	{"http://host.docker.internal/", banned, ".internal"},
	{"http://receiver/", banned, "without a dot"},
	{"http://receiver.:8080/", banned, "without a dot"},
	{"http://kubernetes/", banned, "without a dot"},
}

// metadataURLs stay closed even if the operator opens their ranges.
var metadataURLs = []string{
	"http://169.254.169.254/latest/meta-data/",
	"http://169.254.170.2/v2/credentials/",
	"http://169.254.170.23/v1/credentials",
	"http://168.63.129.16/machine",
	"http://100.100.100.200/latest/meta-data/",
	"http://192.0.0.192/latest/",
	"http://[fd00:ec2::254]/latest/meta-data/",
	"http://[fd20:ce::254]/computeMetadata/v1/",
	"http://[::ffff:169.254.169.254]/",
	"http://[::ffff:a9fe:a9fe]/",
	"http://[::169.254.169.254]/",
	"http://[64:ff9b::a9fe:a9fe]/",
	"http://[64:ff9b:1::169.254.169.254]/",
	"http://[2002:a9fe:a9fe::1]/",
	"http://metadata.google.internal/computeMetadata/v1/",
	"http://Metadata.Google.Internal./computeMetadata/v1/",
	"http://metadata.goog/",
	"http://metadata/",
	"http://instance-data/latest/meta-data/",
}

// checkRefusal checks that err is the client's fault with the code and the rule.
func checkRefusal(t *testing.T, input string, err error, code fault.Code, rule string) {
	t.Helper()
	f, ok := errors.AsType[*fault.Error](err)
	if !ok {
		t.Errorf("%q: got %v, want a fault about %q", input, err, rule)
		return
	}
	if f.Code != code || !strings.Contains(f.Sentence, rule) {
		t.Errorf("%q: got %s %q, want %s about %q", input, f.Code, f.Sentence, code, rule)
	}
}

func TestAdmissionRefusesHostileURLs(t *testing.T) {
	p := newTestPolicy(t, defaultConfig)
	for _, c := range hostile {
		err := p.CheckURL(c.url)
		checkRefusal(t, c.url, err, c.code, c.rule)
		if f, ok := errors.AsType[*fault.Error](err); ok && f.Details["field"] != "callback_url" {
			t.Errorf("%q: details are %v", c.url, f.Details)
		}
	}
	for _, url := range metadataURLs {
		checkRefusal(t, url, p.CheckURL(url), banned, "metadata")
	}
}

func TestAdmissionAllowsPublicReceivers(t *testing.T) {
	p := newTestPolicy(t, defaultConfig)
	for _, url := range []string{
		"https://your-server.com/webhook",
		"http://your-server.com",
		"HTTPS://Your-Server.COM/",
		"https://your-server.com:443/webhook?token=a%20b&c=d",
		"https://your-server.com:8443/a/../b;c=1",
		"https://your-server.com./webhook",
		"https://xn--bcher-kva.example/",
		"https://my_bucket.example.com/",
		"https://8.8.8.8/hook",
		"http://[2606:4700:4700::1111]:8080/hook",
		"http://[::ffff:8.8.8.8]/hook",
		"https://1password.com/",
		"https://example.com1/",
		"https://local.example.com/",
		"https://internal.example.com/",
		"https://a.0xzz/",
		"https://" + strings.Repeat("a", 63) + ".example.com/",
		"https://example.com/" + strings.Repeat("a", maxURL-len("https://example.com/")),
	} {
		if err := p.CheckURL(url); err != nil {
			t.Errorf("%q: %v", url, err)
		}
	}
}

func TestRequireHTTPSRefusesHTTP(t *testing.T) {
	p := newTestPolicy(t, func(c *Config) { c.RequireHTTPS = true })
	checkRefusal(t, "http", p.CheckURL("http://example.com/"), banned, "https://")
	if err := p.CheckURL("https://example.com/"); err != nil {
		t.Error(err)
	}
}

func TestExceptionsOpenOnlyTheirOwnDestinations(t *testing.T) {
	p := newTestPolicy(t, func(c *Config) {
		c.AllowCIDRs = []address.Range{
			address.MustParseRange("10.1.0.0/16"), address.MustParseRange("fd12::/16"),
			address.MustParseRange(hostAddress + "/32"),
		}
		c.AllowHosts = []address.Host{{Name: "Receiver"}, {Name: "host.docker.internal."}}
	})
	for url, open := range map[string]bool{
		"http://10.1.2.3:8080/":             true,
		"http://[::ffff:10.1.2.3]/":         true,
		"http://10.2.0.1/":                  false,
		"http://[fd12::1]/":                 true,
		"http://[fd13::1]/":                 false,
		"http://" + hostAddress + "/":       true,
		"http://receiver:9000/":             true,
		"http://RECEIVER./":                 true,
		"http://host.docker.internal/":      true,
		"http://receiver2/":                 false,
		"http://receiver.internal/":         false,
		"http://evil.host.docker.internal/": false,
		"http://receiver:22/":               false,
		"http://10.1.2.3:22/":               false,
		"http://167837955/":                 false, // 10.1.1.3 in decimal
		"http://receiver/\\":                false,
		"http://receiver@example.com/":      false,
		"http://metadata.google.internal/":  false,
	} {
		if err := p.CheckURL(url); (err == nil) != open {
			t.Errorf("%q: got %v, want open = %v", url, err, open)
		}
	}
}

func TestAnExceptionWithPortsOpensNoOtherPort(t *testing.T) {
	p := newTestPolicy(t, func(c *Config) {
		c.AllowCIDRs = []address.Range{
			address.MustParseRange("10.1.0.0/16:8443"), address.MustParseRange("[fd12::/16]:80"),
			address.MustParseRange("10.2.0.0/16:443"),
		}
		c.AllowHosts = []address.Host{
			address.ParseHost("host.docker.internal:9000"), address.ParseHost("receiver:8080-8081"),
			address.ParseHost("receiver:9000"),
		}
	})
	for url, open := range map[string]bool{
		"http://10.1.2.3:8443/":             true,
		"http://[::ffff:10.1.2.3]:8443/":    true,
		"http://10.1.2.3:8444/":             false,
		"http://10.1.2.3/":                  false,
		"https://10.2.2.3/":                 true,
		"http://10.2.2.3/":                  false,
		"http://[fd12::1]/":                 true,
		"https://[fd12::1]/":                false,
		"http://host.docker.internal:9000/": true,
		"http://HOST.docker.internal.:9000": true,
		"http://host.docker.internal:9001/": false,
		"http://host.docker.internal/":      false,
		"http://receiver:8080/":             true,
		"http://receiver:8081/":             true,
		"http://receiver:8082/":             false,
		"http://receiver:9000/":             true,
	} {
		err := p.CheckURL(url)
		if (err == nil) != open {
			t.Errorf("%q: got %v, want open = %v", url, err, open)
		}
		if !open && strings.Contains(url, "docker") {
			checkRefusal(t, url, err, banned, "a .internal name on this port")
		}
	}
	for to, open := range map[string]bool{
		"10.1.2.3:8443": true, "10.1.2.3:8444": false, "192.168.0.1:9000": false, "[::ffff:10.1.2.3]:8443": true,
	} {
		d, err := p.decide("hooks.example.com", netip.MustParseAddrPort(to))
		if err != nil || (d.refusal == nil) != open {
			t.Errorf("%s behind a public name: got %+v, %v; want open = %v", to, d, err, open)
		}
	}
}

func TestMetadataStaysClosedUnderEveryException(t *testing.T) {
	p := newTestPolicy(t, openConfig)
	for _, url := range metadataURLs {
		checkRefusal(t, url, p.CheckURL(url), banned, "metadata")
	}
	for _, addr := range address.MetadataAddresses() {
		if v, err := p.decide("evil.example.com", netip.AddrPortFrom(addr, 443)); err != nil || v.refusal == nil {
			t.Errorf("%s under an allowed name: got %+v, %v", addr, v, err)
		}
	}
}

func TestDecideReportsAnAddressThatOnlyAnExceptionOpened(t *testing.T) {
	p := newTestPolicy(t, func(c *Config) {
		c.AllowCIDRs = []address.Range{address.MustParseRange("10.0.0.0/8"), address.MustParseRange("8.0.0.0/8")}
		c.AllowHosts = []address.Host{{Name: "receiver"}, {Name: "db.internal"}, {Name: "hooks.example.com"}}
	})
	for _, c := range []struct {
		host, addr string
		excepted   bool
	}{
		{"example.com", "1.1.1.1", false},
		{"example.com", "8.8.8.8", false}, // allowed without the exception
		{"hooks.example.com", "1.1.1.1", false},
		{"hooks.example.com", "192.168.0.1", true},
		{"hooks.example.com", hostAddress, true},
		{"example.com", "10.0.0.1", true},
		{"10.0.0.1", "10.0.0.1", true},
		{"receiver", "172.18.0.5", true},
		{"receiver", "1.1.1.1", true}, // the name is refused without the exception
		{"DB.Internal.", "2606:4700::1111", true},
		{"2606:4700::1111", "2606:4700::1111", false},
	} {
		v, err := p.decide(c.host, netip.AddrPortFrom(netip.MustParseAddr(c.addr), 443))
		if err != nil || v.refusal != nil || v.excepted != c.excepted {
			t.Errorf("%s at %s: got %+v, %v; want excepted = %v", c.host, c.addr, v, err, c.excepted)
		}
	}
}

func TestDecideFailsClosedWhenInterfacesCannotBeRead(t *testing.T) {
	p := newTestPolicy(t, defaultConfig)
	broken := errors.New("netlink is broken")
	p.hostAddresses = func() ([]netip.Addr, error) { return nil, broken }
	if _, err := p.decide("example.com", netip.MustParseAddrPort("1.1.1.1:443")); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if err := p.CheckURL("http://1.1.1.1/"); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}
