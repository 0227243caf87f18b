package shard

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/replica"
	"github.com/karst-stream/karst/core/seg"
)

// rotOf spoils a byte in the middle of the batch with an offset, in the file of node n, and is that file's path.
func (x *lagging) rotOf(n *rigNode, offset core.Offset, at int) string {
	x.t.Helper()
	for _, f := range n.disk.List() {
		if dir, base, ok := seg.ParsePath(f.Path); ok && dir == "long-0" && base <= offset {
			b, found := n.disk[f.Path], false
			seg.Scan(b, base, 0, func(s seg.Seen) {
				if s.Head.BaseOffset() <= offset && offset <= s.Head.LastOffset() {
					b[s.Pos+int64(at)] ^= 0x40
					found = true
				}
			})
			if found {
				return f.Path
			}
		}
	}
	x.t.Fatalf("no file holds offset %d", offset)
	return ""
}

// A follower that is given rotten bytes says so. Its leader looks there at once, hands over and mends; the scrubber alone
// would take a second for each of a hundred segments.
func TestAFollowerReportsTheRotThatItIsGiven(t *testing.T) {
	for _, c := range []struct {
		name string
		at   int // of the batch
	}{{"what a checksum covers", 500}, {"the length", 8}} {
		t.Run(c.name, func(t *testing.T) {
			x := newLagging(t)
			reports, found := reached("scrub: a follower reported rot to its leader"), reached("scrub: a leader found the rot that was reported")
			path := x.rotOf(x.l, 2*150, c.at)
			want := bytes.Clone(x.g.disk[path])
			x.until("the follower to have all", 10*core.Second, func() bool { x.intact(); return x.equal(x.f, x.g) && x.equal(x.g, x.f) })
			x.until("the leader to be as it was", 5*core.Second, func() bool { return bytes.Equal(x.l.disk[path], want) })
			if reached("scrub: a follower reported rot to its leader") == reports || reached("scrub: a leader found the rot that was reported") == found {
				t.Error("nobody reported it")
			}
			x.until("all take part", 5*core.Second, func() bool {
				return !x.replica(x.l).Opening() && x.replica(x.l).Awake() && x.replica(x.l).Offline() == ""
			})
		})
	}
}

// A replica that mends, and is given rotten bytes for those that it has lost, says so as well.
func TestAMendingReplicaReportsTheRotThatItIsGiven(t *testing.T) {
	h := newHurt(t)
	l := h.led("events", 0)
	want := bytes.Clone(l.disk[hurtFirst])
	at := bytes.Index(l.disk[hurtFirst], []byte(hurtValue(9)))
	l.disk[hurtFirst][at+3] ^= 0x40
	delete(h.sick.disk, hurtFirst)
	reports, found := reached("scrub: a follower reported rot to its leader"), reached("scrub: a leader found the rot that was reported")
	h.heal()
	h.until("both are as they were", 10*core.Second, func() bool {
		return bytes.Equal(h.sick.disk[hurtFirst], want) && bytes.Equal(l.disk[hurtFirst], want)
	})
	if reached("scrub: a follower reported rot to its leader") == reports || reached("scrub: a leader found the rot that was reported") == found {
		t.Error("nobody reported it")
	}
}

// Reports that are wrong cost a look a second, and change nothing.
func TestWrongReportsCostALook(t *testing.T) {
	x := newLagging(t)
	x.until("the follower to have all", 20*core.Second, func() bool { return x.equal(x.f, x.l) && x.equal(x.l, x.f) })
	x.run(3 * core.Second)
	rotten, probed := reached("scrub: a segment does not hold what was written to it"), reached("scrub: a leader looked where rot was reported, and all was whole")
	term, before := x.replica(x.l).Term(), x.l.read
	began := x.now
	for i := range 3000 {
		c := replica.Control{Kind: replica.Report, Term: term, Next: core.Offset(i * 7 % 600), Seg: core.Offset(i), Pos: int64(i)}
		switch i % 5 {
		case 1:
			c.Term += core.Term(i%3) - 1
		case 2:
			c.Next = math.MaxInt64 - core.Offset(i)
		case 3:
			c.Next = -core.Offset(i)
		}
		x.l.post(0, core.Event{Kind: core.MailIn, Mail: letter(func(s *Shard) {
			h := s.groups.At(x.group)
			s.guard(h, func() { h.r.Control(x.f.id, c) })
		})})
		x.turn()
	}
	looks, seconds := int64(reached("scrub: a leader looked where rot was reported, and all was whole")-probed), int64((x.now-began)/core.Second)
	if looks == 0 || looks > seconds+1 {
		t.Errorf("%d looks in %d s", looks, seconds)
	}
	size := int64(0)
	for path, b := range x.l.disk {
		if strings.HasPrefix(path, "long-0/") {
			size += int64(len(b))
		}
	}
	if read := x.l.read - before; read > (looks+1)*(1<<20)+size {
		t.Errorf("%d looks read %d bytes", looks, read)
	}
	if r := x.replica(x.l); !x.leading(x.l) || r.Term() != term || reached("scrub: a segment does not hold what was written to it") != rotten {
		t.Error(fmt.Sprint("a wrong report was believed: ", r.Describe()))
	}
}
