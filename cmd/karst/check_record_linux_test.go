package main

import (
	"context"
	"io"
	"testing"

	"github.com/karst-stream/karst/checker"
)

// TestFullDisk: a history that cannot be written ends the load.
func TestFullDisk(t *testing.T) {
	tp, err := newTape("/dev/full", "test")
	if err != nil {
		t.Fatal(err)
	}
	o := checker.NewOp(checker.InitProducer)
	for !tp.failed() { // until the buffer is full
		tp.write(&o)
	}
	busy, stop := context.WithCancel(t.Context())
	defer stop()
	r := recording{tape: tp}
	r.tell(busy, stop, io.Discard) // returns because it has stopped the load
	if err := tp.close(true); err == nil {
		t.Error("a history of which a part is missing was closed as whole")
	}
}
