package main // want: a

import "fmt"

func main() { fmt.Println("a") }
