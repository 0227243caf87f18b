package api

import (
	"strconv"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/config"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/meta"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/wire"
)

// Desk is what the connections of one shard share: fetch sessions, waits for leaders, and what was
// worked out of the current View.
type Desk struct {
	w        wire.Writer
	sessions sessions
	leaders  map[core.GroupID][]*await   //det:ok looked up, never ranged
	gaveUp   map[core.GroupID]core.Term  //det:ok looked up, never ranged
	view     *meta.View                  // that the following was worked out of
	rules    map[*meta.Topic]*topicRules //det:ok looked up, never ranged
	fetchMax int64                       // bytes of one Fetch answer
	slots    int64                       // for fetch sessions of the node
	presses  presses
}

// NewDesk makes the desk of one of the shards of a node; shards is how many there are.
func NewDesk(shard core.ShardID, shards int) *Desk {
	d := &Desk{leaders: map[core.GroupID][]*await{}, gaveUp: map[core.GroupID]core.Term{}}
	d.sessions.init(shard, shards)
	d.presses.most = pressBytes / int64(shards)
	return d
}

// topicRules are the settings of a topic that a Produce is judged by.
type topicRules struct {
	config.TopicValues
	after, before int64 // ms that a timestamp may lie ahead of and behind the clock
	keyed         bool  // cleanup.policy has compact: every record needs a key
	inspect       bool  // compressed batches are unpacked and looked into
	codec         record.Codec
	recode        bool // to codec, those that come in another; else as they come
	level         int
}

// refresh forgets what was worked out of an older View: settings are looked up once a View, because a
// lookup allocates and every batch and every fetch asks.
func (d *Desk) refresh(h Host) *meta.View {
	if v := h.View(); v != d.view {
		d.view, d.rules = v, map[*meta.Topic]*topicRules{}
		d.fetchMax = intSetting(h, "fetch.max.bytes")
		d.slots = intSetting(h, "max.incremental.fetch.session.cache.slots")
	}
	return d.view
}

// rulesOf resolves the settings of t.
func (d *Desk) rulesOf(h Host, t *meta.Topic) *topicRules {
	v := d.refresh(h)
	if r := d.rules[t]; r != nil {
		return r
	}
	l := v.Layers(t, h.Node(), h.Static())
	r := &topicRules{TopicValues: l.TopicValues()}
	r.after = longOf(&l, "message.timestamp.after.max.ms")
	r.before = longOf(&l, "message.timestamp.before.max.ms")
	r.keyed = hasElement(textOf(&l, "cleanup.policy"), "compact")
	r.inspect = r.keyed || !r.LogAppendTime && !(isDefault(&l, "message.timestamp.before.max.ms") &&
		isDefault(&l, "message.timestamp.after.max.ms"))
	r.compression(&l)
	d.rules[t] = r
	return r
}

// compression resolves compression.type and the level that goes with it.
func (r *topicRules) compression(l *config.Layers) {
	name := textOf(l, "compression.type")
	r.recode = true
	switch name {
	case "uncompressed":
		r.codec = record.None
	case "gzip":
		r.codec = record.Gzip
	case "snappy":
		r.codec = record.Snappy
		return
	case "lz4":
		r.codec = record.LZ4
	case "zstd":
		r.codec = record.Zstd
	default: // producer
		r.recode = false
	}
	if r.codec != record.None {
		r.level = int(longOf(l, "compression."+name+".level"))
	}
}

// zstd says whether the topic's batches may be zstd's without their producers having said so.
func (r *topicRules) zstd() bool { return r.recode && r.codec == record.Zstd }

// terms are what the topic asks of records that come now.
func (r *topicRules) terms(now core.Wall) record.Terms {
	return record.Terms{Keyed: r.keyed, AppendTime: r.LogAppendTime, Now: now, Before: r.before, After: r.after}
}

// isDefault says whether a topic key has the value of the table, wherever it comes from.
func isDefault(l *config.Layers, name string) bool {
	k, ok := config.LookupTopic(name)
	det.That(ok, "api: asks for a key of the table")
	return l.TopicValue(k).Value == k.Default
}

func textOf(l *config.Layers, name string) string {
	k, ok := config.LookupTopic(name)
	det.That(ok, "api: asks for a key of the table")
	return l.TopicValue(k).Value
}

func longOf(l *config.Layers, name string) int64 {
	n, err := strconv.ParseInt(textOf(l, name), 10, 64)
	det.That(err == nil, "api: stored values were parsed")
	return n
}

func hasElement(list, e string) bool {
	for list != "" {
		head := list
		if i := indexByte(list, ','); i >= 0 {
			head, list = list[:i], list[i+1:]
		} else {
			list = ""
		}
		if head == e {
			return true
		}
	}
	return false
}

func indexByte(s string, c byte) int {
	for i := 0; i < len(s); i++ {
		if s[i] == c {
			return i
		}
	}
	return -1
}

// intSetting is an effective broker setting that is a number.
func intSetting(h Host, key string) int64 {
	n, err := strconv.ParseInt(h.Setting(key), 10, 64)
	det.That(err == nil, "api: a number setting is a number")
	return n
}

// live are the brokers that are not suspect, for placing replicas.
func live(h Host) []core.NodeID {
	var out []core.NodeID
	v := h.View()
	for i := range v.Brokers {
		if b := &v.Brokers[i]; b.ID == h.Node() || !h.Suspect(b.ID) {
			out = append(out, b.ID)
		}
	}
	return out
}

// endpoint is where a client that came through this connection reaches b; false when b has no listener
// of that name.
func (c *Conn) endpoint(b *meta.Broker) (host string, port int32, ok bool) {
	for _, l := range b.Listeners {
		if l.Name != c.listener {
			continue
		}
		host, port = l.Host, int32(l.Port)
		if host == "" {
			host = c.host
		}
		if port == 0 {
			port = c.port
		}
		return host, port, true
	}
	return "", 0, false
}

// reachable is endpoint for a node that is believed alive.
func (c *Conn) reachable(n core.NodeID) (host string, port int32, rack *string, ok bool) {
	b := c.h.View().Broker(n)
	if b == nil || n != c.h.Node() && c.h.Suspect(n) {
		return "", 0, nil, false
	}
	host, port, ok = c.endpoint(b)
	return host, port, rackOf(b), ok
}

func rackOf(b *meta.Broker) *string {
	if b.Rack == "" {
		return nil
	}
	return &b.Rack
}

// controller is whom admin clients are sent to. Every node forwards: without a leader it is this one.
func (c *Conn) controller() core.NodeID {
	n := c.h.Controller()
	if _, _, _, ok := c.reachable(n); !ok {
		return c.h.Node()
	}
	return n
}
