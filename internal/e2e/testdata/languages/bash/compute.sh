below=20000 count=0
for ((n = 2; n < below; n++)); do
	((count++))
	for ((d = 2; d * d <= n; d++)); do
		((n % d)) || { ((count--)); break; }
	done
done
echo "$below $count"
