package replica

import (
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

// A boot that finds two changes knows that the first of them was committed, whatever its hard state says.
func TestALogProvesItsLastButOneChange(t *testing.T) {
	const n, c = raftpb.EntryNormal, raftpb.EntryConfChangeV2
	for _, x := range []struct {
		types []raftpb.EntryType
		want  uint64
	}{{nil, 0}, {[]raftpb.EntryType{n, n}, 0}, {[]raftpb.EntryType{n, c, n}, 0}, {[]raftpb.EntryType{n, c, n, c, n}, 3},
		{[]raftpb.EntryType{c, c, n, c}, 3}} {
		r := &Replica{log: &window{first: 2}}
		for i, typ := range x.types {
			r.log.push(raftpb.Entry{Index: uint64(2 + i), Term: 2, Type: typ})
		}
		if got := r.surely(); got != x.want {
			t.Errorf("%v: %d, not %d", x.types, got, x.want)
		}
	}
}
