# want: /workspace 256 MiB: full
# want: /tmp 64 MiB: full
# want: /dev/shm 64 MiB: full
import errno, os
for place in ["/workspace", "/tmp", "/dev/shm"]:
    v = os.statvfs(place)
    try:
        os.posix_fallocate(os.open(place + "/big", os.O_CREAT | os.O_WRONLY), 0, (v.f_blocks + 1) * v.f_frsize)
    except OSError as e:
        print(place, v.f_blocks * v.f_frsize >> 20, "MiB:", {errno.ENOSPC: "full"}.get(e.errno, e))
    os.remove(place + "/big")
