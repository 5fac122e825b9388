io.stderr:write("leaving\n")
os.exit(7)
