# want: renice: refused
# want: nice: 5
renice -n 5 $$ >/dev/null 2>&1 || echo "renice: refused"
echo "nice: $(nice -n 5 nice)"
