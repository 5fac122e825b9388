# want: a
if True:
    print("a")
