# want: True
# want: True
import os
total = next(int(line.split()[1]) << 10 for line in open("/proc/meminfo") if line.startswith("MemTotal"))
print(total > 512 << 20)
print(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") == total)
