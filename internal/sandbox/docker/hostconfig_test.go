package docker

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"

	"boomerang/internal/sandbox"
)

var update = flag.Bool("update", false, "write the golden files")

// specs returns specs like those of real languages.
func specs() map[string]struct {
	sandbox.Spec
	volumes []string
	config  Config
	path    string // path of the init's volume on the engine's machine
} {
	type c = struct {
		sandbox.Spec
		volumes []string
		config  Config
		path    string // path of the init's volume on the engine's machine
	}
	limits := sandbox.Limits{
		Memory: 512 << 20, CPUs: 1, PIDs: 128, Files: 1024, Workspace: 256 << 20, Tmp: 64 << 20, Output: 1 << 20,
		Tail: 64 << 10, Artifacts: 16 << 20,
	}
	small := limits
	small.Memory, small.CPUs, small.PIDs = 64<<20, 0.5, 16
	parent := Defaults()
	parent.CgroupParent = "boomerang.slice"
	prefixed := Defaults()
	prefixed.Networks.Prefix = "second"
	return map[string]c{
		"egress": {Spec: sandbox.Spec{
			Execution: "exec_2example", Language: "python", Image: "boomerang/python", Limits: limits,
			Network: "egress",
		}, config: Defaults()},
		"proxy": {Spec: sandbox.Spec{
			Execution: "exec_3example", Language: "python", Image: "boomerang/python", Limits: limits, Network: "proxy",
		}, config: prefixed, path: "/var/lib/docker/volumes/init/_data"},
		"python": {Spec: sandbox.Spec{
			Execution: "exec_0example", Language: "python", Image: "boomerang/python", Limits: limits, Slot: 3,
			Network: "none",
		}, config: Defaults(), path: "/var/lib/docker/volumes/init/_data"},
		"waiting": {Spec: sandbox.Spec{
			Language: "bash", Image: "boomerang/bash", Limits: small,
			Rehearsal: []string{"bash", "-c", ""},
		}, config: parent},
		"gvisor-with-volumes": {Spec: sandbox.Spec{
			Execution: "exec_1example", Language: "go", Image: "golang:1.26", Limits: limits, Slot: 1, Network: "none",
			Runtime: "runsc",
		}, volumes: []string{"/go/", "/tmp", "/var/lib/data"}, config: Defaults()},
	}
}

// The test compares configurations with files that a person has read. Run it with -update after a change, and read the
// files again.
func TestAContainerIsConfiguredAsWritten(t *testing.T) {
	for name, c := range specs() {
		t.Run(name, func(t *testing.T) {
			p := hostFacts{
				config: c.config, seccomp: `{"the":"profile"}`, node: "node-a", epoch: 7,
				image:  imageFacts{id: "sha256:abc", volumes: c.volumes},
				volume: initLocation{"boomerang-init-0123456789ab", c.path},
			}
			if c.path != "" {
				p.accounts = accountFiles{
					"/etc/passwd": {prefix: "passwd-0123456789ab-"},
					"/etc/group":  {prefix: "group-0123456789ab-"},
				}
			}
			var got bytes.Buffer
			e := json.NewEncoder(&got)
			e.SetEscapeHTML(false)
			e.SetIndent("", "  ")
			err := e.Encode(struct {
				Config     *container.Config
				HostConfig *container.HostConfig
			}{containerConfig(c.Spec, p), hostConfig(c.Spec, p)})
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("%s differs; got:\n%s", golden, got.Bytes())
			}
		})
	}
}

func TestTheEnginesOwnProfileIsLeftToIt(t *testing.T) {
	for _, option := range hostConfig(sandbox.Spec{}, hostFacts{config: Defaults()}).SecurityOpt {
		if strings.HasPrefix(option, "seccomp=") {
			t.Errorf("security option = %q, want none for seccomp", option)
		}
	}
}

func TestAnUnknownNetworkIsRefused(t *testing.T) {
	for network, want := range map[string]bool{
		"": true, "none": true, "egress": true, "proxy": true,
		"host": false, "bridge": false, "default": false, "container:abc": false, "boomerang-egress": false,
		"None": false, " ": false,
	} {
		if got := knownNetwork(network); got != want {
			t.Errorf("known(%q) = %t, want %t", network, got, want)
		}
		if mode := hostConfig(sandbox.Spec{Network: network}, hostFacts{config: Defaults()}).NetworkMode; !want &&
			mode != "none" {
			t.Errorf("the network %q makes %q of a container's, want none", network, mode)
		}
	}
}

func TestContainerNamesNeverRepeat(t *testing.T) {
	for _, execution := range []string{"", "exec_0example"} {
		spec := sandbox.Spec{Execution: execution}
		first, second := containerName(spec), containerName(spec)
		if first == second || !strings.Contains(first, execution) ||
			!strings.HasPrefix(first, map[string]string{"": "boomerang-warm-"}[execution]) ||
			!strings.HasPrefix(first, "boomerang-") {
			t.Errorf("names = %q, %q, want two of ours with %q in them", first, second, execution)
		}
	}
}

func TestTheNameOfANetworkedContainerHidesTheExecution(t *testing.T) {
	for _, network := range []string{"egress", "proxy"} {
		if name := containerName(sandbox.Spec{Execution: "exec_0example", Network: network}); strings.Contains(name,
			"exec_0example") {
			t.Errorf("on %s it is called %s", network, name)
		}
	}
}

// Beside a large workspace, the most expensive one has the most entries, each a file of one escaped byte: each needs a
// frame of at most 4 KiB.
func TestTheLogHoldsAWholeWorkspace(t *testing.T) {
	size := func(l sandbox.Limits) int64 {
		n, err := strconv.ParseInt(logConfig(l).Config["max-size"], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	none := size(sandbox.Limits{})
	if got, want := size(sandbox.Limits{Kept: 1 << 20, Entries: 10_000})-none, int64(2<<20+10_000*4<<10); got < want {
		t.Errorf("room for %d bytes more, want at least %d", got, want)
	}
}

func TestTheEnginePreparesANetworkWhereOneIsNeededOrItsFilesAre(t *testing.T) {
	for _, c := range []struct {
		network, path string // path is where the init's volume lies, if that is known
		want          bool   // the engine sets up the network, and writes /etc/hosts
	}{
		{"none", "/v", false}, {"", "/v", false}, {"none", "", true}, {"egress", "/v", true}, {"proxy", "/v", true},
	} {
		s, p := sandbox.Spec{Network: c.network}, hostFacts{config: Defaults(), volume: initLocation{"init", c.path}}
		prepares := !containerConfig(s, p).NetworkDisabled
		brings := slices.ContainsFunc(hostConfig(s, p).Mounts,
			func(m mount.Mount) bool { return m.Target == "/etc/hosts" && m.Source == "/v/hosts" && m.ReadOnly })
		if prepares != c.want || brings == c.want {
			t.Errorf("network %q, volume at %q: prepared = %t, hosts brought = %t, want %t", c.network, c.path,
				prepares, brings, c.want)
		}
	}
}
