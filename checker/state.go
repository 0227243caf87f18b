package checker

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/journal"
)

// entry is one log entry as a replica has it.
type entry struct {
	term core.Term
	hash det.Hash
}

// canonical is an entry that some replica committed: everybody else must have the same there.
type canonical struct {
	entry
	in   core.Term   // the highest term that had a leader when it was first committed
	base core.Offset // of its batch; -1: not known yet
	end  core.Offset // the offset after it; -1: not known yet
}

// claim is a high watermark that was shown while index was the commit index.
type claim struct {
	node  core.NodeID
	index core.Index
	hw    core.Offset
}

// copyOf is what the judge knows of one replica. It outlives the process.
type copyOf struct {
	first     core.Index // of log
	log       []entry
	committed core.Index
	applied   core.Index
	completed core.Index  // durable, as the replica claimed
	next      core.Offset // the base that the next applied batch must have; -1: any
	term      core.Term   // the newest that a vote or an acknowledgement rested on
	vote      core.RaftID // given in term; 0: none
	epoch     core.Epoch
	start     core.Offset
	hw        core.Offset
	before    *copyOf // while a restart replays its log
	id        core.RaftID
	conf      raftpb.ConfState // by which it votes; zero: it has not said so
}

type entryKey struct {
	index core.Index
	term  core.Term
}

type known struct {
	hash det.Hash
	prev core.Term // of the entry before; 0: not known
}

type group struct {
	id      core.GroupID
	first   core.Index // of canon
	canon   []canonical
	leaders map[core.Term]core.RaftID
	top     core.Term                       // the highest term that had a leader
	entries map[core.Index]*[shelfSize]slot // by index / shelfSize
	others  map[entryKey]known              // of further terms at one index
	copies  []*copyOf
	voting
	claims  []claim
	shown   core.Offset // the highest high watermark that clients were shown
	shownIn core.Epoch
	digests map[core.Index]*[shelfSize]digest // by index / shelfSize
	doubt   doubt
}

// digest is that of the producers' state after an index.
type digest struct {
	known bool
	hash  det.Hash
}

// State judges replicas; see RELIABILITY.md, invariants I1 to I10 and I12 (I11 shows where bytes are
// read: in the simulator's disks and in the final comparison). It implements replica.Observer. Every
// check costs O(1) but for the replay of a restart.
type State struct {
	Elections int64 // leaders beyond the first of each group
	Acks      int64 // acks=all answers that were checked

	report func(Violation)
	nodes  int
	groups map[core.GroupID]*group
	last   *group               // the one used last
	dead   map[core.RaftID]bool // their disks are gone
	now    core.Mono
	deaf   bool
	muted  bool
}

// NewState judges groups that have a replica on each of n nodes.
func NewState(n int, report func(Violation)) *State {
	return &State{nodes: n, report: report, groups: map[core.GroupID]*group{}, dead: map[core.RaftID]bool{}}
}

// At says what time it is, for reports.
func (s *State) At(now core.Mono) { s.now = now }

// Deafen ends all judgement: the world breaks promises that the invariants rest on.
func (s *State) Deafen() { s.deaf = true }

// Mute makes State ignore what it is told for a while: a step whose effects never happen.
func (s *State) Mute(on bool) { s.muted = on }

func (s *State) fail(id string, n core.NodeID, g core.GroupID, format string, args ...any) {
	if s.deaf {
		return
	}
	v := Violation{id, fmt.Sprintf("node %d, group %d: ", n, g) + fmt.Sprintf(format, args...)}
	if p := s.groups[g]; p != nil && p.doubt.on {
		p.doubt.kept = append(p.doubt.kept, v)
		return
	}
	s.report(v)
}

func (s *State) at(n core.NodeID, g core.GroupID) (*group, *copyOf) {
	p := s.last
	if p == nil || p.id != g {
		p = s.groups[g]
	}
	if p == nil {
		p = &group{id: g, leaders: map[core.Term]core.RaftID{}, entries: map[core.Index]*[shelfSize]slot{}, others: map[entryKey]known{},
			digests: map[core.Index]*[shelfSize]digest{}, copies: make([]*copyOf, s.nodes)}
		s.groups[g] = p
	}
	s.last = p
	if p.copies[n] == nil {
		p.copies[n] = &copyOf{next: -1}
	}
	return p, p.copies[n]
}

func (c *copyOf) last() core.Index { return c.first + core.Index(len(c.log)) - 1 }

func (c *copyOf) has(i core.Index) bool { return len(c.log) > 0 && i >= c.first && i <= c.last() }

func (c *copyOf) entry(i core.Index) entry { return c.log[i-c.first] }

// canonAt is the canonical entry of an index, or nil.
func (p *group) canonAt(i core.Index) *canonical {
	if len(p.canon) == 0 || i < p.first || i >= p.first+core.Index(len(p.canon)) {
		return nil
	}
	return &p.canon[i-p.first]
}

// Restarted: a replica begins, with the entries [first, last] that Appended now repeats. What it had
// claimed to be durable must be among them, and it remembers its last vote (I7).
func (s *State) Restarted(n core.NodeID, g core.GroupID, first, last core.Index, hard journal.Hard) {
	if s.muted {
		return
	}
	p, c := s.at(n, g)
	p.doubt.reborn(c, last, hard.Term)
	if hard.Term < c.term {
		s.fail("I7", n, g, "term %d after a restart, but an answer in term %d had left", hard.Term, c.term)
	}
	if hard.Term == c.term && c.vote != 0 && hard.Vote != c.vote {
		s.fail("I7", n, g, "in term %d it had voted for %x, and after a restart it shows a vote for %x", c.term, uint64(c.vote), uint64(hard.Vote))
	}
	if last < c.completed {
		s.fail("I5", n, g, "its log ends at index %d after a restart, but %d was durable", last, c.completed)
	}
	old := *c
	*c = copyOf{first: first, next: -1, term: max(c.term, hard.Term), vote: c.vote, completed: c.completed, before: &old, id: c.id, conf: c.conf}
	if hard.Term > old.term {
		c.vote = hard.Vote
	}
	if len(old.log) > 0 && old.first < first { // the checkpoint stands for what is before the window
		keep := min(first-old.first, core.Index(len(old.log)))
		c.first, c.log = old.first, old.log[:keep:keep]
		if old.first+keep < first {
			c.first, c.log = first, nil
		}
	}
}

// Pulled: what a catch-up brings is judged when it is installed.
func (s *State) Pulled(core.NodeID, core.GroupID, core.NodeID, core.Offset) {}

// Noted is judged by the disk.
func (s *State) Noted(core.NodeID, core.GroupID, string, int64) {}

// Installed: everything up to i came as whole segments.
func (s *State) Installed(n core.NodeID, g core.GroupID, i core.Index, t core.Term, end core.Offset) {
	if s.muted {
		return
	}
	p, c := s.at(n, g)
	if k := p.canonAt(i); k != nil {
		if k.term != t {
			s.fail("I4", n, g, "it installed index %d of term %d, where term %d is committed", i, t, k.term)
		}
		if k.end >= 0 && k.end != end {
			s.fail("I10", n, g, "it installed index %d with end offset %d, elsewhere it is %d", i, end, k.end)
		}
	}
	if c.has(i) && c.entry(i).term == t {
		c.committed, c.applied = max(c.committed, i), max(c.applied, i)
	} else {
		c.completed = min(c.completed, c.committed) // the rest of its log is dead: another entry is committed at i
		c.first, c.log = i+1, nil
		c.committed, c.applied = i, i
	}
	c.next = end // Completed says when it is durable: a crash may come before
}

// BecameLeader: I2 and I3. It says nothing of the leader's own vote: with a slow disk two others may
// elect it before that is durable, and then its loss harms nobody.
func (s *State) BecameLeader(n core.NodeID, g core.GroupID, id core.RaftID, t core.Term, last core.Index) {
	if s.muted {
		return
	}
	p, c := s.at(n, g)
	if was, ok := p.leaders[t]; ok && was != id {
		s.fail("I2", n, g, "%x leads term %d, and so does %x", uint64(id), t, uint64(was))
	}
	if len(p.leaders) > 0 && p.leaders[t] != id {
		s.Elections++
	}
	p.leaders[t] = id
	p.top = max(p.top, t)
	for k := len(p.canon) - 1; k >= 0; k-- {
		if p.canon[k].in >= t {
			continue // committed by a later leader; this one comes late
		}
		i := p.first + core.Index(k)
		if c.has(i) && c.entry(i) == p.canon[k].entry || i < c.first {
			return // log matching (I1) says the same of all before
		}
		s.fail("I3", n, g, "it leads term %d without index %d of term %d, which is committed", t, i, p.canon[k].term)
		return
	}
}

// slot is what is known of the entry at one index: nearly always there is one only.
type slot struct {
	term core.Term // 0: none
	known
}

// knows is what is known of the entry of term t at index i.
func (p *group) knows(i core.Index, t core.Term) (known, bool) {
	if s := p.entries[i/shelfSize]; s == nil || s[i%shelfSize].term == 0 {
		return known{}, false
	} else if x := &s[i%shelfSize]; x.term == t {
		return x.known, true
	}
	k, ok := p.others[entryKey{i, t}]
	return k, ok
}

func (p *group) learn(i core.Index, t core.Term, k known) {
	s := p.entries[i/shelfSize]
	if s == nil {
		s = new([shelfSize]slot)
		p.entries[i/shelfSize] = s
	}
	if x := &s[i%shelfSize]; x.term == 0 || x.term == t {
		*x = slot{t, k}
	} else {
		p.others[entryKey{i, t}] = k
	}
}

// Appended: I1, by the induction of raft: equal (index, term) means an equal entry and an equal
// (index-1, term of it).
func (s *State) Appended(n core.NodeID, g core.GroupID, i core.Index, t core.Term, hash det.Hash) {
	if s.muted {
		return
	}
	p, c := s.at(n, g)
	if len(c.log) == 0 {
		c.first = i
	}
	if i != c.last()+1 {
		s.fail("I1", n, g, "it appended index %d after %d", i, c.last())
		return
	}
	var prev core.Term
	if len(c.log) > 0 {
		prev = c.log[len(c.log)-1].term
	}
	was, ok := p.knows(i, t)
	switch {
	case !ok:
		p.learn(i, t, known{hash, prev})
	case was.hash != hash:
		s.fail("I1", n, g, "index %d of term %d is another entry than elsewhere", i, t)
	case was.prev != 0 && prev != 0 && was.prev != prev:
		s.fail("I1", n, g, "index %d of term %d follows term %d, elsewhere term %d", i, t, prev, was.prev)
	case was.prev == 0:
		p.learn(i, t, known{hash, prev})
	}
	if b := c.before; b != nil && i <= b.completed && b.has(i) && b.entry(i) != (entry{t, hash}) {
		s.fail("I5", n, g, "index %d is another entry after a restart, though it was durable", i)
	}
	c.log = append(c.log, entry{t, hash})
}

// Truncated: I9.
func (s *State) Truncated(n core.NodeID, g core.GroupID, from core.Index) {
	if s.muted {
		return
	}
	p, c := s.at(n, g)
	if from <= c.committed {
		s.fail("I9", n, g, "it truncated from index %d, and had committed %d", from, c.committed)
	}
	if k := p.canonAt(from); k != nil && c.has(from) && c.entry(from) == k.entry {
		s.fail("I9", n, g, "it truncated index %d, which is committed", from)
	}
	if c.has(from) {
		c.log = c.log[:from-c.first]
	}
	c.completed = min(c.completed, from-1)
}

// Completed: all up to i is durable here, the replica says.
func (s *State) Completed(n core.NodeID, g core.GroupID, i core.Index) {
	if s.muted {
		return
	}
	_, c := s.at(n, g)
	c.before = nil
	if i > c.last() && len(c.log) > 0 {
		s.fail("I5", n, g, "it completed index %d of a log that ends at %d", i, c.last())
	}
	c.completed = max(c.completed, i)
}

// Committed: I4 and I5.
func (s *State) Committed(n core.NodeID, g core.GroupID, to core.Index) {
	if s.muted {
		return
	}
	p, c := s.at(n, g)
	for i := c.committed + 1; i <= to; i++ {
		if i < c.first {
			continue
		}
		if !c.has(i) {
			s.fail("I4", n, g, "it committed index %d, its log ends at %d", i, c.last())
			return
		}
		e := c.entry(i)
		if len(p.canon) == 0 {
			p.first = i
		}
		if k := p.canonAt(i); k != nil {
			if k.entry != e {
				s.fail("I4", n, g, "it committed index %d of term %d, elsewhere term %d is committed", i, e.term, k.term)
			}
			continue
		}
		if i < p.first {
			continue
		}
		p.canon = append(p.canon, canonical{entry: e, in: p.top, base: -1, end: -1})
		if d, of := s.durable(p, c, i, e); d <= of/2 {
			s.fail("I5", n, g, "it committed index %d of term %d, which is durable on %d of %d nodes", i, e.term, d, of)
		}
	}
	c.committed = max(c.committed, to)
}

// Applied: I4 and I10.
func (s *State) Applied(n core.NodeID, g core.GroupID, i core.Index, t core.Term, hash det.Hash, base core.Offset, count int32) {
	if s.muted {
		return
	}
	p, c := s.at(n, g)
	if c.applied != 0 && i != c.applied+1 {
		s.fail("I4", n, g, "it applied index %d after %d", i, c.applied)
	}
	c.applied = i
	if i > c.committed {
		s.Committed(n, g, i) // raft gives entries to apply before the replica follows its commit index
	}
	k := p.canonAt(i)
	if k == nil {
		if len(p.canon) > 0 && i >= p.first {
			s.fail("I4", n, g, "it applied index %d, which nobody committed", i)
		}
		return
	}
	if k.entry != (entry{t, hash}) {
		s.fail("I4", n, g, "it applied another entry at index %d than the committed one", i)
	}
	end := c.next
	if count > 0 {
		if c.next >= 0 && base != c.next {
			s.fail("I10", n, g, "index %d holds offset %d, %d must come next", i, base, c.next)
		}
		end = base + core.Offset(count)
	}
	c.next = end
	if end < 0 {
		return
	}
	if k.end >= 0 && k.end != end || count > 0 && k.base >= 0 && k.base != base {
		s.fail("I10", n, g, "index %d ends at offset %d, elsewhere at %d", i, end, k.end)
	}
	k.end = end
	if count > 0 {
		k.base = base
	}
	p.settleClaims(s)
}

// settleClaims compares high watermarks that were shown with what the commit index of that moment
// allows, as soon as that is known.
func (p *group) settleClaims(s *State) {
	open := p.claims[:0]
	for _, a := range p.claims {
		k := p.canonAt(a.index)
		if k == nil || k.end < 0 {
			open = append(open, a)
			continue
		}
		if a.hw > k.end {
			s.fail("A24", a.node, p.id, "it showed high watermark %d while index %d was committed, which ends at %d", a.hw, a.index, k.end)
		}
	}
	p.claims = open
}

func (p *group) claim(n core.NodeID, i core.Index, hw core.Offset, s *State) {
	if k := len(p.claims); k > 0 && p.claims[k-1] == (claim{n, i, hw}) {
		return
	}
	p.claims = append(p.claims, claim{n, i, hw})
	p.settleClaims(s)
}

// HighWatermark: I8.
func (s *State) HighWatermark(n core.NodeID, g core.GroupID, e core.Epoch, start, hw, end core.Offset) {
	if s.muted {
		return
	}
	p, c := s.at(n, g)
	if hw < c.hw || start < c.start || e < c.epoch {
		s.fail("I8", n, g, "epoch %d, log start %d, high watermark %d follow %d, %d, %d", e, start, hw, c.epoch, c.start, c.hw)
	}
	if start > hw || hw > end {
		s.fail("I8", n, g, "log start %d, high watermark %d, log end %d are not in order", start, hw, end)
	}
	c.epoch, c.start, c.hw = e, start, hw
	p.claim(n, c.committed, hw, s)
}

// AckedAll: I6, as the replicas claim; the simulator's disks are asked too.
func (s *State) AckedAll(n core.NodeID, g core.GroupID, base, last core.Offset, i core.Index) {
	if s.muted {
		return
	}
	p, c := s.at(n, g)
	s.Acks++
	k := p.canonAt(i)
	if k == nil || !c.has(i) && i >= c.first {
		s.fail("I6", n, g, "it acknowledged offset %d at index %d, which is not committed", base, i)
		return
	}
	if d, of := s.durable(p, c, i, k.entry); d <= of/2 {
		s.fail("I6", n, g, "it acknowledged offset %d, which is durable on %d of %d nodes", base, d, of)
	}
	if k.end >= 0 && last != k.end-1 {
		s.fail("I10", n, g, "it acknowledged offset %d at index %d, which ends at %d", last, i, k.end)
	}
}

// Sent: I7. A vote given and entries acknowledged are durable, now and over every restart.
func (s *State) Sent(n core.NodeID, g core.GroupID, m *raftpb.Message) {
	if s.muted || m.Reject || m.Type != raftpb.MsgVoteResp && m.Type != raftpb.MsgAppResp {
		return
	}
	_, c := s.at(n, g)
	s.ghost(n, g, core.RaftID(m.From))
	t := core.Term(m.Term)
	if t > c.term {
		c.term, c.vote = t, 0
	}
	if m.Type == raftpb.MsgAppResp {
		if core.Index(m.Index) > c.completed {
			s.fail("I7", n, g, "it acknowledged index %d, but only %d is durable", m.Index, c.completed)
		}
		return
	}
	if t == c.term && c.vote != 0 && c.vote != core.RaftID(m.To) {
		s.fail("I7", n, g, "it votes for %x in term %d, and had voted for %x", m.To, t, uint64(c.vote))
	}
	if t == c.term {
		c.vote = core.RaftID(m.To)
	}
}

// Served: A24 on the broker's side, and I8 across leaders.
func (s *State) Served(n core.NodeID, g core.GroupID, from, to, hw core.Offset) {
	if s.muted {
		return
	}
	p, c := s.at(n, g)
	if to > hw {
		s.fail("A24", n, g, "it served offsets up to %d above the high watermark %d", to-1, hw)
	}
	if c.epoch >= p.shownIn && hw < p.shown {
		s.fail("I8", n, g, "in epoch %d it shows high watermark %d, clients saw %d in epoch %d", c.epoch, hw, p.shown, p.shownIn)
	}
	p.shown, p.shownIn = max(p.shown, hw), max(p.shownIn, c.epoch)
	p.claim(n, c.committed, hw, s)
}

// Producers: I12.
func (s *State) Producers(n core.NodeID, g core.GroupID, applied core.Index, hash det.Hash) {
	if s.muted {
		return
	}
	p, _ := s.at(n, g)
	shelf := p.digests[applied/shelfSize]
	if shelf == nil {
		shelf = new([shelfSize]digest)
		p.digests[applied/shelfSize] = shelf
	}
	was := &shelf[applied%shelfSize]
	if was.known && was.hash != hash {
		s.fail("I12", n, g, "its producer state at index %d differs from another replica's", applied)
	}
	*was = digest{true, hash}
}

// Platter is what a disk holds of a group's log: everything up to Mark, and these terms after it.
type Platter struct {
	Node  core.NodeID
	Mark  core.Index
	Terms []core.Term
}

func (p *Platter) has(i core.Index, t core.Term) bool {
	return i <= p.Mark || i-p.Mark <= core.Index(len(p.Terms)) && p.Terms[i-p.Mark-1] == t
}

// OnPlatters holds the newest committed entry of each group, and with it all before, against what the
// disks themselves hold (I5).
func (s *State) OnPlatters(copies func(core.GroupID) []Platter) {
	for _, g := range s.sorted() {
		p := s.groups[g]
		if len(p.canon) == 0 {
			continue
		}
		i, t := p.first+core.Index(len(p.canon))-1, p.canon[len(p.canon)-1].term
		have := copies(g)
		n, of := s.onPlatters(p, have, i, p.canon[len(p.canon)-1].entry)
		p.doubt.absent(n, s.nodes-len(have), s.nodes)
		if n <= of/2 {
			s.fail("I5", -1, g, "index %d of term %d is committed and on %d platters of %d", i, t, n, of)
		}
	}
}

func (s *State) sorted() []core.GroupID {
	ids := make([]core.GroupID, 0, len(s.groups))
	for g := range s.groups {
		ids = append(ids, g)
	}
	slices.Sort(ids)
	return ids
}

// Finish says whether anything was judged at all.
func (s *State) Finish() {
	s.Settle(func(core.GroupID) bool { return false })
	committed := 0
	for _, p := range s.groups {
		committed += len(p.canon)
	}
	if committed == 0 || s.Acks == 0 {
		s.fail("empty", 0, 0, "%d entries committed, %d acknowledgements: a run in which nothing happened proves nothing", committed, s.Acks)
	}
}
