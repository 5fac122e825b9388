set -e
echo before
boom
echo never
