package config_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/units"
	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"boomerang/internal/address"
	"boomerang/internal/auth"
	"boomerang/internal/callback"
	"boomerang/internal/config"
	"boomerang/internal/quota"
)

const sample = "../../configs/boomerang.yaml"

func same(a, b any) string {
	return cmp.Diff(a, b, cmpopts.EquateEmpty(),
		cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{}, address.Range{}))
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "boomerang.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTheSampleMatchesTheDefaults(t *testing.T) {
	got, err := config.Load(sample, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := config.Defaults()
	want.Languages.File = got.Languages.File // depends on the files on this machine
	if diff := same(want, got); diff != "" {
		t.Errorf("configs/boomerang.yaml differs from the defaults: -want +got\n%s", diff)
	}
}

func TestTheSampleHasEveryKey(t *testing.T) {
	text, err := os.ReadFile(sample)
	if err != nil {
		t.Fatal(err)
	}
	var tree map[string]any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		t.Fatal(err)
	}
	got, want := leaves("BOOMERANG", tree), config.Variables()
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-the code has +the sample has\n%s", diff)
	}
}

func leaves(path string, tree map[string]any) (names []string) {
	for key, value := range tree {
		name := path + "_" + strings.ToUpper(key)
		if below, ok := value.(map[string]any); ok && len(below) > 0 {
			names = append(names, leaves(name, below)...)
		} else {
			names = append(names, name)
		}
	}
	return names
}

func TestTheEnvironmentOverridesTheFile(t *testing.T) {
	path := write(t, "http: {addr: 'localhost:1'}\ndispatch: {slots: 3}\ncallback: {inline_output: 2MiB}\n")
	c, err := config.Load(path, []string{
		"BOOMERANG_HTTP_ADDR=localhost:2", "BOOMERANG_CALLBACK_ALLOW_CIDRS=127.0.0.0/8, 10.0.0.0/8",
		"BOOMERANG_CALLBACK_ALLOW_HOSTS=a.internal", "BOOMERANG_CALLBACK_SCHEDULE=1s,2m",
		"BOOMERANG_ADMISSION_TIMEOUT_MAX=2h", "BOOMERANG_CALLBACK_REQUIRE_HTTPS=true",
		"BOOMERANG_ADMISSION_CODE=64KiB", "BOOMERANG_AUTH_KEY=12345678901234567890123456789012",
		"BOOMERANG_AUTH_KEYS=[{file: a.pem, algorithm: ES256, kid: '1'}, {file: b.pem}]",
		"BOOMERANG_TOKEN=ignored", "BOOMERANG_SERVICE_HOST=ignored", "PATH=/bin",
		"BOOMERANG_CALLBACK_CLIENT_CERTIFICATES=[{host: a.internal, certificate: /a.pem, key: /a.key}]",
		"BOOMERANG_NETWORK_DNS=8.8.8.8", "BOOMERANG_NETWORK_PROXY_SUBNET=10.9.0.0/24",
		"BOOMERANG_PROXY_ALLOW=pypi.org, *.example.com",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := config.Defaults()
	want.Languages.File = c.Languages.File
	want.HTTP.Addr = "localhost:2"
	want.Dispatch.Slots = 3
	want.Callback.InlineOutput = 2 * units.MiB
	want.Callback.AllowCIDRs = []address.Range{
		address.MustParseRange("127.0.0.0/8"), address.MustParseRange("10.0.0.0/8"),
	}
	want.Callback.AllowHosts = []address.Host{{Name: "a.internal"}}
	want.Callback.Schedule = []time.Duration{time.Second, 2 * time.Minute}
	want.Callback.RequireHTTPS = true
	want.Callback.ClientCertificates = []callback.ClientCertificate{
		{Host: "a.internal", Certificate: "/a.pem", Key: "/a.key"},
	}
	want.Network.DNS = []netip.Addr{netip.MustParseAddr("8.8.8.8")}
	want.Network.ProxySubnet = netip.MustParsePrefix("10.9.0.0/24")
	want.Docker.Networks, want.Languages.Proxy = want.Network, "http://10.9.0.1:3128" // copies for other packages
	want.Proxy.Allow = []string{"pypi.org", "*.example.com"}
	want.Admission.Timeout.Max = 2 * time.Hour
	want.Admission.Code = 64 * units.KiB
	want.Auth.Key = "12345678901234567890123456789012"
	want.Auth.Keys = []auth.KeyFile{{File: "a.pem", Algorithm: "ES256", ID: "1"}, {File: "b.pem"}}
	if diff := same(want, c); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestAnInvalidSettingIsRejectedByName(t *testing.T) {
	for name, c := range map[string]struct {
		file    string
		environ []string
		want    string
	}{
		"unknown key":        {"http: {adr: x}", nil, "adr"},
		"unknown section":    {"htp: {}", nil, "htp"},
		"wrong type":         {"dispatch: {slots: many}", nil, "slots"},
		"wrong value":        {"dispatch: {slots: -1}", nil, "dispatch.slots"},
		"wrong duration":     {"docker: {call_timeout: 1ms}", nil, "docker.call_timeout"},
		"wrong level":        {"log: {level: loud}", nil, "log.level"},
		"no data directory":  {"data_dir: ''", nil, "data_dir"},
		"short key":          {"auth: {key: short}", nil, "auth.key"},
		"unknown algorithm":  {"auth: {keys: [{file: a, algorithm: none}]}", nil, "auth.keys[0].algorithm"},
		"unknown key of one": {"", []string{"BOOMERANG_AUTH_KEYS=[{path: a}]"}, "BOOMERANG_AUTH_KEYS"},
		"environment, type":  {"", []string{"BOOMERANG_DISPATCH_SLOTS=many"}, "BOOMERANG_DISPATCH_SLOTS"},
		"environment, key":   {"", []string{"BOOMERANG_DISPATCH_SLOT=2"}, "BOOMERANG_DISPATCH_SLOT"},
		"environment, prefix": {
			"", []string{"BOOMERANG_CALLBACK_ALLOW_CIDRS=127.0.0.1"}, "BOOMERANG_CALLBACK_ALLOW_CIDRS",
		},
		"environment, entry": {
			"",
			[]string{"BOOMERANG_CALLBACK_CLIENT_CERTIFICATES=[{hots: a}]"},
			"BOOMERANG_CALLBACK_CLIENT_CERTIFICATES",
		},
		"network":            {"network: {prefix: A}", nil, "network.prefix"},
		"proxy":              {"proxy: {allow: ['*']}", nil, "proxy.allow"},
		"environment, value": {"", []string{"BOOMERANG_HTTP_ADDR=nowhere"}, "http.addr"},
	} {
		_, err := config.Load(write(t, c.file), c.environ)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want it to name %s", name, err, c.want)
		}
	}
}

func TestAnEmptyFileKeepsTheDefaults(t *testing.T) {
	for _, text := range []string{"", "\n", "# only a comment\n", "---\n", "http:\n"} {
		got, err := config.Load(write(t, text), nil)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		want := config.Defaults()
		want.Languages.File = got.Languages.File
		if diff := same(want, got); diff != "" {
			t.Errorf("%q: -want +got\n%s", text, diff)
		}
	}
}

func TestANamedFileMustExist(t *testing.T) {
	if _, err := config.Load(filepath.Join(t.TempDir(), "none.yaml"), nil); err == nil {
		t.Error("got no error for a missing file")
	}
}

func TestTheQuotasOfASubjectComeFromTheFileOrTheEnvironment(t *testing.T) {
	path := write(t, "quota: {queued: 5, subjects: {ann: {queued: 7}}}\n")
	for _, environ := range [][]string{nil, {"BOOMERANG_QUOTA_SUBJECTS={ann: {queued: 7}}"}} {
		c, err := config.Load(path, append(environ, "BOOMERANG_QUOTA_QUEUED=6"))
		if err != nil {
			t.Fatal(err)
		}
		quotas, err := quota.New(c.Quota)
		if err != nil {
			t.Fatal(err)
		}
		if ann, bob := quotas.Of("ann").Queued, quotas.Of("bob").Queued; ann != 7 || bob != 6 {
			t.Errorf("with %q: ann may queue %d and bob %d; want 7 and 6", environ, ann, bob)
		}
	}
	_, err := config.Load(write(t, "quota: {subjects: {ann: {queud: 7}}}\n"), nil)
	if err == nil || !strings.Contains(err.Error(), "quota.subjects.ann") || !strings.Contains(err.Error(), "queud") {
		t.Errorf("a wrong key: got %v; want the path and the key", err)
	}
}
