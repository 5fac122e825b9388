# want: before
# end: signaled 143
echo before
kill $$
