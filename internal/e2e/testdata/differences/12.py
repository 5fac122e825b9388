# want: [Errno 24]
# want: 1024 1024
# want: refused
import resource
files = []
try:
    while True:
        files.append(open("/dev/null"))
except OSError as e:
    print(f"[Errno {e.errno}]")
del files
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
try:
    resource.setrlimit(resource.RLIMIT_NOFILE, (2048, 2048))
except (ValueError, OSError):
    print("refused")
