local function prime(n)
  local d = 2
  while d * d <= n do
    if n % d == 0 then return false end
    d = d + 1
  end
  return true
end

local below, count = 700000, 0
for n = 2, below - 1 do
  if prime(n) then count = count + 1 end
end
print(below .. " " .. count)
