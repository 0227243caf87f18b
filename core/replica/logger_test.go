package replica

import (
	"testing"

	"go.etcd.io/raft/v3"
)

// What raft calls the end must not go on: the shard takes the partition offline.
func TestRaftsPanicsArePanics(t *testing.T) {
	var l raft.Logger = quiet{}
	for name, f := range map[string]func(){
		"Panic": func() { l.Panic("x") }, "Panicf": func() { l.Panicf("%d", 1) },
		"Fatal": func() { l.Fatal("x") }, "Fatalf": func() { l.Fatalf("%d", 1) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("it went on")
				}
			}()
			f()
		})
	}
}
