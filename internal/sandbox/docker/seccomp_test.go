package docker

import (
	"encoding/json"
	"slices"
	"syscall"
	"testing"

	"boomerang/configs"
)

// rule is the part of a seccomp profile that the tests read.
type rule struct {
	Names    []string
	Action   string
	ErrnoRet int
	Args     []struct {
		Index, Value uint64
		Op           string
	}
}

type profile struct {
	DefaultAction string
	ArchMap       []struct {
		Architecture     string
		SubArchitectures []string
	}
	Syscalls []rule
}

func builtIn(t *testing.T) profile {
	t.Helper()
	return parsed(t, string(configs.Seccomp))
}

func parsed(t *testing.T, text string) profile {
	t.Helper()
	var p profile
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// Without clone3 no thread can start there; see `make walls`.
func TestGVisorsKernelAnswersCloneThreeItself(t *testing.T) {
	ours := builtIn(t)
	text, err := gvisorProfile(string(configs.Seccomp))
	if err != nil {
		t.Fatal(err)
	}
	theirs := parsed(t, text)
	if len(theirs.allowing("clone3")) != 1 || len(ours.allowing("clone3")) != 0 {
		t.Error("clone3 is to be allowed for gVisor's kernel alone")
	}
	for _, r := range theirs.Syscalls {
		if r.Action == "SCMP_ACT_ERRNO" && slices.Contains(r.Names, "clone3") {
			t.Errorf("clone3 is refused as well: %+v", r)
		}
		for _, name := range r.Names {
			if name != "clone3" && len(theirs.allowing(name)) != len(ours.allowing(name)) {
				t.Errorf("%s differs, want clone3 to be all", name)
			}
		}
	}
	if text, err := gvisorProfile(""); text != "" || err != nil {
		t.Errorf("the engine's own profile becomes %q, %v", text, err)
	}
}

// allowing returns the rules that allow a system call.
func (p profile) allowing(name string) []rule {
	var rules []rule
	for _, r := range p.Syscalls {
		if r.Action == "SCMP_ACT_ALLOW" && slices.Contains(r.Names, name) {
			rules = append(rules, r)
		}
	}
	return rules
}

func TestTheProfileForbidsByDefault(t *testing.T) {
	p := builtIn(t)
	if p.DefaultAction != "SCMP_ACT_ERRNO" {
		t.Errorf("default action = %q, want SCMP_ACT_ERRNO", p.DefaultAction)
	}
	for _, a := range p.ArchMap {
		if len(a.SubArchitectures) > 0 {
			t.Errorf("%s allows %v, want no 32-bit system calls", a.Architecture, a.SubArchitectures)
		}
	}
}

func TestTheProfileNeverAllows(t *testing.T) {
	p := builtIn(t)
	for _, name := range []string{
		"ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_getfd",
		"name_to_handle_at", "open_by_handle_at", "io_uring_setup", "io_uring_enter", "io_uring_register", "io_setup",
		"io_submit", "socketcall",
		"keyctl", "add_key", "request_key", "bpf", "perf_event_open", "userfaultfd", "clone3", "unshare", "setns",
		"mount", "umount", "umount2", "mount_setattr", "move_mount", "open_tree", "open_tree_attr", "fsopen",
		"fsconfig",
		"fsmount", "fspick", "pivot_root", "chroot", "modify_ldt", "init_module", "finit_module", "delete_module",
		"kexec_load", "kexec_file_load", "reboot", "swapon", "swapoff", "quotactl", "quotactl_fd", "acct", "syslog",
		"ioperm", "iopl", "settimeofday", "clock_settime", "sethostname", "setdomainname", "vhangup", "fanotify_init",
		"lookup_dcookie", "mbind", "set_mempolicy", "move_pages", "migrate_pages", "memfd_secret", "uselib",
		"nfsservctl", "_sysctl",
	} {
		if rules := p.allowing(name); len(rules) > 0 {
			t.Errorf("%s is allowed by %+v", name, rules)
		}
	}
}

func TestTheProfileAllowsFourFamiliesOfSockets(t *testing.T) {
	families := map[string][]uint64{}
	p := builtIn(t)
	for _, name := range []string{"socket", "socketpair"} {
		for _, r := range p.allowing(name) {
			if len(r.Args) == 0 || r.Args[0].Index != 0 || r.Args[0].Op != "SCMP_CMP_EQ" {
				t.Errorf("%s is allowed by %+v, want one family", name, r)
				continue
			}
			if family := r.Args[0].Value; !slices.Contains(families[name], family) {
				families[name] = append(families[name], family)
			}
		}
	}
	if got, want := families["socket"], []uint64{1, 2, 10, 16}; !slices.Equal(got, want) {
		t.Errorf("socket families = %v, want UNIX, INET, INET6, NETLINK %v", got, want)
	}
	if got, want := families["socketpair"], []uint64{1}; !slices.Equal(got, want) {
		t.Errorf("socketpair families = %v, want UNIX %v", got, want)
	}
}

func TestTheProfileAllowsNoNewNamespaces(t *testing.T) {
	// Mount, cgroup, UTS, IPC, user, PID, network.
	const namespaces = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
	rules := builtIn(t).allowing("clone")
	if len(rules) != 1 || len(rules[0].Args) != 1 {
		t.Fatalf("clone is allowed by %+v, want one rule on its flags", rules)
	}
	if a := rules[0].Args[0]; a.Index != 0 || a.Op != "SCMP_CMP_MASKED_EQ" || a.Value != namespaces {
		t.Errorf("clone's rule = %+v, want none of the flags %#x", a, namespaces)
	}
}

// PID 1 has the program's user, so the kernel alone would let a program lower its priority.
func TestTheProfileLeavesPIDOneAlone(t *testing.T) {
	const self = 0
	p := builtIn(t)
	for name, want := range map[string][]uint64{ // the first arguments
		"prlimit64": {self}, "sched_setattr": {self}, "sched_setparam": {self}, "sched_setscheduler": {self},
		"setpriority": {syscall.PRIO_PROCESS, self}, "ioprio_set": {1, self},
	} {
		for _, r := range p.allowing(name) {
			var got []uint64
			for i, a := range r.Args {
				if a.Op == "SCMP_CMP_EQ" && a.Index == uint64(i) {
					got = append(got, a.Value)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s is allowed by %+v, want its first arguments to be %v", name, r, want)
			}
		}
	}
}

func TestCallsWithAFallbackAreReportedAsMissing(t *testing.T) {
	const enosys = 38
	for _, r := range builtIn(t).Syscalls {
		for _, name := range []string{"clone3", "io_uring_setup", "io_setup"} {
			if slices.Contains(r.Names, name) && (r.Action != "SCMP_ACT_ERRNO" || r.ErrnoRet != enosys) {
				t.Errorf("%s: %s %d, want ENOSYS", name, r.Action, r.ErrnoRet)
			}
		}
	}
}
