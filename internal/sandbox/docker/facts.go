package docker

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/api/types/versions"

	"boomerang/internal/sandbox"
)

// oldestAPI is the API version of Engine 20.10.
const oldestAPI = "1.41"

// Facts returns the engine's properties and their effect on isolation. Errors: sandbox.ErrUnavailable, ErrUnfit.
func (d *Docker) Facts(ctx context.Context) ([]sandbox.Fact, error) {
	info, err := callEngine(ctx, d, "inspect engine", d.client.Info)
	if err != nil {
		return nil, err
	}
	version, err := callEngine(ctx, d, "ask engine for its version", d.client.ServerVersion)
	if err != nil {
		return nil, err
	}
	if err := d.config.checkEngine(info); err != nil {
		return nil, err
	}
	return append(engineFacts(info, version, time.Now()), usersFact(d.config, engineInfoOf(info))), nil
}

// HostName returns the name of the engine's machine, which no container may have. Errors: sandbox.ErrUnavailable.
func (d *Docker) HostName(ctx context.Context) (string, error) {
	info, err := callEngine(ctx, d, "ask engine for its name", d.client.Info)
	return info.Name, err
}

// engineFacts translates an engine's answers to /info and /version into facts; now dates the table of known escapes.
func engineFacts(info system.Info, version types.Version, now time.Time) []sandbox.Fact {
	facts := []sandbox.Fact{engineFact(info, version), {
		Name: "machine", Weight: sandbox.Fine,
		Value: fmt.Sprintf("%s, kernel %s, %s, %d CPUs, %d MiB",
			info.OperatingSystem, info.KernelVersion, info.Architecture, info.NCPU, info.MemTotal>>20),
	}}
	facts = append(facts, runcFact(info, version), escapesFact(escapes(), now), containerdFact(version),
		runtimesFact(info), cgroupFact(info))
	facts = append(facts, limitFacts(info)...)
	facts = append(facts, securityFacts(securityOptionsOf(info))...)
	facts = append(facts, liveRestoreFact(info), storageFact(info))
	for _, warning := range info.Warnings {
		facts = append(facts, engineWarning(warning))
	}
	return facts
}

func engineFact(info system.Info, version types.Version) sandbox.Fact {
	f := sandbox.Fact{
		Name: "engine", Weight: sandbox.Fine,
		Value: fmt.Sprintf("%s, API %s", cmp.Or(version.Version, info.ServerVersion), version.APIVersion),
	}
	name, reason := unsupportedEngine(version)
	switch {
	case name != "":
		f.Value, f.Weight = name+" "+f.Value, sandbox.Warning
		f.Advice = name + " is not supported: " + reason
		f.Public = f.Advice
	case info.OSType != "" && info.OSType != "linux":
		f.Weight, f.Advice = sandbox.Warning,
			"The engine does not run Linux containers, so none of the promised isolation holds."
	case versions.LessThan(version.APIVersion, oldestAPI):
		f.Weight, f.Advice = sandbox.Warning,
			"Older than Engine 20.10 (API "+oldestAPI+"), the oldest engine on which the isolation was tested."
	}
	return f
}

// unsupportedEngine returns the name of an engine other than Docker's, and the reason why it is not supported. The name
// is empty for Docker's engine, and for an engine that lists no components.
func unsupportedEngine(version types.Version) (name, reason string) {
	const untried = "no isolation is promised that was not tried on it, and some of Docker's calls mean something " +
		"else there. Use Docker Engine."
	if number, _ := component(version, "Podman Engine"); number != "" {
		return "Podman",
			"its Docker API takes the seccomp profile as the path of a file, so no container starts. Use Docker Engine."
	}
	if number, _ := component(version, "Engine"); number != "" || len(version.Components) == 0 {
		return "", ""
	}
	name = version.Platform.Name
	if name == "" {
		name = version.Components[0].Name
	}
	return name, untried
}

// component returns the version of one part of the engine: the number of its makers, and the build.
func component(version types.Version, name string) (number, build string) {
	for _, c := range version.Components {
		if c.Name == name {
			return c.Version, c.Details["GitCommit"]
		}
	}
	return "", ""
}

func runcFact(info system.Info, version types.Version) sandbox.Fact {
	number, build := component(version, "runc")
	build = cmp.Or(build, info.RuncCommit.ID)
	if number == "" {
		number = build
	}
	f := sandbox.Fact{Name: "runc", Value: cmp.Or(number, "unknown"), Weight: sandbox.Fine}
	if number == "" {
		f.Weight, f.Advice = sandbox.Note,
			"The engine does not report its version, so known holes cannot be ruled out."
		return f
	}
	if distribution(build) {
		f.Value = build
	}
	if f.Advice = escapeAdvice(number, build); f.Advice != "" {
		f.Weight = sandbox.Warning
	}
	return f
}

func containerdFact(version types.Version) sandbox.Fact {
	number, _ := component(version, "containerd")
	return sandbox.Fact{Name: "containerd", Value: cmp.Or(number, "unknown"), Weight: sandbox.Fine}
}

func runtimesFact(info system.Info) sandbox.Fact {
	return sandbox.Fact{
		Name: "runtimes", Weight: sandbox.Fine,
		Value: fmt.Sprintf("%s; default %s", strings.Join(slices.Sorted(maps.Keys(info.Runtimes)), ", "),
			info.DefaultRuntime),
	}
}

func cgroupFact(info system.Info) sandbox.Fact {
	f := sandbox.Fact{
		Name: "cgroup", Weight: sandbox.Fine,
		Value: fmt.Sprintf("version %s, driver %s", cmp.Or(info.CgroupVersion, "1"), info.CgroupDriver),
	}
	if info.CgroupDriver == "none" {
		f.Weight, f.Advice = sandbox.Warning,
			"No limit of memory, CPU or processes is enforced: delegate cgroups to the rootless engine's user."
	}
	return f
}

// limitFacts reports the limits that the engine's kernel cannot enforce.
func limitFacts(info system.Info) []sandbox.Fact {
	var missing []string
	for _, limit := range []struct {
		name string
		has  bool
	}{
		{"memory", info.MemoryLimit},
		{"swap", info.SwapLimit},
		{"pids", info.PidsLimit},
		{"cpu quota", info.CPUCfsPeriod && info.CPUCfsQuota},
	} {
		if !limit.has {
			missing = append(missing, limit.name)
		}
	}
	f := sandbox.Fact{Name: "limits", Value: "memory, swap, pids, cpu quota", Weight: sandbox.Fine}
	if len(missing) > 0 {
		f.Value, f.Weight = "missing: "+strings.Join(missing, ", "), sandbox.Warning
		f.Advice = "The kernel cannot limit it, so one program can use it up for all: turn the controller on (boot " +
			"with cgroup_enable=memory swapaccount=1)."
	}
	facts := []sandbox.Fact{f}
	if info.CgroupVersion != "2" && !info.OomKillDisable {
		facts = append(facts, sandbox.Fact{
			Name: "oom control", Value: "absent", Weight: sandbox.Note,
			Advice: "Boomerang does not use it.",
		})
	}
	return facts
}

// securityOptionsOf maps the name of each option, such as "seccomp", to its value, such as "profile=default".
func securityOptionsOf(info system.Info) map[string]string {
	options := make(map[string]string, len(info.SecurityOptions))
	for _, option := range info.SecurityOptions {
		name, rest, _ := strings.Cut(strings.TrimPrefix(option, "name="), ",")
		options[name] = cmp.Or(rest, "on")
	}
	return options
}

func securityFacts(options map[string]string) []sandbox.Fact {
	seccomp := sandbox.Fact{Name: "seccomp", Value: options["seccomp"], Weight: sandbox.Fine}
	if seccomp.Value == "" {
		seccomp.Value, seccomp.Weight = "absent", sandbox.Warning
		seccomp.Advice = "Every system call of the kernel is open to programs: use a kernel and an engine with seccomp."
	}
	mandatory := sandbox.Fact{Name: "apparmor or selinux", Value: "none", Weight: sandbox.Note}
	for _, name := range []string{"apparmor", "selinux"} {
		if options[name] != "" {
			mandatory.Value, mandatory.Weight = name, sandbox.Fine
		}
	}
	if mandatory.Weight == sandbox.Note {
		mandatory.Advice = "One isolation layer less: install AppArmor, which the engine then uses by itself."
	}
	user := sandbox.Fact{Name: "engine's user", Value: "root", Weight: sandbox.Note}
	switch {
	case options["rootless"] != "":
		user.Value, user.Weight = "rootless", sandbox.Fine
	case options["userns"] != "":
		user.Value, user.Weight = "root, containers remapped (userns-remap)", sandbox.Fine
	default:
		user.Advice = "A program that breaks out is an unprivileged user of the machine, " +
			"but the engine runs as root: " +
			"rootless Docker is safer."
	}
	return []sandbox.Fact{seccomp, mandatory, user}
}

func liveRestoreFact(info system.Info) sandbox.Fact {
	if info.LiveRestoreEnabled {
		return sandbox.Fact{Name: "live-restore", Value: "on", Weight: sandbox.Fine}
	}
	return sandbox.Fact{
		Name: "live-restore", Value: "off", Weight: sandbox.Note,
		Advice: "A restart of the engine ends all executions: turn live-restore on in daemon.json.",
	}
}

func storageFact(info system.Info) sandbox.Fact {
	f := sandbox.Fact{Name: "storage", Value: info.Driver, Weight: sandbox.Fine}
	switch info.Driver {
	case "aufs", "devicemapper", "overlay":
		f.Weight, f.Advice = sandbox.Note, "Newer engines do not have this driver any more: overlay2 takes its place."
	case "vfs":
		f.Weight, f.Advice = sandbox.Note, "Each container copies its whole image: slow, and it fills the disk."
	}
	return f
}

// engineWarning passes on a warning of the engine itself. Most warnings concern bridges, which programs do not use. A
// warning about a public API matters: every client of the API is root on the engine's machine.
func engineWarning(text string) sandbox.Fact {
	f := sandbox.Fact{Name: "engine warns", Value: strings.TrimPrefix(text, "WARNING: "), Weight: sandbox.Note}
	if strings.Contains(text, "API is accessible on") {
		f.Weight, f.Advice = sandbox.Warning,
			"Every client that reaches that address is root on the engine's machine: close it, or use TLS with client "+
				"certificates."
	}
	return f
}
