package shard_test

import (
	"testing"
	"time"

	"example.test/clean/core/shard"
)

// A test may do what the core may not.
func TestStep(t *testing.T) {
	done := make(chan string)
	go func() { done <- shard.Step(nil, map[int]bool{}) }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("slow")
	}
}
