# want: True
# want: 1
# want: 1
import os, subprocess
print(os.cpu_count() == len(os.sched_getaffinity(0)))
print(os.environ["OMP_NUM_THREADS"])
print(subprocess.run(["nproc"], capture_output=True, text=True).stdout.strip())
