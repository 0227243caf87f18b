package api

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/config"
	"github.com/karst-stream/karst/core/coord"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/meta"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/replica"
	"github.com/karst-stream/karst/core/wire"
)

func init() { core.Poison = true }

// world is a shard that does what a transcript says: node 1, whose partitions are lists of batches. It
// prints what the handlers ask of it and every answer, decoded.
type world struct {
	t       *testing.T
	out     strings.Builder
	now     core.Now
	timers  det.Timers
	rand    *det.Rand
	state   *meta.State
	command uint64
	desk    *Desk // of shard 3, to which connections belong unless they say another
	desks   map[core.ShardID]*Desk
	conns   map[string]*Conn
	names   []string // of conns, by id from 1
	asked   map[string]wire.RequestHeader
	corr    int32
	set     map[string]string
	static  []config.KV
	logs    map[core.GroupID]*log
	leads   map[core.GroupID]Leadership
	onLead  map[core.GroupID][]func()
	suspect map[core.NodeID]bool
	hold    map[string]bool
	held    map[string][]func(arg string)
	batches map[string][]byte
	file    []byte // of core.FileID 7: what is cold
	pids    int64
	session int32 // the last that an answer named
	verbose bool  // show more of produced batches
}

// log is a fake partition.
type log struct {
	refs    []logged
	start   core.Offset
	high    core.Offset
	fail    replica.Outcome
	watches map[core.ConnID]func()
	keys    []core.ConnID
}

type logged struct {
	base, end core.Offset
	ref       core.Ref
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, now: core.Now{Mono: core.Second, Wall: 1_000_000}, rand: det.New(1, "api"), state: meta.New("cluster"),
		desk: NewDesk(3, 4), conns: map[string]*Conn{}, asked: map[string]wire.RequestHeader{}, set: map[string]string{},
		logs: map[core.GroupID]*log{}, leads: map[core.GroupID]Leadership{}, onLead: map[core.GroupID][]func(){},
		suspect: map[core.NodeID]bool{}, hold: map[string]bool{}, held: map[string][]func(string){},
		batches: map[string][]byte{}}
	w.desks = map[core.ShardID]*Desk{0: NewDesk(0, 4), 1: NewDesk(1, 4), 2: NewDesk(2, 4), 3: w.desk}
	for id := core.NodeID(1); id <= 3; id++ {
		w.apply(&meta.RegisterBroker{Broker: meta.Broker{ID: id, Incarnation: 1, Rack: "r" + strconv.Itoa(int(id)),
			Listeners: []meta.Listener{{Name: "PLAINTEXT", Port: 9090 + uint16(id)}, {Name: "OUT", Host: "example.org", Port: 9190 + uint16(id)}}}})
	}
	return w
}

func (w *world) printf(format string, args ...any) { fmt.Fprintf(&w.out, format+"\n", args...) }

func (w *world) apply(c meta.Command) meta.Result {
	w.command++
	res, err := w.state.Apply(meta.Encode(meta.Origin{Node: 1, Start: 1, Number: w.command}, c))
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

func (w *world) part(name string) Part {
	i := strings.LastIndexByte(name, '-')
	n, err := strconv.Atoi(name[i+1:])
	t := w.View().Topic(name[:i])
	if err != nil || t == nil {
		w.t.Fatalf("no partition %s", name)
	}
	return Part{t, int32(n)}
}

func (w *world) label(p Part) string { return p.Topic.Name + "-" + strconv.Itoa(int(p.Index)) }

func (w *world) log(g core.GroupID) *log {
	if w.logs[g] == nil {
		w.logs[g] = &log{watches: map[core.ConnID]func(){}}
	}
	return w.logs[g]
}

// later runs f now, or when a transcript settles the oldest call of the kind.
func (w *world) later(kind string, f func(arg string)) {
	if w.hold[kind] {
		w.held[kind] = append(w.held[kind], f)
		return
	}
	f("")
}

func (w *world) settle(kind, arg string) {
	if len(w.held[kind]) == 0 {
		w.t.Fatalf("no %s is held", kind)
	}
	f := w.held[kind][0]
	w.held[kind] = w.held[kind][1:]
	f(arg)
}

var outcomes = []string{"OK", "NotLeader", "UnknownPartition", "StorageError", "NotEnoughReplicas", "TimedOut", "OutOfOrder",
	"Fenced", "Duplicate", "OutOfRange", "NotAvailable", "FencedEpoch", "UnknownEpoch", "Loading", "Policy"}

func (w *world) outcome(s string) replica.Outcome {
	i := slices.Index(outcomes, s)
	if i < 0 {
		w.t.Fatalf("no outcome %q", s)
	}
	return replica.Outcome(i)
}

// The methods of Host.

func (w *world) Now() core.Now           { return w.now }
func (w *world) Node() core.NodeID       { return 1 }
func (w *world) Rand() *det.Rand         { return w.rand }
func (w *world) View() *meta.View        { return w.state.View() }
func (w *world) Static() []config.KV     { return w.static }
func (w *world) Controller() core.NodeID { return 2 }

func (w *world) Setting(key string) string {
	if v, ok := w.set[key]; ok {
		return v
	}
	k, ok := config.LookupBroker(key)
	if !ok {
		w.t.Fatalf("no setting %s", key)
	}
	l := w.View().Layers(nil, 1, w.static)
	return l.BrokerValue(k).Value
}

func (w *world) Leadership(g core.GroupID) Leadership {
	l, ok := w.leads[g]
	if !ok {
		return Leadership{Leader: core.NoNode}
	}
	return l
}

func (w *world) OnLeadership(g core.GroupID, f func()) { w.onLead[g] = append(w.onLead[g], f) }
func (w *world) Suspect(n core.NodeID) bool            { return w.suspect[n] }

func (w *world) lead(g core.GroupID, l Leadership) {
	w.leads[g] = l
	fs := w.onLead[g]
	w.onLead[g] = nil
	for _, f := range fs {
		f()
	}
}

func (w *world) Produce(p Part, batch core.Ref, acks replica.Acks, done func(replica.Result, Leadership)) {
	b := record.Batch(batch.Bytes())
	stamp := ""
	if b.LogAppendTime() {
		stamp = fmt.Sprintf(" stamped %d crc %v", b.MaxTimestamp(), b.CRCValid())
	}
	if b.Codec() != record.None {
		stamp += fmt.Sprintf(" codec=%v", b.Codec())
	}
	if w.verbose {
		unzip, _ := w.Packers()
		plain, _ := unzip(b.Codec(), b.Payload())
		_, facts, err := b.Flaws(plain, &record.Terms{})
		stamp += fmt.Sprintf(" max=%d last=%d whole=%v", b.MaxTimestamp(), facts.Last, err == nil && b.CRCValid())
	}
	w.printf("produce %s records=%d acks=%d%s", w.label(p), b.Count(), acks, stamp)
	l := w.log(p.Group())
	w.later("produce", func(arg string) {
		res := replica.Result{Base: -1, Start: l.start, Time: -1}
		if arg != "" {
			res.Err = w.outcome(arg)
		}
		if res.Err == replica.Duplicate {
			res.Base = 7
		}
		if res.Err != replica.OK {
			batch.Release()
		} else {
			res.Base = l.high
			b.Patch(l.high, 1)
			w.append(l, batch)
		}
		done(res, w.Leadership(p.Group()))
	})
}

// append puts a batch at the end of a partition, and calls who waits for it.
func (w *world) append(l *log, batch core.Ref) {
	n := core.Offset(1)
	if batch.InMemory() {
		n = core.Offset(record.Batch(batch.Bytes()).Count())
	}
	l.refs = append(l.refs, logged{l.high, l.high + n, batch})
	l.high += n
	w.fire(l)
}

func (w *world) fire(l *log) {
	keys := l.keys
	l.keys = nil
	for _, k := range keys {
		f := l.watches[k]
		delete(l.watches, k)
		f()
	}
}

func (w *world) Read(p Part, op ReadOp, done func(replica.Region, Leadership)) {
	l := w.log(p.Group())
	watch := ""
	if op.Notify != nil {
		watch = " watch"
		if l.watches[op.Key] == nil {
			l.keys = append(l.keys, op.Key)
		}
		l.watches[op.Key] = op.Notify
	}
	if op.Own {
		watch += " own"
	}
	w.printf("read %s @%d max=%d epoch=%d%s", w.label(p), op.Offset, op.Max, op.Epoch, watch)
	w.later("read", func(arg string) {
		res := replica.Region{Err: l.fail, High: l.high, Start: l.start}
		if arg != "" {
			res.Err = w.outcome(arg)
		}
		if res.Err == replica.OK && (op.Offset < l.start || op.Offset > l.high) {
			res.Err = replica.OutOfRange
		}
		for _, b := range l.refs {
			if res.Err != replica.OK || b.end <= op.Offset || res.Size > 0 && res.Size+int64(b.ref.Len) > op.Max {
				continue
			}
			res.Bytes = append(res.Bytes, b.ref.Retain())
			res.Size += int64(b.ref.Len)
		}
		done(res, w.Leadership(p.Group()))
	})
}

func (w *world) Unwatch(p Part, key core.ConnID) {
	l := w.log(p.Group())
	delete(l.watches, key)
	l.keys = slices.DeleteFunc(l.keys, func(k core.ConnID) bool { return k == key })
	w.printf("unwatch %s", w.label(p))
}

func (w *world) List(p Part, op ListOp, done func(ListResult, Leadership)) {
	w.printf("list %s time=%d epoch=%d", w.label(p), op.Timestamp, op.Epoch)
	w.later("list", func(arg string) {
		res := ListResult{Offset: w.log(p.Group()).high, Timestamp: -1, Epoch: 4}
		if arg != "" {
			res.Err = w.outcome(arg)
		}
		done(res, w.Leadership(p.Group()))
	})
}

func (w *world) Trim(p Part, to core.Offset, done func(replica.Trimmed)) {
	w.printf("trim %s to=%d", w.label(p), to)
	w.later("trim", func(arg string) {
		l := w.log(p.Group())
		switch {
		case arg != "":
			done(replica.Trimmed{Err: w.outcome(arg), Start: -1})
			return
		case to < 0:
			to = l.high
		case to > l.high:
			done(replica.Trimmed{Err: replica.OutOfRange, Start: -1})
			return
		}
		l.start = max(l.start, to)
		done(replica.Trimmed{Start: l.start})
	})
}

// LogDirs holds what the logs were filled with, and 100 bytes more.
func (w *world) LogDirs(done func([]LogDir)) {
	w.printf("log dir")
	w.later("logdir", func(string) {
		d := LogDir{Path: "/data", Total: 1 << 40, Usable: 1 << 30}
		for i := range w.View().Topics {
			t := w.View().Topics[i]
			for p := range t.Partitions {
				held := Held{Part: Part{t, int32(p)}, Bytes: 100}
				for _, b := range w.log(held.Group()).refs {
					held.Bytes += int64(b.ref.Len)
				}
				d.Held = append(d.Held, held)
			}
		}
		done([]LogDir{d})
	})
}

func (w *world) Coordinate(group string, req any, done func(any, replica.Outcome)) {
	w.printf("coordinate %s %s", group, w.show(reflect.ValueOf(req)))
	w.later("coordinate", func(arg string) {
		if arg != "" && arg[0] != '{' {
			done(nil, w.outcome(arg))
			return
		}
		resp := coord.Refuse(req, 0)
		if arg != "" {
			w.parse(arg, resp)
		}
		done(resp, replica.OK)
	})
}

func (w *world) CoordinateAll(req any, done func([]any, replica.Outcome)) {
	w.printf("coordinate all %s", w.show(reflect.ValueOf(req)))
	w.later("coordinate", func(arg string) {
		resp := &coord.ListResponse{}
		if arg != "" {
			w.parse(arg, resp)
		}
		done([]any{resp}, replica.OK)
	})
}

func (w *world) CoordinatorOf(group string) (Part, bool) {
	t := w.View().Topic(meta.OffsetsTopic)
	if t == nil {
		return Part{}, false
	}
	return Part{t, int32(len(group) % len(t.Partitions))}, true
}

func (w *world) Admin(cmd meta.Command, timeout int32, done func(meta.Result, AdminErr)) {
	shown := w.show(reflect.ValueOf(cmd))
	w.printf("admin %T %s timeout=%d", cmd, idPattern.ReplaceAllString(shown, ""), timeout)
	w.later("admin", func(arg string) {
		switch arg {
		case "timeout":
			done(meta.Result{}, AdminTimedOut)
		case "no-leader":
			done(meta.Result{}, AdminNoLeader)
		default:
			res := w.apply(cmd)
			for g := res.FirstGroup; !w.hold["leaders"] && g < res.FirstGroup+core.GroupID(res.Added); g++ {
				w.leads[g] = Leadership{Leader: 1, Term: 2, ISR: []core.NodeID{1, 2, 3}}
			}
			done(res, AdminOK)
		}
	})
}

func (w *world) Fresh(done func(bool)) {
	w.later("fresh", func(arg string) { done(arg != "late") })
}

func (w *world) ProducerID(done func(int64, bool)) {
	w.later("pid", func(arg string) {
		w.pids++
		done(w.pids, arg == "")
	})
}

// OnDesk can be held on the way there (desk) and on the way back (desk-back).
func (w *world) OnDesk(k core.ShardID, do func(Host, *Desk), done func()) {
	w.later("desk", func(string) {
		do(w, w.desks[k])
		w.later("desk-back", func(string) { done() })
	})
}

// Run does the job at once and tells of it later, when a transcript says so (job).
func (w *world) Run(job *core.Job, done func(core.Ref, core.Errno)) {
	in := make([][]byte, len(job.In))
	for i, r := range job.In {
		in[i] = r.Bytes()
	}
	w.printf("run %s", job.Name)
	out, err := job.Do(in)
	for _, r := range job.In {
		r.Release()
	}
	body := core.RefOf(out)
	w.held["job"] = append(w.held["job"], func(arg string) {
		if arg != "" {
			err = core.ErrIO
		}
		done(body, err)
	})
}

// Packers are a codec that XORs, whatever the codec is called; a batch of 0xFF is a bomb.
func (w *world) Packers() (record.Unzip, record.Zip) {
	xor := func(dst, b []byte, c record.Codec) []byte {
		for _, x := range b {
			dst = append(dst, x^byte(c)<<4)
		}
		return dst
	}
	return func(c record.Codec, b []byte) ([]byte, error) {
			if len(b) > 0 && b[0] == 0xff {
				return nil, record.ErrBomb
			}
			return xor(nil, b, c), nil
		}, func(dst []byte, c record.Codec, level int, plain []byte, room int) ([]byte, error) {
			if len(plain) > room {
				return nil, record.ErrNoRoom
			}
			return xor(dst, plain, c), nil
		}
}

func (w *world) After(d core.Mono, f func()) func() {
	t := &det.Timer{Fire: func(int64) { f() }}
	w.timers.Arm(t, int64(w.now.Mono+d))
	return func() { w.timers.Stop(t) }
}

func (w *world) Send(c core.ConnID, vec []core.Ref) {
	name := w.names[c-1]
	b := w.flatten(vec)
	var head [4]byte
	copy(head[:], b)
	n, err := wire.FrameLength(head, 1<<30)
	if err != nil || int(n) != len(b)-4 {
		w.t.Fatalf("a frame of %d bytes says %d: %v", len(b)-4, n, err)
	}
	frame := core.RefOf(b[4:])
	defer frame.Release()
	r := wire.NewReader(frame)
	r.SetBudget(1 << 30)
	corr := int32(uint32(b[4])<<24 | uint32(b[5])<<16 | uint32(b[6])<<8 | uint32(b[7]))
	h := w.asked[fmt.Sprint(name, corr)]
	var rh wire.ResponseHeader
	rh.Decode(r, h.ApiKey, h.ApiVersion)
	resp := wire.Lookup(h.ApiKey).NewResponse()
	v := h.ApiVersion
	if !wire.Lookup(h.ApiKey).Decodes(v) {
		v = 0
	}
	resp.Decode(r, v)
	if err := r.Finish(); err != nil {
		w.t.Fatalf("answer of %v v%d cannot be read: %v", h.ApiKey, v, err)
	}
	if f, ok := resp.(*wire.FetchResponse); ok && f.SessionId != 0 {
		if f.SessionId&1023 != 3 {
			w.t.Fatalf("session %d does not name its shard", f.SessionId)
		}
		w.session, f.SessionId = f.SessionId, 1 // ids are drawn: a transcript need not know them
	}
	w.printf("%s <- %d %v %s", name, corr, h.ApiKey, w.show(reflect.ValueOf(resp)))
}

// flatten takes a vector, as a driver does.
func (w *world) flatten(vec []core.Ref) []byte {
	var b []byte
	for _, r := range vec {
		if r.InMemory() {
			b = append(b, r.Bytes()...)
		} else if r.File != 7 {
			w.t.Fatalf("a region of file %d", r.File)
		} else {
			b = append(b, w.file[r.Off:r.Off+int64(r.Len)]...)
		}
		r.Release()
	}
	return b
}

func (w *world) Close(c core.ConnID)                { w.printf("%s closed", w.names[c-1]) }
func (w *world) Credit(c core.ConnID, frames int64) { w.printf("%s credit %d", w.names[c-1], frames) }

// What transcripts write and read.

var (
	idPattern    = regexp.MustCompile(` ?ID:[0-9a-f]{32}`)
	batchPattern = regexp.MustCompile(`"@([^"]*)"`)
	topicPattern = regexp.MustCompile(`"#([^"]*)"`)
)

// parse reads JSON into a message; "#t" is the id of topic t, "@b+c" the batches b and c, "$s" the last
// fetch session.
func (w *world) parse(text string, into any) {
	text = strings.ReplaceAll(text, `"$s"`, fmt.Sprint(w.session))
	text = topicPattern.ReplaceAllStringFunc(text, func(m string) string {
		id := [16]byte{0xee}
		if t := w.View().Topic(m[2 : len(m)-1]); t != nil {
			id = t.ID
		}
		return strings.ReplaceAll(fmt.Sprint(id), " ", ",")
	})
	text = batchPattern.ReplaceAllStringFunc(text, func(m string) string {
		var all []byte
		for _, name := range strings.Split(m[2:len(m)-1], "+") {
			if w.batches[name] == nil && name != "" {
				w.t.Fatalf("no batch %s", name)
			}
			all = append(all, w.batches[name]...)
		}
		w.batches["~"+m] = all
		ref := core.RefOf(all)
		b, _ := json.Marshal(struct{ Off, Len int }{len(w.file), len(all)})
		w.file = append(w.file, ref.Bytes()...)
		ref.Release()
		return string(b)
	})
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		w.t.Fatalf("%s: %v", text, err)
	}
}

// encode makes a frame; records, which parse left in the file, are put in.
func (w *world) encode(h wire.RequestHeader, m wire.Message) core.Ref {
	if q, ok := m.(*wire.ProduceRequest); ok {
		for i := range q.TopicData {
			for j := range q.TopicData[i].PartitionData {
				if r := &q.TopicData[i].PartitionData[j].Records; r.Len > 0 {
					*r = core.RefOf(w.file[r.Off : r.Off+int64(r.Len)])
					defer r.Release()
				}
			}
		}
	}
	var e wire.Writer
	e.Request(h, m)
	var b []byte
	for _, r := range e.Vec(nil) {
		b = append(b, r.Bytes()...)
		r.Release()
	}
	return core.RefOf(b[4:])
}

// show prints a value in one line, without its zero fields.
func (w *world) show(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case wire.Error:
		return x.String()
	case wire.UUID:
		return w.showID(x)
	case [16]byte:
		return w.showID(x)
	case core.Ref:
		return showRecords(x)
	case []byte:
		return strconv.Quote(string(x))
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return "null"
		}
		return w.show(v.Elem())
	case reflect.Struct:
		var fields []string
		for i := range v.NumField() {
			f := v.Field(i)
			if v.Type().Field(i).IsExported() && (!f.IsZero() || f.Kind() == reflect.Slice && !f.IsNil()) {
				fields = append(fields, v.Type().Field(i).Name+":"+w.show(f))
			}
		}
		return "{" + strings.Join(fields, " ") + "}"
	case reflect.Slice:
		var items []string
		for i := range v.Len() {
			items = append(items, w.show(v.Index(i)))
		}
		return "[" + strings.Join(items, " ") + "]"
	case reflect.String:
		return v.String()
	}
	return fmt.Sprint(v.Interface())
}

func (w *world) showID(id wire.UUID) string {
	if t := w.View().TopicByID(id); t != nil {
		return "#" + t.Name
	}
	return fmt.Sprintf("%x", id[:])
}

// showRecords prints the batches of an answer: base offset, records.
func showRecords(r core.Ref) string {
	var out []string
	rest := r.Bytes()
	for len(rest) > 0 {
		b, next, err := record.Next(rest)
		if err != nil || !b.CRCValid() {
			return fmt.Sprintf("%v then %d bytes: %v", out, len(rest), err)
		}
		out = append(out, fmt.Sprintf("%d+%d", b.BaseOffset(), b.Count()))
		rest = next
	}
	return strings.Join(out, ",")
}
