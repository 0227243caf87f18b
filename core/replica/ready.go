package replica

import (
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/journal"
	"github.com/karst-stream/karst/core/mut"
)

var (
	markTruncated = det.NewMark("replica: truncated by a newer leader")
	markLateAck   = det.NewMark("replica: an acknowledgement was dropped, its entries were cut meanwhile")
	markDeposed   = det.NewMark("replica: a leader was deposed with producers waiting")
)

// Ready drains raft once per shard step, however many events the step held.
func (r *Replica) Ready() {
	if r.offline != "" || r.opening > 0 {
		return
	}
	r.pumpTrims()
	r.flushProposals()
	r.askReadIndex()
	r.reconfigure()
	for r.rn.HasReady() {
		rd := r.rn.Ready()
		// Local appends first: they move batches from staging into the window, from where the
		// messages to followers take them. All leave in the same step, so that the disks overlap.
		for i := range rd.Messages {
			if rd.Messages[i].To == raft.LocalAppendThread {
				r.append(&rd.Messages[i])
			}
		}
		for i := range rd.Messages {
			switch m := &rd.Messages[i]; m.To {
			case raft.LocalAppendThread:
			case raft.LocalApplyThread:
				r.apply(m)
			default:
				r.send(m)
			}
		}
		for _, rs := range rd.ReadStates {
			r.readStates(rs)
		}
		r.noteState()
		r.advance()
		r.answerReads()
	}
	if r.pull != nil && r.pull.handed {
		r.dropPull() // raft had the entries meanwhile, and dropped the snapshot
	}
	r.dropUnclaimed()
	r.insync()
	r.pumpFeed()
	r.pumpIndex()
	r.pumpRefit()
	r.pumpCompaction()
	r.shedSegments()
	r.maySleep()
}

// noteState follows raft's term, role and leader.
func (r *Replica) noteState() {
	st := r.rn.BasicStatus()
	term, lead := core.Term(st.Term), core.RaftID(st.Lead)
	leads := st.RaftState == raft.StateLeader
	if term == r.term && lead == r.lead && leads == r.leads {
		if r.leads && r.noop == 0 {
			r.takeLead()
		}
		return
	}
	wasLeading := r.leads
	deposed := wasLeading && (!leads || term != r.term)
	r.term, r.lead = term, lead
	if lead != 0 {
		r.stood = 0
	}
	if deposed {
		if len(r.waits)+len(r.ones) > 0 {
			markDeposed.Hit()
		}
		r.drain(Result{Err: TimedOut}, Result{Err: NotLeader})
		r.ready, r.noop, r.handing, r.cutting = false, 0, 0, 0
		r.match, r.isr = nil, nil
		r.rebuildTip()
		r.failReads()
	}
	r.leads = leads
	if leads {
		r.match = nil
		r.rematch()
		for i := range r.match {
			if m := &r.match[i]; r.commit == 1 && r.counts(m) { // just born: every voter holds what there is
				m.caught = r.h.Now().Mono
			}
		}
		r.noop = 0
		r.takeLead()
		if o := r.cfg.Observer; o != nil {
			o.BecameLeader(r.cfg.Node, r.cfg.Group, r.cfg.ID, term, core.Index(r.log.last()))
		}
	}
	r.deadline()
	r.h.Changed(r)
	r.wakeReaders()
}

// takeLead waits for this term's no-op to be in the window: only then are offsets assigned.
func (r *Replica) takeLead() {
	last := r.log.last()
	if last < r.log.first || core.Term(r.log.ents[len(r.log.ents)-1].Term) != r.term {
		return
	}
	i := last
	for i > r.log.first && core.Term(r.log.ents[i-1-r.log.first].Term) == r.term {
		i--
	}
	r.noop = i
	r.rebuildTip()
	if mut.On("M09") { // the high watermark of the last checkpoint is shown as if it were today's
		r.ready = true
	}
}

// append turns MsgStorageAppend into disk effects and queues its responses.
func (r *Replica) append(m *raftpb.Message) {
	a := r.over
	if r.over = nil; a == nil {
		a = new(appending)
	}
	a.resp = m.Responses
	var hard *journal.Hard
	if m.Term != 0 || m.Vote != 0 || m.Commit != 0 {
		moved := m.Term != r.log.hard.Term || m.Vote != r.log.hard.Vote
		r.log.hard = raftpb.HardState{Term: m.Term, Vote: m.Vote, Commit: m.Commit}
		if moved {
			h := r.hard()
			hard = &h
			if mut.On("M02") { // the vote stays in memory only
				hard.Vote = 0
			}
		}
	}
	if m.Snapshot != nil {
		r.install(m.Snapshot)
	}
	if mut.On("M03") && len(m.Entries) > 0 { // what speaks of the entries goes to the disk before they do
		r.h.Journal().Append(r.cfg.Group, hard, nil, core.Index(m.Entries[len(m.Entries)-1].Index))
		r.h.Journal().Flush(r.h.FX())
	}
	ents := r.log_(m, a)
	if hard != nil || len(ents) > 0 {
		if hard == nil && len(ents) > 0 {
			h := r.hard() // the commit index rides along for free
			hard = &h
		}
		r.h.Journal().Append(r.cfg.Group, hard, ents, core.Index(r.complete))
		clear(ents)
		r.sealed = r.complete
		a.seq = r.h.Journal().Seq() + 1
		r.h.Awaits(r)
	}
	if a.seq == 0 && a.ops == 0 && len(a.resp) == 0 && m.Snapshot == nil {
		r.over = a
		return
	}
	if m.Snapshot != nil {
		a.seq = r.h.Journal().Seq() + 1 // the checkpoint that install wrote
		a.snap = m.Snapshot.Metadata.Index
		r.h.Awaits(r)
	}
	r.appends = append(r.appends, a)
	if mut.On("M01") && len(m.Entries) > 0 { // answers leave before the sync
		resp := a.resp
		a.resp = nil
		for i := range resp {
			r.respond(&resp[i])
		}
	}
	r.finishAppends()
}

// log_ moves the message's entries into the window and their batches towards the disk.
func (r *Replica) log_(m *raftpb.Message, a *appending) []journal.Entry {
	if len(m.Entries) == 0 {
		return nil
	}
	r.endAhead() // raft goes on without
	if first := m.Entries[0].Index; first <= r.log.last() {
		markTruncated.Hit()
		r.truncate(first)
	}
	ents := r.logged[:0]
	var direct run
	for i := range m.Entries {
		e := m.Entries[i]
		body := r.claim(&e)
		n := r.log.push(e)
		r.h.Window().Entries++
		je := journal.Entry{Index: core.Index(e.Index), Term: core.Term(e.Term), Type: uint8(e.Type), Data: e.Data}
		if n.batch {
			r.epochs.add(core.Term(e.Term).Epoch(), n.stub.Base)
			r.admit(n, body, &e)
			je.Body = r.place(n, &e, &direct, a)
			r.assignWaiters(n.stub.Base, e.Index)
		} else if n.rolls {
			r.turnTo(n.at.seg, &direct, a)
		}
		if e.Type != raftpb.EntryNormal {
			r.logConf(&e)
		}
		ents = append(ents, je)
		r.observeAppend(&r.log.ents[len(r.log.ents)-1])
	}
	r.writeRun(&direct, a)
	if r.cut != nil {
		r.cut.seq = r.h.Journal().Seq() + 1
	}
	a.last, a.term = r.log.last(), m.Entries[len(m.Entries)-1].Term
	if r.fillSize >= fillBytes {
		r.flushFill()
	}
	r.logged = ents
	return ents
}

// claim takes the batch of an entry from staging.
func (r *Replica) claim(e *raftpb.Entry) core.Ref {
	s, ok := journal.DecodeStub(e.Data)
	if !ok || e.Type != raftpb.EntryNormal {
		return core.Ref{}
	}
	k := staged{e.Term, s.Base}
	b, ok := r.staging[k]
	det.That(ok, "replica: raft accepted an entry whose batch never came")
	delete(r.staging, k)
	return b
}

func (r *Replica) admit(n *note, body core.Ref, e *raftpb.Entry) {
	n.body = body
	w := r.h.Window()
	w.Bytes += int64(body.Len)
	w.push(r, core.Index(e.Index), core.Term(e.Term))
	if !r.leads || core.Term(e.Term) != r.term {
		r.ps.extend(&n.stub)
	}
}

// assignWaiters gives the waiters of a batch its index.
func (r *Replica) assignWaiters(base core.Offset, index uint64) {
	for _, ws := range [2][]waiter{r.waits, r.ones} {
		for i := len(ws) - 1; i >= 0 && ws[i].base >= base; i-- {
			if ws[i].base == base {
				ws[i].index = index
			}
		}
	}
}

// dropUnclaimed forgets batches that raft did not take. While proposals wait for the next Ready of this
// step (an answer given in this one brought them), theirs must stay.
func (r *Replica) dropUnclaimed() {
	if len(r.props) > 0 {
		return
	}
	for _, k := range r.stagings {
		if b, ok := r.staging[k]; ok {
			b.Release()
			delete(r.staging, k)
		}
	}
	r.stagings = r.stagings[:0]
}

// truncate removes the entries from index i on; r.cut says what of it is in segments.
func (r *Replica) truncate(i uint64) {
	det.That(i > r.commit, "I9: a committed entry is never truncated")
	det.That(i >= r.log.first, "replica: truncation below the window")
	r.dropFill(i)
	r.shorten(i)
	at := r.log.after(i - 1)
	touched := false
	for k := i; k <= r.log.last(); k++ {
		n := r.log.note(k)
		touched = touched || n.batch && n.issued
		r.release(n)
	}
	r.cutAt(at, touched)
	r.h.Window().Entries -= int(r.log.last() - i + 1)
	r.log.keep(int(i - r.log.first))
	r.complete, r.changed = min(r.complete, i-1), min(r.changed, i-1)
	r.epochs.cut(r.log.end(i - 1))
	r.retime(i - 1)
	r.rebuildTip()
	if o := r.cfg.Observer; o != nil {
		o.Truncated(r.cfg.Node, r.cfg.Group, core.Index(i))
	}
}

func (r *Replica) release(n *note) {
	if n.body.Buf != nil {
		r.h.Window().Bytes -= int64(n.body.Len)
		n.body.Release()
		n.body = core.Ref{}
	}
}

// JournalDurable tells that frames up to seq are on the disk.
func (r *Replica) JournalDurable(seq uint64) {
	if r.offline != "" {
		return
	}
	for _, a := range r.appends {
		if a.seq > 0 && a.seq <= seq {
			a.seq = 0
		}
	}
	if r.cut != nil && r.cut.seq <= seq {
		r.cutNow()
	}
	if r.marking > 0 && r.marking <= seq {
		r.markDurable()
	}
	if mut.On("M04") && len(r.appends) > 1 { // the second completion overtakes the first
		r.appends[0], r.appends[1] = r.appends[1], r.appends[0]
	}
	r.finishAppends()
}

// finishAppends delivers, in order, the responses of the appends whose disk work is done.
func (r *Replica) finishAppends() {
	if r.opening > 0 {
		return // what is being mended acknowledges nothing
	}
	for len(r.appends) > 0 {
		a := r.appends[0]
		if a.seq > 0 || a.ops > 0 {
			return
		}
		r.appends = slices.Delete(r.appends, 0, 1) // few are on their way at a time
		if t, err := r.log.Term(a.last); a.last > 0 && err == nil && t == a.term && a.last > r.complete {
			r.complete = a.last
			if o := r.cfg.Observer; o != nil {
				o.Completed(r.cfg.Node, r.cfg.Group, core.Index(r.complete))
			}
			r.matched(r.cfg.ID, a.last)
			r.answerOnes()
		}
		if o := r.cfg.Observer; o != nil && a.snap > 0 {
			o.Completed(r.cfg.Node, r.cfg.Group, core.Index(a.snap))
		}
		for i := range a.resp {
			r.respond(&a.resp[i])
		}
		*a = appending{}
		r.over = a
		r.h.Dirty(r)
	}
}

// respond delivers what waited for the disk. The acknowledgement of entries that a newer leader has cut
// meanwhile was true when the disk said so; it is dropped, so that what leaves always rests on the log as
// it is (I7). raft does not mind: its term is over.
func (r *Replica) respond(m *raftpb.Message) {
	if m.Type == raftpb.MsgAppResp && !m.Reject && m.Index > r.complete && !mut.On("M01") {
		markLateAck.Hit()
		return
	}
	if m.To == uint64(r.cfg.ID) {
		_ = r.rn.Step(*m) // raft drops what a newer term has overtaken, and says so
		return
	}
	r.send(m)
}

// advance follows the commit index: the high watermark, and the answers of acks=all.
func (r *Replica) advance() {
	c := min(r.rn.BasicStatus().Commit, r.log.last())
	if c > r.commit {
		from := r.commit + 1
		r.commit = c
		if o := r.cfg.Observer; o != nil {
			o.Committed(r.cfg.Node, r.cfg.Group, core.Index(c))
		}
		high := r.log.end(c)
		if mut.On("M08") {
			high = min(high+1, r.log.end(r.log.last()))
		}
		det.That(high >= r.high, "I8: the high watermark never falls")
		r.high = high
		moved := r.moveStart(from, c)
		if o := r.cfg.Observer; o != nil { // before anybody is served by it
			o.HighWatermark(r.cfg.Node, r.cfg.Group, r.term.Epoch(), r.start, r.high, r.End())
		}
		if r.leads && !r.ready && r.noop > 0 && c >= r.noop {
			r.ready = true
			r.h.Changed(r)
		}
		r.fireWatches(moved)
		for i := range r.match {
			r.caughtUp(&r.match[i])
		}
	}
	r.answerAll()
	r.pumpTrims()
}

// answerAll answers the acks=all producers whose batches are committed and copied often enough.
func (r *Replica) answerAll() {
	for len(r.waits) > 0 {
		w := &r.waits[0]
		if w.index == 0 || w.index > r.commit || r.copies(w.index) < w.need && w.need > len(r.log.conf.Voters)/2+1 {
			return
		}
		if o := r.cfg.Observer; o != nil {
			o.AckedAll(r.cfg.Node, r.cfg.Group, w.base, w.base+core.Offset(w.n)-1, core.Index(w.index))
		}
		done, base := w.done, w.base
		*w = waiter{}
		r.waits = r.waits[1:]
		done(Result{Base: base, Start: r.start, Time: -1})
	}
}

// answerOnes answers the acks=1 producers whose batches are durable here.
func (r *Replica) answerOnes() {
	for len(r.ones) > 0 && r.ones[0].index > 0 && r.ones[0].index <= r.complete {
		w := r.ones[0]
		r.ones = r.ones[1:]
		w.done(Result{Base: w.base, Start: r.start, Time: -1})
	}
}

// apply folds what raft hands to the state machine: committed and durable here.
func (r *Replica) apply(m *raftpb.Message) {
	for i := range m.Entries {
		e := &m.Entries[i]
		det.That(e.Index == r.applied+1, "replica: entries are applied in order, each once")
		r.applied = e.Index
		n := r.log.note(e.Index)
		if start, ok := startOf(e); ok && start > r.floor {
			det.That(start <= n.end, "I17: the log start is at or below the high watermark")
			r.floor = start
			r.epochs.trim(start)
		}
		r.decided(e)
		if n.batch {
			r.ps.fold(&n.stub)
			if o := r.cfg.Observer; o != nil {
				o.Producers(r.cfg.Node, r.cfg.Group, core.Index(e.Index), r.ps.digest())
			}
		}
		if o := r.cfg.Observer; o != nil {
			o.Applied(r.cfg.Node, r.cfg.Group, core.Index(e.Index), core.Term(e.Term), hashEntry(e), n.stub.Base, n.stub.Count)
		}
		if e.Type != raftpb.EntryNormal {
			r.applyConf(e)
		}
	}
	for i := range m.Responses {
		_ = r.rn.Step(m.Responses[i])
	}
	r.feedIndex()
	r.markProgress()
	r.trim()
}

func hashEntry(e *raftpb.Entry) det.Hash {
	return det.Hash(0).U64(e.Index).U64(e.Term).Bytes(e.Data)
}

func (r *Replica) observeAppend(e *raftpb.Entry) {
	if o := r.cfg.Observer; o != nil {
		o.Appended(r.cfg.Node, r.cfg.Group, core.Index(e.Index), core.Term(e.Term), hashEntry(e))
	}
}
