package main

import "fmt"

func prime(n int) bool {
	for d := 2; d*d <= n; d++ {
		if n%d == 0 {
			return false
		}
	}
	return true
}

func main() {
	const below = 4000000
	count := 0
	for n := 2; n < below; n++ {
		if prime(n) {
			count++
		}
	}
	fmt.Println(below, count)
}
