package replica

import (
	"slices"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
)

// Whose turn it is to lead. raft draws its election timeouts from the system's entropy; that draw is
// never consulted: only leaders Tick, followers age their lease by hand (TickQuiesced) and campaign
// when a deadline of ours, from a seeded stream, has come.
//
//	leader awake ──idle──▶ Sleep told ──all live voters Slept──▶ leader asleep
//	follower     ──Sleep at (term, last = commit)──▶ asleep ──any raft message, suspicion──▶ awake
//	follower awake, leader silent for 1-2 s or its node suspect ──deadline──▶ campaign

const (
	silentAfter    = core.Second            // an awake voter gives up a leader that is silent for this long
	silentDraw     = core.Second            // ... plus a draw up to this
	leaderlessDraw = 400 * core.Millisecond // when none is known
	bornAfter      = 500 * core.Millisecond // so long the voters of a new group leave it to the preferred one
	bornDraw       = 500 * core.Millisecond // ... plus a draw up to this
	suspectDraw    = 150 * core.Millisecond // after suspicion of the leader's node
	standsBack     = core.Second            // so long a voter that clients do not reach leaves it to others
	retryBase      = 120 * core.Millisecond // between two campaigns
	retryDraw      = 240 * core.Millisecond
	deadRetry      = 2 * core.Second        // ... of a voter that hears of no majority, see deserted
	eagerRetry     = 20 * core.Millisecond  // ... of the preferred voter of a new group, which the others may not
	eagerTries     = 10                     // have heard of yet, and so often
	askFor         = 500 * core.Millisecond // for agreement, without heartbeats
	idleFor        = 300 * core.Millisecond // without work before a leader proposes sleep
)

var (
	markSlept    = det.NewMark("replica: a group fell asleep")
	markWoke     = det.NewMark("replica: a sleeping group woke")
	markCampaign = det.NewMark("replica: a deadline came and a voter campaigned")
	markDeserted = det.NewMark("replica: a voter did not campaign, it hears of no majority")
	markStood    = det.NewMark("replica: a voter that clients do not reach left the election to others")
)

// deadline sets when this voter gives up on its leader.
func (r *Replica) deadline() {
	t := r.h.Timers()
	switch {
	case r.offline != "" || !r.awake:
		t.Stop(&r.elect)
		t.Stop(&r.tick)
	case r.leads:
		t.Stop(&r.elect)
		if !r.tick.Armed() {
			t.Arm(&r.tick, int64(r.h.Now().Mono+tickEvery))
		}
	case r.lead == 0 && r.newborn():
		t.Stop(&r.tick)
		t.Arm(&r.elect, int64(r.h.Now().Mono+bornAfter)+r.rng.N(int64(bornDraw)))
	case r.lead == 0:
		// Nobody is known to lead, as after a boot. Where somebody does, his voters' leases refuse us.
		t.Stop(&r.tick)
		t.Arm(&r.elect, int64(r.h.Now().Mono)+r.rng.N(int64(leaderlessDraw)))
	default:
		t.Stop(&r.tick)
		t.Arm(&r.elect, int64(r.h.Now().Mono+silentAfter)+r.rng.N(int64(silentDraw)))
	}
}

// putOff gives the candidate that got our vote time to win.
func (r *Replica) putOff() {
	if !r.leads && r.awake {
		r.h.Timers().Arm(&r.elect, int64(r.h.Now().Mono+retryBase)+r.rng.N(int64(retryDraw)))
	}
}

// LeaderLost draws a short deadline: the leader's node is suspect, or said that it stops leading.
func (r *Replica) LeaderLost() {
	if r.leads || r.offline != "" || r.opening > 0 || !r.began {
		return
	}
	markLost.Hit()
	r.awake = true
	r.heard = -1 << 60
	r.h.Timers().Arm(&r.elect, int64(r.h.Now().Mono)+r.rng.N(int64(suspectDraw)))
	r.h.Dirty(r)
}

// Prefer makes the preferred replica of a new group campaign at once.
func (r *Replica) Prefer() {
	if r.leads || r.offline != "" {
		return
	}
	r.prefer = true
	r.runPreferred()
}

func (r *Replica) runPreferred() {
	if r.prefer && r.began && r.opening == 0 && r.offline == "" {
		r.prefer = false
		if r.lead == 0 && r.newborn() {
			r.eager = eagerTries
			r.campaign()
		}
	}
}

// newborn says that nobody has led this group yet, as far as this voter knows.
func (r *Replica) newborn() bool { return r.term <= 1 && r.log.last() <= 1 }

func (r *Replica) onTick(int64) {
	if r.offline != "" || !r.awake || !r.leads {
		return
	}
	if !r.asking() { // a heartbeat would wake those who have agreed to sleep
		r.rn.Tick()
	}
	r.offer()
	r.round()
	if r.handing > 0 && r.h.Now().Mono > r.handing {
		markHandedBack.Hit()
		r.handing = 0
		r.h.Changed(r) // it is we who lead, after all
	}
	r.h.Timers().Arm(&r.tick, int64(r.h.Now().Mono+tickEvery))
	r.h.Dirty(r)
}

func (r *Replica) onElect(int64) {
	if r.offline != "" || r.leads || !r.awake {
		return
	}
	if r.resigned = r.deserted() || r.lame(); r.resigned {
		markDeserted.Hit()
		r.h.Timers().Arm(&r.elect, int64(r.h.Now().Mono+deadRetry)+r.rng.N(int64(retryDraw)))
		return
	}
	if r.outranked() {
		now := r.h.Now().Mono
		if r.stood == 0 {
			markStood.Hit()
			r.stood = now
		}
		if now-r.stood < standsBack { // then nobody else can: its log may be the only one that is complete
			r.h.Timers().Arm(&r.elect, int64(now+retryBase)+r.rng.N(int64(retryDraw)))
			return
		}
	}
	r.campaign()
}

// deserted says that so many voters are suspect that a candidate would get no majority: no answer of theirs could come
// without ending the suspicion. A node that is cut off for hours does not campaign in each of its groups all the time.
func (r *Replica) deserted() bool {
	for _, half := range [2][]uint64{r.log.conf.Voters, r.log.conf.VotersOutgoing} {
		near := 0
		for _, v := range half {
			if n := core.RaftID(v).Node(); n == r.cfg.Node || !r.h.Suspect(n) {
				near++
			}
		}
		if len(half) > 0 && near <= len(half)/2 {
			return true
		}
	}
	return false
}

func (r *Replica) campaign() {
	markCampaign.Hit()
	r.heard = -1 << 60
	r.ageLease()
	_ = r.rn.Campaign() // refused while a membership change is pending; the next deadline tries again
	r.awake = true
	if r.eager > 0 {
		r.eager--
		r.h.Timers().Arm(&r.elect, int64(r.h.Now().Mono+eagerRetry))
	} else {
		r.h.Timers().Arm(&r.elect, int64(r.h.Now().Mono+retryBase)+r.rng.N(int64(retryDraw)))
	}
	r.h.Dirty(r)
}

// ageLease lets raft's lease run out once the leader has been silent for its length: a voter in a
// lease ignores candidates (raft thesis, 6.4.1).
func (r *Replica) ageLease() {
	if r.leads || r.h.Now().Mono-r.heard < silentAfter && !(r.lead != 0 && r.h.Suspect(r.lead.Node())) {
		return
	}
	for range electionTicks {
		r.rn.TickQuiesced()
	}
}

// wake ends the sleep of this replica.
func (r *Replica) wake() {
	r.idleAt = 0
	r.slept = r.slept[:0]
	if r.awake || !r.began {
		return
	}
	markWoke.Hit()
	r.awake = true
	r.heard = r.h.Now().Mono
	r.deadline()
	if r.leads {
		r.h.Timers().Arm(&r.tick, int64(r.h.Now().Mono+tickEvery))
	}
}

// idle says that nothing is pending: every live voter matches last = commit = applied.
func (r *Replica) idle() bool {
	last := r.log.last()
	if !r.ready || r.commit != last || r.applied != last || r.complete < last || len(r.appends) > 0 ||
		len(r.waits)+len(r.ones)+len(r.props)+len(r.reads) > 0 || r.handing > 0 || r.syncing > 0 || r.changing() {
		return false
	}
	for i := range r.match {
		if m := &r.match[i]; (m.index != last || r.lacks(m)) && !r.h.Suspect(m.id.Node()) {
			return false
		}
	}
	return true
}

// maySleep tells the voters to sleep once the group has been idle for long enough.
func (r *Replica) maySleep() {
	if !r.leads || !r.awake {
		return
	}
	if !r.idle() {
		r.idleAt = 0
		return
	}
	now := r.h.Now().Mono
	if r.idleAt == 0 {
		r.idleAt = now
		r.slept = r.slept[:0]
		return
	}
	if now-r.idleAt < idleFor {
		return
	}
	if now-r.idleAt > idleFor+askFor {
		r.idleAt = now // somebody does not agree: beat on, and ask again later
		r.slept = r.slept[:0]
		return
	}
	c := Control{Kind: Sleep, Term: r.term, Index: core.Index(r.log.last())}
	all := true
	for i := range r.match {
		id := r.match[i].id
		if id == r.cfg.ID || r.h.Suspect(id.Node()) || slices.Contains(r.slept, id) {
			continue
		}
		all = false
		r.h.Tell(id.Node(), r.cfg.Group, c)
	}
	if all {
		r.fallAsleep()
	}
}

// asking says that this leader is collecting agreement to sleep.
func (r *Replica) asking() bool {
	return r.idleAt > 0 && r.h.Now().Mono-r.idleAt >= idleFor && r.idle()
}

func (r *Replica) fallAsleep() {
	markSlept.Hit()
	r.awake = false
	r.deadline()
	r.flushFill()
}

func (r *Replica) askedToSleep(from core.NodeID, c Control) {
	last := r.log.last()
	if r.leads || c.Term != r.term || r.lead == 0 || r.lead.Node() != from || uint64(c.Index) != last || r.commit != last ||
		r.complete < last || len(r.appends) > 0 {
		return
	}
	r.h.Tell(from, r.cfg.Group, Control{Kind: Slept, Term: r.term, Index: c.Index})
	if r.awake {
		r.fallAsleep()
	}
}

func (r *Replica) confirmedSleep(from core.NodeID, c Control) {
	if !r.leads || c.Term != r.term || uint64(c.Index) != r.log.last() || !r.awake {
		return
	}
	for i := range r.match {
		if id := r.match[i].id; id.Node() == from && !slices.Contains(r.slept, id) {
			r.slept = append(r.slept, id)
		}
	}
}
