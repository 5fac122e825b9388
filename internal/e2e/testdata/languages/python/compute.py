def prime(n):
    d = 2
    while d * d <= n:
        if n % d == 0:
            return False
        d += 1
    return True


below = 250000
print(below, sum(1 for n in range(2, below) if prime(n)))
