# want: own number: PermissionError
# want: 0: 5
import os
try:
    os.setpriority(os.PRIO_PROCESS, os.getpid(), 5)
except OSError as e:
    print("own number:", type(e).__name__)
os.setpriority(os.PRIO_PROCESS, 0, 5)
print("0:", os.getpriority(os.PRIO_PROCESS, 0))
