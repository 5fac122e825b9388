# want: ping: none
# want: curl: none
command -v ping || echo "ping: none"
command -v curl || echo "curl: none"
