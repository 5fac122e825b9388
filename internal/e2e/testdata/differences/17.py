# want: before
# end: signaled 137
import os, signal
print("before")
os.kill(os.getpid(), signal.SIGKILL)
