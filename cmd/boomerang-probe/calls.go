//go:build linux

package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"boomerang/internal/probe"
)

// call is a system call with arguments that have no effect if the call is allowed.
type call struct {
	name   string
	number uintptr
	args   [6]uintptr
}

// Memory for the arguments of system calls; it is never read.
var (
	nowhere = [32]byte{'/', 'n', 'o', 'w', 'h', 'e', 'r', 'e'}
	root    = [2]byte{'/'}
	badTime = [4]int64{0, 2e9, 0, 2e9} // invalid numbers of nanoseconds
	scratch [512]byte
	usual   [64]byte // the default priority
)

func at(p *byte) uintptr { return uintptr(unsafe.Pointer(p)) }

var (
	noPath   = at(&nowhere[0])
	rootPath = at(&root[0])
	buffer   = at(&scratch[0])
	noTime   = uintptr(unsafe.Pointer(&badTime[0]))
	noFile   = ^uintptr(0)
)

// callsRefused holds if the kernel refuses all calls. EPERM comes from the profile or a missing capability, ENOSYS from
// a profile that hides the call, EACCES from a security module.
func callsRefused(calls ...call) func(probe.Task) (string, bool) {
	return func(probe.Task) (string, bool) {
		var open, answers []string
		for _, c := range calls {
			result, _, errno := unix.Syscall6(c.number, c.args[0], c.args[1], c.args[2], c.args[3], c.args[4],
				c.args[5])
			switch closed := errno == unix.EPERM || errno == unix.ENOSYS || errno == unix.EACCES; {
			case closed:
				answers = append(answers, unix.ErrnoName(errno))
			case errno == 0:
				open = append(open, fmt.Sprintf("%s was done (%d)", c.name, int(result)))
			default:
				open = append(open, fmt.Sprintf("%s reached the kernel (%s)", c.name, unix.ErrnoName(errno)))
			}
		}
		if len(open) > 0 {
			return strings.Join(open, ", "), false
		}
		return strings.Join(distinct(answers), ", "), true
	}
}

func distinct(words []string) []string {
	var all []string
	seen := map[string]bool{}
	for _, w := range words {
		if !seen[w] {
			seen[w] = true
			all = append(all, w)
		}
	}
	return all
}

// calls returns checks for the families of system calls that the profile closes.
func calls() []check {
	const (
		group         = "system calls"
		userModeOnly  = 1 // the only kind of userfaultfd that needs no capability
		ioprioProcess = 1 // IOPRIO_WHO_PROCESS
	)
	w := func(name string, calls ...call) check {
		return check{group, name, "refused: " + names(calls), callsRefused(calls...)}
	}
	all := []check{
		w("mount",
			call{"mount", unix.SYS_MOUNT, [6]uintptr{noPath, noPath, noPath}},
			call{"umount2", unix.SYS_UMOUNT2, [6]uintptr{noPath}}),
		w("mount, new interface",
			call{"fsopen", unix.SYS_FSOPEN, [6]uintptr{noPath}},
			call{"open_tree", unix.SYS_OPEN_TREE, [6]uintptr{noFile, noPath}},
			call{"move_mount", unix.SYS_MOVE_MOUNT, [6]uintptr{noFile, noPath, noFile, noPath}},
			call{"fsmount", unix.SYS_FSMOUNT, [6]uintptr{noFile}},
			call{"mount_setattr", unix.SYS_MOUNT_SETATTR, [6]uintptr{noFile, noPath}}),
		w("change of root",
			call{"chroot", unix.SYS_CHROOT, [6]uintptr{rootPath}},
			call{"pivot_root", unix.SYS_PIVOT_ROOT, [6]uintptr{noPath, noPath}}),
		w("tracing", call{"ptrace", unix.SYS_PTRACE, [6]uintptr{unix.PTRACE_ATTACH}}),
		w("others' memory",
			call{"process_vm_readv", unix.SYS_PROCESS_VM_READV, [6]uintptr{uintptr(unix.Getpid())}},
			call{"process_vm_writev", unix.SYS_PROCESS_VM_WRITEV, [6]uintptr{uintptr(unix.Getpid())}},
			call{"process_madvise", unix.SYS_PROCESS_MADVISE, [6]uintptr{noFile}}),
		w("comparing kernel objects", call{"kcmp", unix.SYS_KCMP, [6]uintptr{1, 1}}),
		w("others' files", call{"pidfd_getfd", unix.SYS_PIDFD_GETFD, [6]uintptr{noFile, noFile}}),
		w("files by handle",
			call{"name_to_handle_at", unix.SYS_NAME_TO_HANDLE_AT, [6]uintptr{noFile, noPath, 0, 0, 0}},
			call{"open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, [6]uintptr{noFile}}),
		w("io_uring",
			call{"io_uring_setup", unix.SYS_IO_URING_SETUP, [6]uintptr{1}},
			call{"io_uring_enter", unix.SYS_IO_URING_ENTER, [6]uintptr{noFile}},
			call{"io_uring_register", unix.SYS_IO_URING_REGISTER, [6]uintptr{noFile}}),
		w("keyrings",
			call{"keyctl", unix.SYS_KEYCTL, [6]uintptr{}},
			call{"add_key", unix.SYS_ADD_KEY, [6]uintptr{noPath, noPath, 0, 0, noFile}},
			call{"request_key", unix.SYS_REQUEST_KEY, [6]uintptr{noPath, noPath}}),
		w("bpf", call{"bpf", unix.SYS_BPF, [6]uintptr{}}),
		w("performance counters", call{"perf_event_open", unix.SYS_PERF_EVENT_OPEN, [6]uintptr{}}),
		w("page faults", call{"userfaultfd", unix.SYS_USERFAULTFD, [6]uintptr{userModeOnly}}),
		w("namespaces",
			call{"unshare", unix.SYS_UNSHARE, [6]uintptr{unix.CLONE_NEWUSER}},
			call{"setns", unix.SYS_SETNS, [6]uintptr{noFile}},
			call{"clone3", unix.SYS_CLONE3, [6]uintptr{}}),
		{group, "user namespace by clone", "refused: clone with CLONE_NEWUSER", cloneIntoUserNamespace},
		w("kernel modules",
			call{"init_module", unix.SYS_INIT_MODULE, [6]uintptr{}},
			call{"finit_module", unix.SYS_FINIT_MODULE, [6]uintptr{noFile, noPath}},
			call{"delete_module", unix.SYS_DELETE_MODULE, [6]uintptr{noPath}}),
		w("another kernel",
			call{"kexec_load", unix.SYS_KEXEC_LOAD, [6]uintptr{}},
			call{"kexec_file_load", unix.SYS_KEXEC_FILE_LOAD, [6]uintptr{noFile, noFile}}),
		w("reboot", call{"reboot", unix.SYS_REBOOT, [6]uintptr{}}),
		w("swap",
			call{"swapon", unix.SYS_SWAPON, [6]uintptr{noPath}},
			call{"swapoff", unix.SYS_SWAPOFF, [6]uintptr{noPath}}),
		w("clock",
			call{"clock_settime", unix.SYS_CLOCK_SETTIME, [6]uintptr{0, noTime}},
			call{"settimeofday", unix.SYS_SETTIMEOFDAY, [6]uintptr{noTime}}),
		{group, "clock by adjtimex", "refused: adjtimex with a change", adjustClock},
		w("host name",
			call{"sethostname", unix.SYS_SETHOSTNAME, [6]uintptr{noPath, 3}},
			call{"setdomainname", unix.SYS_SETDOMAINNAME, [6]uintptr{noPath, 3}}),
		w("kernel log", call{"syslog", unix.SYS_SYSLOG, [6]uintptr{10}}),
		w("accounting and quotas",
			call{"acct", unix.SYS_ACCT, [6]uintptr{noPath}},
			call{"quotactl", unix.SYS_QUOTACTL, [6]uintptr{0, noPath}}),
		{group, "memory layout", "refused: personality(ADDR_NO_RANDOMIZE)", fixedLayout},
		w("files of the whole system", call{"fanotify_init", unix.SYS_FANOTIFY_INIT, [6]uintptr{}}),
		w("placement of memory",
			call{"mbind", unix.SYS_MBIND, [6]uintptr{}},
			call{"move_pages", unix.SYS_MOVE_PAGES, [6]uintptr{1}},
			call{"migrate_pages", unix.SYS_MIGRATE_PAGES, [6]uintptr{1}}),
		w("priority of PID 1", // sets the values that PID 1 already has
			call{"setpriority", unix.SYS_SETPRIORITY, [6]uintptr{unix.PRIO_PROCESS, 1, 0}},
			call{"setpriority of its group", unix.SYS_SETPRIORITY, [6]uintptr{unix.PRIO_PGRP, 1, 0}},
			call{"setpriority of its user", unix.SYS_SETPRIORITY, [6]uintptr{unix.PRIO_USER, 0, 0}},
			call{"sched_setscheduler", unix.SYS_SCHED_SETSCHEDULER, [6]uintptr{1, unix.SCHED_NORMAL, at(&usual[0])}},
			call{"sched_setparam", unix.SYS_SCHED_SETPARAM, [6]uintptr{1, at(&usual[0])}},
			call{"sched_setattr", unix.SYS_SCHED_SETATTR, [6]uintptr{1, at(&usual[0])}},
			call{"ioprio_set", unix.SYS_IOPRIO_SET, [6]uintptr{ioprioProcess, 1, 0}}),
		w("limits of PID 1", call{"prlimit64", unix.SYS_PRLIMIT64, [6]uintptr{1, unix.RLIMIT_NOFILE, 0, buffer}}),
	}
	for _, family := range []struct {
		name   string
		number uintptr
	}{
		{"AF_PACKET", unix.AF_PACKET},
		{"AF_VSOCK", unix.AF_VSOCK},
		{"AF_ALG", unix.AF_ALG},
		{"AF_BLUETOOTH", unix.AF_BLUETOOTH},
		{"AF_XDP", unix.AF_XDP},
		{"AF_CAN", unix.AF_CAN},
	} {
		all = append(all, w("socket "+family.name, call{family.name, unix.SYS_SOCKET, [6]uintptr{
			family.number,
			unix.SOCK_DGRAM,
		}}))
	}
	all = append(all,
		w("raw socket", call{"socket(AF_INET, SOCK_RAW)", unix.SYS_SOCKET, [6]uintptr{
			unix.AF_INET, unix.SOCK_RAW,
			unix.IPPROTO_ICMP,
		}}),
		w("protocols", socketCalls(map[string][3]uintptr{
			"ping over IPv4":    {unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP},
			"ping over IPv6":    {unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_ICMPV6},
			"SCTP":              {unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP},
			"SCTP with packets": {unix.AF_INET6, unix.SOCK_SEQPACKET, unix.IPPROTO_SCTP},
			"MPTCP":             {unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP},
			"DCCP":              {unix.AF_INET, sockDCCP, unix.IPPROTO_DCCP},
			"L2TP":              {unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_L2TP},
			"UDP-Lite":          {unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_UDPLITE},
			"TCP in packets":    {unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_TCP},
			"UDP in a stream":   {unix.AF_INET6, unix.SOCK_STREAM, unix.IPPROTO_UDP},
			"raw IPv6":          {unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_RAW},
			"raw, non-blocking": {unix.AF_INET, unix.SOCK_RAW | unix.SOCK_NONBLOCK, unix.IPPROTO_TCP},
			"SOCK_PACKET":       {unix.AF_INET, unix.SOCK_PACKET, 0},
		})...),
		w("netlink", socketCalls(map[string][3]uintptr{
			"NETLINK_USERSOCK":       {unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_USERSOCK},
			"NETLINK_SOCK_DIAG":      {unix.AF_NETLINK, unix.SOCK_DGRAM, unix.NETLINK_SOCK_DIAG},
			"NETLINK_XFRM":           {unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_XFRM},
			"NETLINK_AUDIT":          {unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT},
			"NETLINK_NETFILTER":      {unix.AF_NETLINK, unix.SOCK_RAW | unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER},
			"NETLINK_KOBJECT_UEVENT": {unix.AF_NETLINK, unix.SOCK_DGRAM, unix.NETLINK_KOBJECT_UEVENT},
			"NETLINK_GENERIC":        {unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_GENERIC},
			"NETLINK_CRYPTO":         {unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_CRYPTO},
		})...),
		w("socket with upper bits", call{"socket(1<<32 | AF_VSOCK)", unix.SYS_SOCKET, [6]uintptr{
			1<<32 | unix.AF_VSOCK,
			unix.SOCK_DGRAM,
		}}),
		check{group, "32-bit calls", "killed or refused: a call by the gate for 32-bit programs", gate},
	)
	return append(all, architectureCalls(group)...)
}

const sockDCCP = 6 // SOCK_DCCP

// socketCalls returns calls of socket with family, type and protocol, sorted by name.
func socketCalls(kinds map[string][3]uintptr) (all []call) {
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		kind := kinds[name]
		all = append(all, call{name, unix.SYS_SOCKET, [6]uintptr{kind[0], kind[1], kind[2]}})
	}
	return all
}

func names(calls []call) string {
	all := make([]string, len(calls))
	for i, c := range calls {
		all[i] = c.name
	}
	return strings.Join(all, ", ")
}

// cloneIntoUserNamespace makes a child by bare system calls; the child exits at once.
func cloneIntoUserNamespace(probe.Task) (string, bool) {
	pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if pid == 0 && errno == 0 {
		exitNow(0)
	}
	if errno != 0 {
		return unix.ErrnoName(errno), errno == unix.EPERM || errno == unix.ENOSYS
	}
	_, _ = unix.Wait4(int(pid), nil, 0, nil)
	return "a child has a user namespace of its own", false
}

// adjustClock sets the length of a tick to its present value.
func adjustClock(probe.Task) (string, bool) {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return "refused altogether: " + errorName(err), true
	}
	t.Modes = unix.ADJ_TICK
	_, err := unix.Adjtimex(&t)
	return errorName(err), errors.Is(err, unix.EPERM)
}

func fixedLayout(probe.Task) (string, bool) {
	before, _, errno := unix.Syscall(unix.SYS_PERSONALITY, 0xffffffff, 0, 0)
	if errno != 0 {
		return unix.ErrnoName(errno), true
	}
	const noRandom = 0x0040000
	_, _, errno = unix.Syscall(unix.SYS_PERSONALITY, before|noRandom, 0, 0)
	if errno == 0 {
		_, _, _ = unix.Syscall(unix.SYS_PERSONALITY, before, 0, 0)
		return "it is fixed", false
	}
	return unix.ErrnoName(errno), true
}

// The exit codes of a child whose call succeeded, and of one whose call was refused.
const (
	childThrough = 40
	childRefused = 41
)

// childDies runs through in a child and reports whether the kernel killed the child or refused the call. The child is
// made by a bare system call and may only make such calls: a filter that kills ends only one thread, so a child with
// several threads would hang.
func childDies(through func() bool) (string, bool) {
	pid, errno := rawFork()
	if errno == 0 && pid == 0 {
		var usual [4]uint64 // with the default handler a fault ends the child without a report of the runtime
		_, _, _ = syscall.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGSEGV), uintptr(pointer(&usual)), 0, 8, 0,
			0)
		if through() {
			exitNow(childThrough)
		}
		exitNow(childRefused)
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, 0, nil); errno != 0 || err != nil {
		return "cannot be tried: " + errorName(errors.Join(orNil(errno), err)), false
	}
	if status.Signaled() {
		return "killed by " + unix.SignalName(status.Signal()), true
	}
	switch status.ExitStatus() {
	case childRefused:
		return "refused", true
	case childThrough:
		return "it got through", false
	}
	return fmt.Sprintf("the child ended with %d", status.ExitStatus()), false
}

// errorName returns a short name for an error.
func errorName(err error) string {
	if err == nil {
		return "done"
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		if name := unix.ErrnoName(errno); name != "" {
			return name
		}
	}
	return err.Error()
}
