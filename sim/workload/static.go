package workload

import (
	"fmt"

	"github.com/karst-stream/karst/core"
)

// static is a member of a group of its own kind with a name that outlives its process (KIP-345): it dies
// without a word and is back, as somebody new under the same name, before or after its session ended.
// What the old process had asked for last is still on its way then, and must be fenced.
type static struct {
	*member
	moodAt core.Mono
	until  core.Mono // away
}

var staticLoad = kindOfLoad{
	name: "statics", most: 32, about: "static members of a second group, whose processes are replaced",
	draw: sometimes(3, 2, 3),
	start: func(f *Fleet, n int) {
		for i := range n {
			m := newMember(f.base(), "group-1")
			name := fmt.Sprint("static-", i)
			m.instance = &name
			f.add(&static{member: m, moodAt: f.env.Now() + core.Mono(m.rng.Between(1500, 6000))*core.Millisecond})
		}
	},
}

func (s *static) poll(now core.Mono) core.Mono {
	if now < s.until {
		return s.until
	}
	if now >= s.moodAt {
		s.replaced(now)
		return max(s.until, now+core.Millisecond)
	}
	return min(s.moodAt, s.member.poll(now))
}

// replaced ends the process. What it had asked for is on its way.
func (s *static) replaced(now core.Mono) {
	s.f.Counts.Drifts++
	for _, x := range s.sessions {
		if x != nil {
			x.gone(true)
		}
	}
	s.id = ""
	s.again(seeking)
	s.until = now + core.Mono(s.rng.Between(20, 2000))*core.Millisecond
	if s.rng.Chance(1, 5) {
		s.until = now + core.Mono(s.rng.Between(5000, 9000))*core.Millisecond // its session ends
	}
	s.moodAt = s.until + core.Mono(s.rng.Between(1500, 6000))*core.Millisecond
}
