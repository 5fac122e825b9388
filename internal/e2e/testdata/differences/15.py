# want: EOFError
# want: False
try:
    input()
except EOFError:
    print("EOFError")
import sys
print(sys.stdin.isatty())
