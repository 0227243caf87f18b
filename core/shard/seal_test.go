package shard

import (
	"testing"

	"github.com/karst-stream/karst/core"
)

// A frame with any bit of its head or message turned over is refused; its batches are judged by others.
func TestSealed(t *testing.T) {
	s := &Shard{fx: &core.Effects{}}
	head := core.RefOf(append(putHead(nil, frameRaft, 7, 9), "a raft message"...))
	s.say(2, head, core.RefOf([]byte("batches")))
	frame := append(append([]byte(nil), head.Bytes()...), "batches"...)
	if !sealed(frame) || groupOf(frame) != 9 {
		t.Fatal("a frame as it was written is refused")
	}
	for i := range frame {
		for bit := range 8 {
			frame[i] ^= 1 << bit
			if batches := i >= int(head.Len); sealed(frame) != batches {
				t.Errorf("bit %d of byte %d turned over: sealed is %v", bit, i, !batches)
			}
			frame[i] ^= 1 << bit
		}
	}
	for n := range int(head.Len) {
		if sealed(frame[:n]) {
			t.Errorf("%d bytes of a frame are taken for all", n)
		}
	}
}
