package callback

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/units"
	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"boomerang/internal/address"
)

func TestDefaultsAreValidAndOpenNothing(t *testing.T) {
	c := Defaults()
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if len(c.AllowCIDRs) != 0 || len(c.AllowHosts) != 0 || c.Proxy != "" {
		t.Errorf("got %+v", c)
	}
}

func TestEveryKeyIsReadFromYAML(t *testing.T) {
	const text = `
allow_cidrs: [10.0.0.0/8, "[fd12::/16]:8443"]
allow_hosts: [receiver, host.docker.internal:9000-9010]
reveal_exceptions: true
require_https: true
proxy: http://user:pass@proxy:3128
ca_file: /etc/ca.pem
client_certificates: [{host: a.example.com, certificate: /etc/a.pem, key: /etc/a.key}]
inline_output: 512KiB
schedule: [1s, 2m, 3h]
concurrency: 7
destination: {concurrency: 2, rate: 0.5, breaker: false}
`
	c := Defaults()
	if err := yaml.NewDecoder(strings.NewReader(text), yaml.Strict()).Decode(&c); err != nil {
		t.Fatal(err)
	}
	want := Config{
		AllowCIDRs: []address.Range{
			address.MustParseRange("10.0.0.0/8"), address.MustParseRange("[fd12::/16]:8443"),
		},
		AllowHosts:         []address.Host{{Name: "receiver"}, address.ParseHost("host.docker.internal:9000-9010")},
		RevealExceptions:   true,
		RequireHTTPS:       true,
		Proxy:              "http://user:pass@proxy:3128",
		CAFile:             "/etc/ca.pem",
		ClientCertificates: []ClientCertificate{{"a.example.com", "/etc/a.pem", "/etc/a.key"}},
		InlineOutput:       512 * units.KiB,
		Schedule:           []time.Duration{time.Second, 2 * time.Minute, 3 * time.Hour},
		Concurrency:        7,
		Destination:        Destination{Concurrency: 2, Rate: 0.5},
	}
	if diff := cmp.Diff(want, c, cmpopts.EquateComparable(address.Range{})); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	decoder := yaml.NewDecoder(bytes.NewReader([]byte("allow_cidrs: [10.0.0.1]")), yaml.Strict())
	if err := decoder.Decode(&c); err == nil {
		t.Error("an address without a length was taken for a range")
	}
}

func certificates(list ...ClientCertificate) func(*Config) {
	return func(c *Config) { c.ClientCertificates = list }
}

func TestValidateNamesTheKeyThatIsWrong(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"allow_cidrs: every entry must be an address range": func(c *Config) { c.AllowCIDRs = []address.Range{{}} },
		`allow_hosts: "http://receiver" must be a host name`: func(c *Config) {
			c.AllowHosts = []address.Host{{Name: "http://receiver"}}
		},
		`allow_hosts: "receiver:0" must be a host name`: func(c *Config) {
			c.AllowHosts = []address.Host{address.ParseHost("receiver:0")}
		},
		`allow_hosts: "receiver:22" must have ports from 1024 on`: func(c *Config) {
			c.AllowHosts = []address.Host{address.ParseHost("receiver:22")}
		},
		`allow_cidrs: "10.0.0.0/8:80-443" must have ports from 1024 on`: func(c *Config) {
			c.AllowCIDRs = []address.Range{address.MustParseRange("10.0.0.0/8:80-443")}
		},
		`allow_hosts: "*.example.com" must be a host name`: func(c *Config) {
			c.AllowHosts = []address.Host{{Name: "*.example.com"}}
		},
		`allow_hosts: "" must be a host name`:   func(c *Config) { c.AllowHosts = []address.Host{{Name: ""}} },
		`allow_hosts: "10.0.0.1" is an address`: func(c *Config) { c.AllowHosts = []address.Host{{Name: "10.0.0.1"}} },
		`allow_hosts: "Metadata.Google.Internal." leads to cloud metadata`: func(c *Config) {
			c.AllowHosts = []address.Host{{Name: "Metadata.Google.Internal."}}
		},
		"proxy must be an http:// or https:// URL":     func(c *Config) { c.Proxy = "proxy:3128" },
		"proxy must be an http":                        func(c *Config) { c.Proxy = "http://user:hush@%" },
		`client_certificates: "" must be a host`:       certificates(ClientCertificate{Certificate: "c", Key: "k"}),
		`client_certificates: "a:443" must be a host`:  certificates(ClientCertificate{"a:443", "c", "k"}),
		`client_certificates: "*.example.com" must be`: certificates(ClientCertificate{"*.example.com", "c", "k"}),
		`client_certificates: "127.1" must be`:         certificates(ClientCertificate{"127.1", "c", "k"}),
		`client_certificates: "a" needs both`:          certificates(ClientCertificate{Host: "a", Certificate: "c"}),
		`client_certificates: "b" needs both`:          certificates(ClientCertificate{Host: "b", Key: "k"}),
		`client_certificates: "A." appears twice`: certificates(ClientCertificate{"a", "c", "k"},
			ClientCertificate{"A.", "c", "k"}),
		"inline_output must be between": func(c *Config) { c.InlineOutput = 0 },
		"inline_output must be":         func(c *Config) { c.InlineOutput = units.GiB },
		"schedule: every pause":         func(c *Config) { c.Schedule = []time.Duration{time.Second, 0} },
		"schedule: every":               func(c *Config) { c.Schedule = []time.Duration{365 * 24 * time.Hour} },
		"concurrency must be between 1": func(c *Config) { c.Concurrency = 0 },
		"destination.concurrency must be between 1 and concurrency (3)": func(c *Config) { c.Concurrency = 3 },
		"destination.rate must be between 0": func(c *Config) {
			c.Destination.Rate = math.NaN()
		},
		"destination.rate must be": func(c *Config) { c.Destination.Rate = -1 },
	} {
		c := Defaults()
		change(&c)
		err := c.Validate()
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("got %v, want %q…", err, want)
		}
		if _, err := NewPolicy(c); err == nil {
			t.Errorf("NewPolicy accepted a configuration that Validate refuses: %q", want)
		}
	}
}
