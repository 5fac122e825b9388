package main

import "fmt"

func main() {
	var n int = "one"
	fmt.Println(n)
}
