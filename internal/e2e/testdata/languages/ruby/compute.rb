def prime?(n)
  d = 2
  while d * d <= n
    return false if n % d == 0
    d += 1
  end
  true
end

below = 300_000
puts "#{below} #{(2...below).count { |n| prime?(n) }}" if __FILE__ == $0
