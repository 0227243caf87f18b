package workload

import (
	"fmt"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/wire"
)

// drifter is a member that does not stay: it leaves with a word, vanishes without one, stalls for
// longer than its session and goes on as if nothing had happened, and returns.
type drifter struct {
	*member
	moodAt core.Mono   // when its mood changes
	until  core.Mono   // away or stalled
	in     int32       // the generation that it consumed in last
	late   *committing // of that one, and not sent yet
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
	if d.stage == consuming && !d.busy && d.gen != d.in {
		d.begins()
	}
	return min(d.moodAt, d.member.poll(now))
}

// begins is called when it has its partitions of a new generation. Now and then it still wants to commit what it had read in the one before:
// a coordinator must not let it.
func (d *drifter) begins() {
	d.in = d.gen
	if late := d.late; late != nil {
		d.late = nil
		d.f.Counts.Late++
		d.commit(late, func(r *wire.OffsetCommitResponse) {
			for _, t := range r.Topics {
				for _, p := range t.Partitions {
					d.count(p.ErrorCode)
				}
			}
		})
		return
	}
	if len(d.mine) > 0 && d.rng.Chance(1, 2) {
		d.commits++
		d.late = &committing{group: d.group, member: d.id, generation: d.gen, token: fmt.Sprint(d.base.id, ".", d.commits),
			parts: []wire.OffsetCommitRequestPartition{{PartitionIndex: d.mine[0], CommittedOffset: int64(d.fetcher.at[d.mine[0]])}}}
	}
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
