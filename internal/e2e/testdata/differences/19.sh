# want: done
(sleep 15; echo late) &
nohup sleep 15 >/dev/null 2>&1 &
setsid sleep 15 &
disown -a
echo done
