//go:build integration

package docker

import (
	"errors"
	"os"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"

	"boomerang/internal/journal"
	"boomerang/internal/sandbox"
	"boomerang/internal/sandbox/sandboxtest"
)

// run runs code in an image of a language as it is built for the product; without the image the test is skipped.
func (k *kit) run(t *testing.T, ref, code string, argv ...string) (stdout, stderr string, end journal.End) {
	t.Helper()
	d := k.open(t)
	if err := d.HasImage(t.Context(), ref); errors.Is(err, sandbox.ErrImageUnavailable) && os.Getenv("REQUIRE_DOCKER") != "1" {
		t.Skipf("the image %s is not built", ref)
	}
	spec := k.spec()
	spec.Image = ref
	spec.Limits.Memory = 1 << 30
	spec.Limits.PIDs = 128
	spec.Limits.Files = 1024
	spec.Limits.Workspace = 512 << 20
	spec.Limits.Tmp = 256 << 20
	job := sandboxtest.Program{}.Job()
	job.Code, job.File, job.Argv = code, "main", argv
	job.Env = map[string]string{"HOME": "/workspace"}
	stdout, stderr, outcome := follow(t, prepare(t, d, spec), job)
	return stdout, stderr, *outcome.Stdout
}

func TestLanguagesRunUnderTheProfile(t *testing.T) {
	k := needKit(t)
	for name, c := range map[string]struct {
		image, code string
		argv        []string
	}{
		"python, with threads, processes and sockets": {
			image: "boomerang/python", argv: []string{"python3", "main"},
			code: `
import subprocess, socket, tempfile, threading, multiprocessing, asyncio
threading.Thread(target=lambda: None).start()
subprocess.run(["/bin/true"], check=True)
with multiprocessing.Pool(2) as pool: assert pool.map(abs, [-1]) == [1]
tempfile.TemporaryFile().write(b"x")
asyncio.run(asyncio.sleep(0))
a, b = socket.socketpair(); a.close(); b.close()
print("it runs")
`,
		},
		"javascript, with its JIT and workers": {
			image: "boomerang/javascript", argv: []string{"node", "main"},
			code: `
const { Worker } = require("worker_threads");
const { execFileSync } = require("child_process");
let n = 0; for (let i = 0; i < 1e7; i++) n += i;
execFileSync("/bin/true");
require("fs").promises.readFile("main").then(() => new Worker("0", { eval: true }).on("exit", () => console.log("it runs")));
`,
		},
		"bash, with pipes and substitutions": {
			image: "boomerang/bash", argv: []string{"bash", "main"},
			code: `set -euo pipefail; cat <(echo "it runs") | sort`,
		},
		"go, from its source": {
			image: "boomerang/go", argv: []string{"sh", "-c", "mv main main.go && go run main.go"},
			code: "package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(\"it runs\") }\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, end := k.run(t, c.image, c.code, c.argv...)
			if stdout != "it runs\n" || end.ExitCode != 0 {
				t.Errorf("exit code %d, stdout %q, stderr %q, want 0 and %q", end.ExitCode, stdout, stderr, "it runs\n")
			}
		})
	}
}

// probes tries what a program must not be able to do, and prints each with what came of it.
const probes = `
import ctypes, errno, mmap, os, resource, signal, socket
libc = ctypes.CDLL(None, use_errno=True)

def syscall(name, number, *args):
    result = libc.syscall(number, *args)
    print(name, "done" if result >= 0 else errno.errorcode[ctypes.get_errno()])

def attempt(name, do):
    try:
        do()
        print(name, "done")
    except OSError as e:
        print(name, errno.errorcode[e.errno])

def status(key):
    return next(l.split()[1] for l in open("/proc/self/status") if l.startswith(key + ":"))

syscall("ptrace", 101, 0, 0, 0, 0)
syscall("process_vm_readv", 310, os.getpid(), 0, 0, 0, 0, 0)
syscall("kcmp", 312, 1, 1, 0, 0, 0)
syscall("pidfd_getfd", 438, 0, 0, 0)
syscall("name_to_handle_at", 303, -100, b"/", 0, 0, 0)
syscall("io_uring_setup", 425, 1, 0)
syscall("keyctl", 250, 0, 0)
syscall("add_key", 248, b"user", b"k", b"v", 1, -3)
syscall("request_key", 249, b"user", b"k", 0, 0)
syscall("bpf", 321, 0, 0, 0)
syscall("perf_event_open", 298, 0, 0, 0, 0, 0)
syscall("userfaultfd", 323, 1)
syscall("mount", 165, b"none", b"/tmp", b"tmpfs", 0, 0)
syscall("unshare", 272, 0x10000000)
syscall("setns", 308, 0, 0)
syscall("chroot", 161, b"/tmp")
syscall("clone3", 435, 0, 0)
syscall("clone into a user namespace", 56, 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0)
for name, family in [("unix", 1), ("inet", 2), ("inet6", 10), ("netlink", 16)]:
    attempt(name, lambda: socket.socket(family, socket.SOCK_DGRAM).close())
for name, family in [("packet", 17), ("bluetooth", 31), ("alg", 38), ("vsock", 40), ("upper bits", 1 << 32 | 40)]:
    syscall(name, 41, ctypes.c_long(family), ctypes.c_long(1), 0)
child = os.fork()
if child == 0:
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(bytes.fromhex("b814000000cd80c3")) # getpid by the 32-bit gate
    ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
    os._exit(0)
print("32-bit getpid", "done" if os.waitpid(child, 0)[1] == 0 else "killed")
attempt("write to the root", lambda: open("/file", "w"))
attempt("write beside the init", lambda: open("/.boomerang/file", "w"))
attempt("write a kernel setting", lambda: open("/proc/sys/kernel/hostname", "w"))
attempt("read the init's environment", lambda: open("/proc/1/environ").read())
attempt("connect", lambda: socket.create_connection(("192.0.2.1", 80), 1))
print("user", os.getuid(), os.getgid(), os.getgroups())
print("capabilities", status("CapEff"), status("CapBnd"))
print("no new privileges", status("NoNewPrivs"))
print("interfaces", os.listdir("/sys/class/net"))
for place in ["/workspace", "/tmp"]:
    v = os.statvfs(place)
    print(place, v.f_blocks * v.f_frsize >> 20, v.f_files, bool(v.f_flag & os.ST_NOSUID), bool(v.f_flag & os.ST_NODEV))
print("core", resource.getrlimit(resource.RLIMIT_CORE))
print("files", resource.getrlimit(resource.RLIMIT_NOFILE))
`

const held = `ptrace EPERM
process_vm_readv EPERM
kcmp EPERM
pidfd_getfd EPERM
name_to_handle_at EPERM
io_uring_setup ENOSYS
keyctl EPERM
add_key EPERM
request_key EPERM
bpf EPERM
perf_event_open EPERM
userfaultfd EPERM
mount EPERM
unshare EPERM
setns EPERM
chroot EPERM
clone3 ENOSYS
clone into a user namespace EPERM
unix done
inet done
inet6 done
netlink done
packet EPERM
bluetooth EPERM
alg EPERM
vsock EPERM
upper bits EPERM
32-bit getpid killed
write to the root EROFS
write beside the init EROFS
write a kernel setting EROFS
read the init's environment EACCES
connect ENETUNREACH
user 100002 100002 [100002]
capabilities 0000000000000000 0000000000000000
no new privileges 1
interfaces ['lo']
/workspace 512 16384 True True
/tmp 256 16384 True True
core (0, 0)
files (1024, 1024)
`

func TestTheWallsHold(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the probes know the numbers of amd64's system calls")
	}
	stdout, stderr, _ := needKit(t).run(t, "boomerang/python", probes, "python3", "main")
	if diff := cmp.Diff(held, stdout); diff != "" {
		t.Errorf("what should happen and what happened (-want +got):\n%s\nstderr: %s", diff, stderr)
	}
}
