local sum = 0
for n in io.lines() do sum = sum + tonumber(n) end
print(sum)
