package api

import (
	"github.com/karst-stream/karst/core"
)

// leaderGrace is how long an answer that would name a dead leader, or none, waits for the next.
const leaderGrace = 500 * core.Millisecond

// led says whether a client that is sent to the leader of g will find it.
func led(h Host, g core.GroupID) bool {
	l := h.Leadership(g)
	return l.Leader != core.NoNode && !l.Dead
}

// await waits for leaders of several groups.
type await struct {
	r    *request
	left int
	over bool // done was called
	done func()
}

// waits says whether somebody still wants to know.
func (a *await) waits() bool { return !a.over && a.r.acting() }

// awaitLeaders calls done when every group has a leader that lives, or after d. It may call it at once.
func (r *request) awaitLeaders(groups []core.GroupID, d core.Mono, done func()) {
	desk, h := r.conn.desk, r.h()
	a := &await{r: r, done: done}
	for _, g := range groups {
		if !led(h, g) {
			a.left++
		}
	}
	if a.left == 0 {
		done()
		return
	}
	markAwaited.Hit()
	r.after(d, func() {
		markInVain.Hit()
		a.over = true
		for _, g := range groups {
			if l := h.Leadership(g); !led(h, g) {
				desk.gaveUp[g] = l.Term
			}
		}
		done()
	})
	for _, g := range groups {
		if !led(h, g) {
			desk.wait(g, a)
		}
	}
}

// freshGrace is how long an admin read waits for the word of the metadata leader. After that it says what
// this node knows: an old answer is of more use than none.
const freshGrace = 500 * core.Millisecond

// fresh calls then once View holds all that was decided before now.
func (r *request) fresh(then func()) {
	over := false
	end := func() {
		if !over && r.acting() {
			over = true
			r.cancel()
			then()
		}
	}
	r.after(freshGrace, func() {
		markOldNews.Hit()
		end()
	})
	r.h().Fresh(func(bool) { end() })
}

// wait has a called when the leadership of g changes. The shard is asked once a group, however many
// requests wait, because what it was asked cannot be taken back.
func (d *Desk) wait(g core.GroupID, a *await) {
	ws, asked := d.leaders[g]
	kept := ws[:0]
	for _, w := range ws {
		if w.waits() {
			kept = append(kept, w)
		}
	}
	clear(ws[len(kept):])
	d.leaders[g] = append(kept, a)
	if asked {
		return
	}
	a.r.h().OnLeadership(g, func() {
		ws := d.leaders[g]
		delete(d.leaders, g)
		for _, w := range ws {
			w.changed(g)
		}
	})
}

func (a *await) changed(g core.GroupID) {
	if !a.waits() {
		return
	}
	if !led(a.r.h(), g) {
		a.r.conn.desk.wait(g, a)
		return
	}
	if a.left--; a.left == 0 {
		a.over = true
		a.r.cancel()
		a.done()
	}
}

// hopeful says whether waiting for a leader of g may help: nobody waited in vain under this term.
func (d *Desk) hopeful(h Host, g core.GroupID) bool {
	l := h.Leadership(g)
	term, tried := d.gaveUp[g]
	if tried && term != l.Term {
		delete(d.gaveUp, g)
		tried = false
	}
	return !tried
}
