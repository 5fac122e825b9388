# want: io_uring ENOSYS
# want: bpf EPERM
# want: perf EPERM
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
numbers = {"x86_64": (425, 321, 298), "aarch64": (425, 280, 241)}[os.uname().machine]
for name, number in zip(("io_uring", "bpf", "perf"), numbers):
    ctypes.set_errno(0)
    libc.syscall(number, 0, 0, 0, 0, 0)
    print(name, errno.errorcode.get(ctypes.get_errno()))
