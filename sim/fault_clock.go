package sim

import "github.com/karst-stream/karst/core"

// clock is what is wrong with a node's wall clock. Its monotonic clock is that of the world.
type clock struct {
	off    core.Wall
	ppm    int64
	since  core.Mono // of the drift
	frozen core.Wall // 0: it goes
}

func (c *clock) wall(now core.Mono) core.Wall {
	if c.frozen != 0 {
		return c.frozen
	}
	t := wallStart + core.Wall(now/core.Millisecond) + c.off
	if c.ppm != 0 {
		t += core.Wall(int64((now-c.since)/core.Millisecond) * c.ppm / 1e6)
	}
	return t
}

func init() {
	const day = 24 * 3600 * 1000
	on := func(f func(c *clock, w *World, n int64)) func(*World, *Fault) bool {
		return func(w *World, x *Fault) bool {
			f(&w.nodes[x.Node].clock, w, x.N)
			return true
		}
	}
	specs[ClockSkew] = spec{name: "clock-skew", node: true, span: true, n: "milliseconds", lo: -day, hi: day,
		begin: on(func(c *clock, _ *World, n int64) { c.off += core.Wall(n) }),
		end:   func(w *World, f *Fault) { w.nodes[f.Node].clock.off -= core.Wall(f.N) }}
	specs[ClockJump] = spec{name: "clock-jump", node: true, n: "milliseconds", lo: -day, hi: day,
		begin: on(func(c *clock, _ *World, n int64) { c.off += core.Wall(n) })}
	specs[ClockDrift] = spec{name: "clock-drift", node: true, span: true, n: "millionths", lo: -100000, hi: 100000,
		begin: on(func(c *clock, w *World, n int64) { c.ppm, c.since = n, w.now }),
		end:   func(w *World, f *Fault) { w.nodes[f.Node].clock.ppm = 0 }}
	specs[ClockFreeze] = spec{name: "clock-freeze", node: true, span: true,
		begin: on(func(c *clock, w *World, _ int64) { c.frozen = c.wall(w.now) }),
		end:   func(w *World, f *Fault) { w.nodes[f.Node].clock.frozen = 0 }}
}
