package main

import "fmt"

func main() { fmt.Println("žluťoučký kůň, 日本語, 🚀") }
