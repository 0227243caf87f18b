package workload

import (
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/wire"
)

// drifter is a member that does not stay: it leaves with a word, vanishes without one, stalls for
// longer than its session and goes on as if nothing had happened, and returns.
type drifter struct {
	*member
	moodAt core.Mono // when its mood changes
	until  core.Mono // away or stalled
}

var driftLoad = kindOfLoad{
	name: "drifters", most: 32, about: "members of the group that come, leave, vanish, stall and return",
	draw: sometimes(2, 1, 2),
	start: func(f *Fleet, n int) {
		for range n {
			m := newMember(f.base(), "group-0")
			f.add(&drifter{member: m, moodAt: f.env.Now() + core.Mono(m.rng.Between(500, 4000))*core.Millisecond})
		}
	},
}

func (d *drifter) poll(now core.Mono) core.Mono {
	if now < d.until {
		return d.until
	}
	if now >= d.moodAt {
		d.change(now)
		return max(d.until, now+core.Millisecond)
	}
	return min(d.moodAt, d.member.poll(now))
}

func (d *drifter) change(now core.Mono) {
	d.moodAt = now + core.Mono(d.rng.Between(2000, 9000))*core.Millisecond
	away := core.Mono(d.rng.Between(300, 8000)) * core.Millisecond
	d.f.Counts.Drifts++
	switch d.rng.N(4) {
	case 0: // leaves
		if d.stage >= syncing && !d.busy {
			d.leave()
		}
		d.until = now + away
	case 1: // vanishes, and comes back as somebody else
		for _, s := range d.sessions {
			if s != nil {
				s.gone(true)
			}
		}
		d.id = ""
		d.again(seeking)
		d.until = now + away
	case 2: // stalls: what arrives meanwhile waits for it
		d.until = now + away
	}
	d.moodAt = max(d.moodAt, d.until+core.Second)
}

func (d *drifter) leave() {
	req := wire.LeaveGroupRequest{GroupId: d.group, Members: []wire.LeaveGroupRequestMember{{MemberId: d.id}}}
	d.call(wire.KeyLeaveGroup, 4, &req, func(resp wire.Message) {
		d.count(resp.(*wire.LeaveGroupResponse).ErrorCode)
		d.id = ""
		d.again(joining)
	})
}
