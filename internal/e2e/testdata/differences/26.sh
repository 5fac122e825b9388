# want: 600
# want: 126
# want: ran
# want: ran
stat -c %a main.sh
printf '#!/bin/sh\necho ran\n' > tool.sh
./tool.sh 2>/dev/null
echo $?
chmod +x tool.sh
./tool.sh
bash tool.sh
