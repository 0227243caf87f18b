// Package main has places where a choice between code and bug is not simply an expression.
package main

import (
	"fmt"
	"strings"
	"time"
)

type yes bool

const fixed = 4

var array [fixed + 1]int

func two(a, b int) (int, error) { return a - b, nil }

func say(a, b string) { fmt.Print(a, b, " ") }

func most[T int | uint8](a, b T) T { return max(a, b) }

func split(s string) (before strings.Builder) {
	before.WriteString(s[:len(s)])
	return before
}

func main() {
	array[fixed] = 1
	n, _ := two(5, 3)
	fmt.Print(n, " ")
	defer say("x", "y")
	for i := 0; i < 3; i++ {
		fmt.Print(i)
	}
	for i := 0; i < 2; say("p", "q") {
		i += 1
	}
	if n *= 3; n > 5 && n < 7 {
		say("a", "b")
	}
	strings := yes(n == 6)
	if strings {
		fmt.Print(strings, " ")
	}
	switch n {
	case 6:
		fmt.Print(-1+n, " ")
	default:
		fmt.Print("no ")
	}
	wait := 2 * time.Second
	fmt.Print(wait, " ", most(uint8(1<<n), 7), " ")
	b := split("abc")
	fmt.Print(b.String(), " ")
	calm(n)
}

func calm(n int) {
	for {
		if n > 0 {
			break
		}
		n++
	}
	fmt.Print(n)
	n--
	fmt.Print(n, " ")
}
