# want: refused
# want: UTC
date -s 2020-01-01 >/dev/null 2>&1 || echo refused
date +%Z
