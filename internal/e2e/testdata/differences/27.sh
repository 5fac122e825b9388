# want: /workspace ran
# want: /tmp ran
# want: /dev/shm refused
for place in /workspace /tmp /dev/shm; do
  printf '#!/bin/sh\necho ran\n' > $place/tool
  chmod +x $place/tool
  echo "$place $($place/tool 2>/dev/null || echo refused)"
done
