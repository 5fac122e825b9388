# want: False False False
# want: no terminal
# want: no terminal
# want: no terminal
import os, pty
print(*(os.isatty(fd) for fd in (0, 1, 2)))
for f in (os.get_terminal_size, pty.openpty, lambda: open("/dev/tty")):
    try:
        f()
    except OSError:
        print("no terminal")
