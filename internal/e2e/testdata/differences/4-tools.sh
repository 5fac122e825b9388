# want: no strace
# want: no gdb
# want: no vim
# want: no less
# want: no man
# want: no git
for name in strace gdb vim less man git; do
  command -v $name || echo "no $name"
done
