package workload

import (
	"slices"
	"testing"

	"github.com/karst-stream/karst/checker"
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/wire"
)

// still is a world in which only time passes.
type still struct {
	now   core.Mono
	fails []string
}

func (s *still) Now() core.Mono                 { s.now++; return s.now }
func (s *still) Dial(core.NodeID) core.ConnID   { return 1 }
func (s *still) Send(core.ConnID, []byte)       {}
func (s *still) Hang(core.ConnID)               {}
func (s *still) Clocks() (core.Wall, core.Wall) { return 0, 0 }
func (s *still) Deafen(core.ConnID, bool)       {}
func (s *still) Alarm(core.Mono, int)           {}
func (s *still) Fail(id, what string)           { s.fails = append(s.fails, id+": "+what) }
func (s *still) fleet(heard func(string)) *base {
	j := checker.NewJudge(checker.Limits{})
	j.Heard = func(v checker.Violation) { heard(v.ID) }
	return New(Config{Seed: 1, Nodes: 3, Topic: "t", Partitions: 2}, s, j).base()
}

// What clients tell of a history that must not be reaches the judge that must find it.
func TestTellingFinds(t *testing.T) {
	ends := func(b *base, offset int64) {
		b.listed(b.f.env.Now(), 0, -1, &wire.ListOffsetsResponsePartition{Offset: offset, LeaderEpoch: -1})
	}
	send := func(b *base, counter uint32, base int64) {
		b.sent(val(0, 0, counter), 1, b.f.env.Now(), checker.OK, base, -1, 7, 0, int32(counter))
	}
	commit := func(b *base, gen int32, token string, e wire.Error) {
		c := &committing{group: "g", member: "m", token: token, generation: gen, began: b.f.env.Now(),
			parts: []wire.OffsetCommitRequestPartition{{CommittedOffset: 5}}}
		b.committed(c, &wire.OffsetCommitResponse{Topics: []wire.OffsetCommitResponseTopic{{
			Partitions: []wire.OffsetCommitResponsePartition{{ErrorCode: e}}}}})
	}
	stored := func(b *base, offset int64, token string) {
		b.stored(b.f.env.Now(), "g", &wire.OffsetFetchResponseGroupPartition{CommittedOffset: offset, Metadata: &token})
	}
	own := func(b *base, gen int32, id string, parts ...int32) {
		m := newMember(b, "g")
		m.id, m.gen, m.mine, m.joinAt = id, gen, parts, b.f.env.Now()
		m.owned()
	}
	topic := func(b *base, n core.NodeID, leader, epoch int32) {
		b.shown(b.f.env.Now(), n, "t", &wire.MetadataResponseTopic{TopicId: wire.UUID{1},
			Partitions: []wire.MetadataResponsePartition{{LeaderId: leader, LeaderEpoch: epoch}}})
	}
	scan := func(b *base, counters ...uint32) {
		f := newFetcher(b, false)
		f.scan = true
		var all []byte
		for i, c := range counters {
			var x record.Builder
			x.Producer(7, 0, int32(c))
			x.Append(record.Record{Timestamp: core.Wall(100 * i), Value: appendValue(nil, val(0, 0, c), minValue)})
			batch := x.Build()
			record.Batch(batch).Patch(core.Offset(i), 0)
			all = append(all, batch...)
		}
		f.scanned(0, 0, all, b.f.env.Now())
	}
	for _, c := range []struct {
		id   string
		tell func(b *base)
	}{
		{"L1", func(b *base) { send(b, 0, 0); send(b, 1, 1); ends(b, 1); scan(b, 0, 1) }},
		{"A3", func(b *base) { send(b, 0, 0); send(b, 1, 1); scan(b, 1) }},
		{"A19", func(b *base) { scan(b, 0, 2) }},
		{"A21", func(b *base) { commit(b, -1, "1", wire.None); commit(b, -1, "2", wire.None); stored(b, 5, "1") }},
		{"A21", func(b *base) { commit(b, -1, "1", wire.IllegalGeneration); stored(b, 5, "1") }},
		{"A22", func(b *base) { own(b, 1, "m", 0); own(b, 1, "n", 0) }},
		{"A22", func(b *base) { own(b, 1, "m", 0); own(b, 2, "m", 0); commit(b, 1, "1", wire.None) }},
		{"A28", func(b *base) {
			f := newFetcher(b, false)
			o := b.op(checker.Fetch, 1)
			f.gather(o, 1, 0, oneValue(0), nil)
			b.f.tell(o)
		}},
		{"A29", func(b *base) {
			b.listed(b.f.env.Now(), 0, 150, &wire.ListOffsetsResponsePartition{Offset: 1, LeaderEpoch: 0})
			scan(b, 0, 1, 2)
		}},
		{"A30", func(b *base) { topic(b, 0, 1, 4); topic(b, 1, 2, 4) }},
		{"A30", func(b *base) { topic(b, 0, 1, 4); topic(b, 0, 1, 3) }},
		{"A31", func(b *base) { b.given(1, 7, 0); b.f.base().given(1, 7, 0) }},
	} {
		findsWhen(t, c.id, c.tell)
	}
}

// findsWhen wants an anomaly found when this is told.
func findsWhen(t *testing.T, id string, tell func(b *base)) {
	t.Helper()
	var heard []string
	s := &still{}
	b := s.fleet(func(id string) { heard = append(heard, id) })
	tell(b)
	_, _ = b.f.Judge.Finish() // it cannot be judged whole: partitions are not sealed
	if !slices.Contains(heard, id) || len(s.fails) > 0 {
		t.Errorf("%s was not found: %v %v", id, heard, s.fails)
	}
}

// oneValue is a batch whose value belongs to a partition.
func oneValue(part uint16) record.Batch {
	var x record.Builder
	x.Append(record.Record{Value: appendValue(nil, val(0, part, 0), minValue)})
	return record.Batch(x.Build())
}

// A batch whose checksum shows damage is a failed fetch, not a record.
func TestDamageThatShows(t *testing.T) {
	s := &still{}
	b := s.fleet(func(id string) {})
	f := newFetcher(b, false)
	good := oneValue(0)
	bad := slices.Clone(good)
	bad[len(bad)-1] ^= 1
	o := b.op(checker.Fetch, 1)
	f.records(o, 0, 0, append(slices.Clone(good), bad...))
	if len(o.Runs) != 1 || len(o.Bad) != 0 || f.at[0] != 1 || b.f.Counts.Damaged != 1 {
		t.Errorf("runs %v, bad %v, at %d, %d damaged", o.Runs, o.Bad, f.at[0], b.f.Counts.Damaged)
	}
}

// A broker that is behind for a moment is asked again; one that stays behind has lost a topic.
func TestTheCensusAsksWhoIsBehindAgain(t *testing.T) {
	for _, c := range []struct {
		name    string
		deleted bool
		learns  bool
		found   bool // A30
	}{
		{name: "it learns", learns: true},
		{name: "it never learns", found: true},
		{name: "the topic was deleted", deleted: true},
	} {
		var heard []string
		s := &still{}
		b := s.fleet(func(id string) { heard = append(heard, id) })
		f, name := b.f, "ward"
		f.cfg.Core, f.wards = 7, []string{name}
		tell := func(k checker.Kind) {
			o := b.op(k, f.env.Now())
			o.Topic, o.Outcome = name, checker.OK
			f.tell(o)
		}
		if tell(checker.CreateTopic); c.deleted {
			tell(checker.DeleteTopic)
		}
		x := &census{base: f.base()}
		s.now += core.Second
		asked, began := map[core.NodeID]int{}, s.now
		for !x.done && s.now < began+2*censusFor {
			x.poll(s.now)
			for n, ss := range x.sessions {
				if ss == nil || len(ss.pending) == 0 {
					continue
				}
				asked[core.NodeID(n)]++
				topic := wire.MetadataResponseTopic{Name: &name, ErrorCode: wire.UnknownTopicOrPartition}
				if c.learns && asked[core.NodeID(n)] > 3 {
					topic.ErrorCode = wire.None
				}
				call := ss.pending[0]
				ss.pending = ss.pending[:0]
				call.done(&wire.MetadataResponse{Topics: []wire.MetadataResponseTopic{topic}})
			}
			s.now += 20 * core.Millisecond
		}
		_, _ = f.Judge.Finish() // nothing was produced
		if !x.done || len(asked) != 1 || slices.Contains(heard, "A30") != c.found {
			t.Errorf("%s: done %v, asked %v, heard %v", c.name, x.done, asked, heard)
		}
		if c.deleted && s.now > began+core.Second {
			t.Errorf("%s: it took %d ms", c.name, (s.now-began)/core.Millisecond)
		}
	}
}
