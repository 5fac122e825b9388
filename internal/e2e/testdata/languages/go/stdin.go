package main

import (
	"fmt"
	"io"
	"os"
)

func main() {
	sum := 0
	for n := 0; ; sum += n {
		n = 0
		if _, err := fmt.Fscan(os.Stdin, &n); err == io.EOF {
			break
		}
	}
	fmt.Println(sum)
}
