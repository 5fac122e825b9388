# want: 0
# want: 134
# want: main.sh
ulimit -c
bash -c 'kill -ABRT $$' 2>/dev/null
echo $?
ls -A
