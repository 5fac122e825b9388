# want: 1 []
read -r line
echo "$? [$line]"
