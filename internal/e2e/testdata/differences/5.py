# want: /etc/x [Errno 30] Read-only file system
# want: /usr/local/x [Errno 30] Read-only file system
# want: /home/x [Errno 30] Read-only file system
# want: /workspace/x written
# want: /tmp/x written
# want: /dev/shm/x written
import os
for path in ["/etc/x", "/usr/local/x", "/home/x", "/workspace/x", "/tmp/x", "/dev/shm/x"]:
    try:
        open(path, "w").close()
        print(path, "written")
    except OSError as e:
        print(path, str(e).split(":")[0])
