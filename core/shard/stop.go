package shard

import (
	"slices"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
)

// stopping is the end of a shard: leaderships are handed over while others stay, then what is in the
// journal is sealed.
//
//	asked ──every led group transferred, or nobody can take it, or time is up──▶ sealing ──durable──▶ Stopped
type stopping struct {
	asked   bool
	sealing bool
	done    bool
	again   det.Timer
	until   core.Mono
}

const (
	handOverFor = 1500 * core.Millisecond
	handOverTry = 20 * core.Millisecond
)

func (s *Shard) beginStop() {
	if s.stop.asked {
		return
	}
	s.stop.asked = true
	s.stop.until = s.now.Mono + handOverFor
	s.stop.again.Fire = func(int64) { s.stopProgress() }
	for _, g := range s.groups.Keys() {
		h := s.groups.At(g)
		s.guard(h, func() { h.r.Transfer() })
		if h.r.Handing() {
			s.Changed(h.r)
		}
	}
	s.timers.Arm(&s.stop.again, int64(s.now.Mono))
}

func (s *Shard) stopProgress() {
	st := &s.stop
	if !st.asked || st.done {
		return
	}
	if !st.sealing {
		if s.now.Mono < st.until {
			for _, g := range s.groups.Keys() {
				if h := s.groups.At(g); h.r.Leads() && h.r.Handing() {
					s.timers.Arm(&st.again, int64(s.now.Mono+handOverTry))
					return
				}
			}
		}
		st.sealing = true
		for _, g := range s.groups.Keys() {
			h := s.groups.At(g)
			s.guard(h, h.r.Rest)
		}
		for _, v := range s.vols {
			s.sealGroups(v)
			v.jrn.Seal()
			v.sealTo = v.jrn.Seq() + 1
		}
	}
	if !slices.ContainsFunc(s.vols, func(v *volume) bool { return !v.jrn.Broken() && v.jrn.Durable() < v.sealTo }) {
		st.done = true
		s.fx.Add(core.Effect{Kind: core.Stopped})
		return
	}
	s.timers.Arm(&st.again, int64(s.now.Mono+handOverTry))
}

// Abandon releases the memory that the shard holds: the process, or its simulation, ends. No step
// follows.
func (s *Shard) Abandon() {
	s.fx = &core.Effects{}
	for _, id := range append([]core.ConnID(nil), s.conns.Keys()...) {
		s.connClosed(&core.Event{Conn: id})
	}
	for _, g := range s.groups.Keys() {
		s.groups.At(g).r.Abandon()
	}
	for len(s.stalled) > 0 {
		f := s.stalled[0]
		s.stalled = s.stalled[1:]
		f.let() // its replica is closed: the batch is released
	}
	for _, v := range s.vols {
		v.jrn.Abandon()
	}
	s.disk.abandon()
	for i := range s.fx.List {
		s.fx.Release(&s.fx.List[i])
	}
}
