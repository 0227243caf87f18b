package workload

import (
	"fmt"
	"slices"
	"sort"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/wire"
)

// retainer is a trimmer whose topic keeps little and not for long: records for a second or so, or some hundred
// kilobytes of them, in segments that age closes. It has a policy of its own in its head (A26). No record may be
// gone that neither DeleteRecords nor any setting that it ever asked for wants gone, by the clock of any node;
// and when it has written for the last time all of the log must go.
type retainer struct {
	*trimmer
	pos    int64     // where it reads on
	final  bool      // the last setting was taken
	over   bool      // nothing is left, as must be, or the clocks do not allow it
	since  core.Mono // all nodes' clocks agree that all is too old; 0: they do not yet
	asked  core.Mono // when the last phase began
	begins int64
}

// keeping is what a retainer knows of its topic's settings and records.
type keeping struct {
	ms, bytes, policy, age, jitter string // at the creation
	leastMs, leastBytes            int64  // of all that were asked for; -1: no limit
	deletes                        bool
	slow                           int64       // Config.Sparse, or 1
	dates                          []core.Wall // by number of batch
	sizes                          []int64
	total                          int64 // of sizes
	newest                         core.Wall
	offsets                        []int64         // acknowledged, sorted
	numbers                        map[int64]int64 // by offset; looked up
	passed                         int             // so many of offsets may be gone
	before                         int64           // their bytes
}

const (
	retainedFor = 1000 // ms, in the end
	// retainWithin is how long a cluster that is well may keep what its clocks say is too old: the interval at
	// which it looks (see Retains), elections, and a lot of patience.
	retainWithin = 30 * core.Second
	retainAhead  = 1500 * core.Millisecond // the latest date is so far in the future
	retainGiveUp = 15 * core.Second        // a clock that is hours behind is not waited for
)

var retainLoad = kindOfLoad{
	name: "retainers", most: 16, about: "clients that append to topics of their own which keep records for a second, or few of them",
	later: sometimes(3, 1, 2),
	start: func(f *Fleet, n int) {
		for range n {
			b := f.base()
			t := &trimmer{base: b, topic: fmt.Sprint("keep-", b.id), acked: map[int64]int64{}, last: -1}
			pick := func(from ...string) string { return from[b.rng.N(int64(len(from)))] }
			t.delay = pick("0", "100", "1000")
			k := &keeping{slow: max(1, f.cfg.Sparse), ms: f.spread(pick("1000", "1000", "3000", "-1")), bytes: pick("-1", "-1", "0", "300000", "1000000"), numbers: map[int64]int64{},
				policy: pick("delete", "delete", "delete", ""), age: f.spread(pick("50", "300", "1000", "604800000")), jitter: f.spread(pick("0", "0", "200"))}
			k.leastMs, k.leastBytes, k.deletes = -1, -1, k.policy != ""
			k.asks("retention.ms", k.ms)
			k.asks("retention.bytes", k.bytes)
			t.keeps = k
			x := &retainer{trimmer: t}
			f.retainers = append(f.retainers, x)
			f.add(x)
		}
	},
}

// Retains says whether loads have topics that keep little: then nodes look for what is too old five times a second.
func Retains(loads []Load) bool {
	return slices.ContainsFunc(loads, func(l Load) bool { return l.Kind == retainLoad.name })
}

func (k *keeping) configs() []wire.CreateTopicsRequestConfig {
	never := "9223372036854775807"
	return []wire.CreateTopicsRequestConfig{{Name: "retention.ms", Value: &k.ms}, {Name: "retention.bytes", Value: &k.bytes},
		{Name: "cleanup.policy", Value: &k.policy}, {Name: "segment.ms", Value: &k.age}, {Name: "segment.jitter.ms", Value: &k.jitter},
		{Name: "message.timestamp.after.max.ms", Value: &never}}
}

// asks remembers a setting that is about to be asked for.
func (k *keeping) asks(key, value string) {
	var v int64
	if fmt.Sscan(value, &v); v < 0 {
		return
	}
	least := &k.leastMs
	if key == "retention.bytes" {
		least = &k.leastBytes
	}
	if *least < 0 || v < *least {
		*least = v
	}
}

// date is the timestamp of the next record.
func (k *keeping) date(rng *det.Rand, now core.Wall) core.Wall {
	switch rng.N(8) {
	case 0:
		return now - core.Wall(rng.N(5000)*k.slow)
	case 1:
		return now + core.Wall(rng.N(1500)*k.slow)
	}
	return now
}

func (k *keeping) sends(number int64, at core.Wall, size int64) {
	k.dates, k.sizes = append(k.dates, at), append(k.sizes, size)
	k.total += size
	k.newest = max(k.newest, at)
}

// took tells of a batch that was acknowledged at an offset.
func (k *keeping) took(offset, number int64) {
	i := sort.Search(len(k.offsets), func(i int) bool { return k.offsets[i] >= offset })
	if i < k.passed { // its answer came late
		k.passed, k.before = 0, 0
	}
	k.offsets = slices.Insert(k.offsets, i, offset)
	k.numbers[offset] = number
}

// most is the first acknowledged offset from trimmed on that nothing allows to be gone; end, when all may. What lies
// below trimmed may be gone whatever its age, and where it is, retention goes on from there.
func (k *keeping) most(env Env, trimmed, end int64) int64 {
	_, latest := env.Clocks()
	for ; k.passed < len(k.offsets); k.passed++ {
		n := k.numbers[k.offsets[k.passed]]
		old := k.deletes && k.leastMs >= 0 && latest-k.dates[n] > core.Wall(k.leastMs)
		left := k.total - k.before - k.sizes[n] // at most so much was there when it went
		if k.offsets[k.passed] >= trimmed && !old && !(k.deletes && k.leastBytes >= 0 && left >= k.leastBytes) {
			return k.offsets[k.passed]
		}
		k.before += k.sizes[n]
	}
	return end
}

func (x *retainer) poll(now core.Mono) core.Mono {
	switch {
	case !x.f.stopped:
		if x.made && x.known && !x.busy && now >= x.at && x.reachable(x.leader, now) && x.rng.Chance(1, 4) {
			x.at = now + x.f.slowly(core.Mono(x.rng.Between(30, 250))*core.Millisecond)
			if x.rng.Chance(1, 3) {
				x.retune()
			} else {
				x.follow()
			}
			return core.Never
		}
		return x.trimmer.poll(now)
	case x.busy || x.over || x.f.final == nil:
		return core.Never // ReadBack wakes it
	case x.asked > 0 && now < x.at:
		return x.at
	}
	x.at = now + x.f.stretched(100*core.Millisecond, waitsLonger)
	if x.asked == 0 {
		x.asked = now
	}
	if !x.made {
		x.over = true // there is no topic, as far as it knows
		return core.Never
	}
	x.settle(now)
	return core.Never
}

// follow reads on where it is, as a consumer does; when that is gone, at the beginning.
func (x *retainer) follow() {
	at := x.pos
	x.fetch(at, func(p *wire.FetchResponsePartition) {
		switch {
		case x.bad(p.ErrorCode):
			if p.ErrorCode != wire.OffsetOutOfRange {
				return
			}
			x.list(-2, func(start int64) {
				if start <= at && at <= x.last+1 {
					x.doubt(fmt.Sprintf("offset %d is out of range, but the log starts at %d", at, start))
				}
				if start > at {
					x.f.Counts.Skips++
				}
				x.pos = start
			})
		case at < x.low:
			x.doubt(fmt.Sprintf("offset %d is served below the log start %d", at, x.low))
		default:
			x.pos = max(x.pos, x.judge(p.Records.Bytes()))
		}
	})
}

// retune changes a setting.
func (x *retainer) retune() {
	key, value := "retention.ms", x.f.spread([...]string{"1000", "2000", "-1"}[x.rng.N(3)])
	if x.rng.Chance(1, 2) {
		key, value = "retention.bytes", [...]string{"0", "200000", "2000000", "-1"}[x.rng.N(4)]
	}
	x.alter(x.leader, func(wire.Error) {}, key, value)
}

func (x *retainer) alter(n core.NodeID, done func(wire.Error), kvs ...string) {
	req := wire.IncrementalAlterConfigsRequest{Resources: []wire.IncrementalAlterConfigsRequestResource{{ResourceType: 2, ResourceName: x.topic}}}
	for i := 0; i < len(kvs); i += 2 {
		x.keeps.asks(kvs[i], kvs[i+1])
		req.Resources[0].Configs = append(req.Resources[0].Configs, wire.IncrementalAlterConfigsRequestConfig{Name: kvs[i], Value: &kvs[i+1]})
	}
	x.send(n, wire.KeyIncrementalAlterConfigs, 1, &req, func(m wire.Message) {
		if r := m.(*wire.IncrementalAlterConfigsResponse); len(r.Responses) == 1 {
			x.bad(r.Responses[0].ErrorCode)
			done(r.Responses[0].ErrorCode)
		}
	})
}

// settle sees to it that the topic keeps nothing for longer than a second, and that this is what happens.
func (x *retainer) settle(now core.Mono) {
	earliest, _ := x.f.env.Clocks()
	switch old := earliest-x.keeps.newest > retainedFor; {
	case !old && now-x.asked > retainGiveUp+retainAhead*core.Mono(x.keeps.slow-1):
		x.over = true // a clock was set back, and the records stay until it has caught up
		return
	case !old:
		x.since = 0
	case x.since == 0 && x.final:
		x.since = now
	case x.final && now-x.since > retainWithin+2*RetentionCheck(x.f.cfg.Loads, x.f.cfg.Sparse):
		x.f.env.Fail("A26", fmt.Sprintf("%s: retention.ms is %d, the newest record is %d ms old by all clocks, and the log still begins at %d",
			x.topic, retainedFor, earliest-x.keeps.newest, x.begins))
	}
	n, ok := x.any(now)
	switch {
	case !ok:
	case !x.final:
		x.alter(n, func(e wire.Error) {
			if x.final = e == wire.None; x.final {
				x.keeps.deletes = true
			}
		}, "retention.ms", fmt.Sprint(retainedFor), "cleanup.policy", "delete")
		x.keeps.deletes = true
	case !x.known || !x.reachable(x.leader, now):
		x.look(n)
	default:
		x.ends()
	}
	if !ok {
		x.f.wakeAt(x.id, x.at)
	}
}

// ends asks where the log begins, then where it ends: the second answer is proved to come from the leader.
func (x *retainer) ends() {
	x.list(-2, func(start int64) {
		x.begins = start
		x.list(-1, func(end int64) {
			if most := x.most(); start < x.low || start > most {
				x.f.env.Fail("A26", fmt.Sprintf("%s: in the end the log starts at %d, which must be in [%d, %d]", x.topic, start, x.low, most))
			}
			x.low = max(x.low, start)
			if end <= x.last {
				x.f.env.Fail("A26", fmt.Sprintf("%s: the log ends at %d, but offset %d was acknowledged", x.topic, end, x.last))
			}
			if start == end {
				x.over = true
				x.f.Counts.Emptied++
			}
		})
	})
}
