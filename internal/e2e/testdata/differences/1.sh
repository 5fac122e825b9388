# want: a\r
# end: exited 2
echo a
if true; then
  echo b
fi
