print("a") # want: a
