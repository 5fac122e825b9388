# want: before
# end: out_of_memory 137
print("before")
open("file", "wb").write(bytes(200 << 20))
memory = b"x" * (400 << 20)
print("after")
