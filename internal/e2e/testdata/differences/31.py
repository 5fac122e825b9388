# want: utf-8 True
import sys
print(sys.stdout.encoding, sys.stdout.write_through)
