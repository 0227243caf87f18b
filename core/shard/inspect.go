package shard

import (
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/replica"
)

// What tools may see of a disk and of a boot.

// Slots reads the two slots of the file "node"; nil where nothing valid lies.
func Slots(boot core.Boot) (slots [2]*Identity) {
	for k := range slots {
		b := make([]byte, identitySlot)
		n, _ := boot.ReadAt(identityPath, int64(k)*identitySlot, b)
		if id, _, ok := decodeIdentity(b[:n]); ok {
			slots[k] = &id
		}
	}
	return slots
}

// Sick is a copy that does not take part, or not yet.
type Sick struct {
	Partition string
	Offline   string         // why it stays down; "": what is lost is fetched first
	Lost      []replica.Lost // to be fetched
	Why       string
}

// Sick lists the copies of this shard that are damaged, between steps.
func (s *Shard) Sick() (list []Sick) {
	s.groups.Each(func(_ core.GroupID, h *hosted) {
		x := Sick{Partition: h.dir, Offline: h.r.Offline()}
		x.Lost, x.Why = h.r.Mending()
		if x.Offline != "" || len(x.Lost) > 0 {
			list = append(list, x)
		}
	})
	return list
}

// Base is where the entries that a copy of this shard holds in memory begin in its segments: a file, and a position in
// it before which all must be durable. false: no such copy is here.
func (s *Shard) Base(g core.GroupID) (path string, pos int64, ok bool) {
	h := s.groups.At(g)
	if h == nil {
		return "", 0, false
	}
	path, pos = h.r.Base()
	return path, pos, true
}
