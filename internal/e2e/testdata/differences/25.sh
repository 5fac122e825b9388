# want: refused
# want: refused
# want: refused
dmesg >/dev/null 2>&1 || echo refused
{ echo 1 > /proc/sys/kernel/panic; } 2>/dev/null || echo refused
cat /proc/kcore 2>/dev/null | head -c 1 | grep -q . || echo refused
