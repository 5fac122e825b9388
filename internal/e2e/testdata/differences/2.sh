echo never
echo a # want: a
