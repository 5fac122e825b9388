# want: [Errno 18]
# want: moved
import os, shutil
open("/tmp/x", "w").close()
try:
    os.rename("/tmp/x", "/workspace/x")
except OSError as e:
    print(f"[Errno {e.errno}]")
shutil.move("/tmp/x", "/workspace/x")
print("moved")
