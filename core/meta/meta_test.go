package meta

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/config"
	"github.com/karst-stream/karst/core/det"
)

// desk turns the lines of a transcript into commands. Each line of a block is one command; its outcome
// is one line. Every command goes through Check first, which must say what Apply then does, and is
// applied to a second machine, which must stay equal.
type desk struct {
	t       *testing.T
	a, b    *State
	numbers map[core.NodeID]uint64
	rand    *det.Rand
}

func newDesk(t *testing.T) *desk {
	return &desk{t: t, a: New("cluster"), b: New("cluster"), numbers: map[core.NodeID]uint64{}, rand: det.New(1, "ids")}
}

func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		d := newDesk(t)
		datadriven.RunTest(t, path, func(t *testing.T, td *datadriven.TestData) string {
			d.t = t
			var out strings.Builder
			switch td.Cmd {
			case "apply":
				for _, line := range strings.Split(td.Input, "\n") {
					out.WriteString(d.line(strings.Fields(line)) + "\n")
				}
			case "show":
				show(&out, d.a.View())
			default:
				td.Fatalf(t, "unknown block %q", td.Cmd)
			}
			return out.String()
		})
	})
}

// line: VERB ARG... [key=value]..., where from=NODE/START/NUMBER overrides the origin.
func (d *desk) line(words []string) string {
	args, opts := []string{}, map[string]string{}
	for _, w := range words[1:] {
		if k, v, ok := strings.Cut(w, "="); ok && !strings.Contains(k, ":") {
			opts[k] = v
		} else {
			args = append(args, w)
		}
	}
	c := d.command(words[0], args, opts)
	o := Origin{Node: 1, Start: NewStart(1, 1)}
	if from, ok := opts["from"]; ok {
		var node int32
		var starts uint32
		if _, err := fmt.Sscanf(from, "%d/%d/%d", &node, &starts, &o.Number); err != nil {
			d.t.Fatalf("from=%s: %v", from, err)
		}
		o.Node, o.Start = core.NodeID(node), NewStart(1, starts)
	} else {
		d.numbers[o.Node]++
		o.Number = d.numbers[o.Node]
	}
	before := d.a.View()
	want := before.Check(c)
	if opts["dry"] != "" {
		if d.a.Digest() != d.b.Digest() {
			d.t.Fatal("Check changed the state")
		}
		return "would be: " + describe(want)
	}
	r, err := d.a.Apply(Encode(o, c))
	if err != nil {
		d.t.Fatal(err)
	}
	if r2, err := d.b.Apply(Encode(o, c)); err != nil || r2 != r {
		d.t.Fatalf("two machines: %+v and %+v, %v", r, r2, err)
	}
	if d.a.Digest() != d.b.Digest() {
		d.t.Fatal("two machines differ")
	}
	if _, repeated := opts["from"]; !repeated && r != want {
		d.t.Fatalf("%v: Check said %+v, Apply did %+v", words, want, r)
	}
	audit(d.t, d.a.View())
	return describe(r)
}

func (d *desk) command(verb string, args []string, opts map[string]string) Command {
	num := func(key string, def int) int {
		if v, ok := opts[key]; ok {
			n, err := strconv.Atoi(v)
			if err != nil {
				d.t.Fatalf("%s=%s: %v", key, v, err)
			}
			return n
		}
		return def
	}
	var assignment [][]core.NodeID
	if v, ok := opts["assign"]; ok {
		for _, part := range strings.Split(v, "/") {
			assignment = append(assignment, nodes(part))
		}
	}
	live := nodes("1,2,3")
	if v, ok := opts["live"]; ok {
		live = nodes(v)
	}
	switch verb {
	case "broker":
		id, _ := strconv.Atoi(args[0])
		return &RegisterBroker{Broker{ID: core.NodeID(id), Incarnation: uint32(num("inc", 1)), Rack: opts["rack"],
			Listeners: []Listener{{Name: "PLAINTEXT", Host: opts["host"], Port: uint16(num("port", 9092))}}}}
	case "create":
		c := &CreateTopic{Name: args[0], Partitions: int32(num("p", -1)), Replication: int16(num("rf", -1)), Assignment: assignment, Live: live}
		for i := 0; i < 16; i += 8 {
			for j, v := 0, d.rand.Uint64(); j < 8; j++ {
				c.ID[i+j] = byte(v >> (8 * j))
			}
		}
		for _, a := range args[1:] {
			k, v, _ := strings.Cut(a, ":")
			c.Configs = append(c.Configs, config.KV{Key: k, Value: v})
		}
		return c
	case "delete":
		if args[0] == "id-of" {
			return &DeleteTopic{ID: d.a.View().Topic(args[1]).ID}
		}
		if args[0] == "no-id" {
			return &DeleteTopic{ID: [16]byte{1}}
		}
		return &DeleteTopic{Name: args[0]}
	case "partitions":
		n, _ := strconv.Atoi(args[1])
		return &CreatePartitions{Topic: args[0], Count: int32(n), Assignment: assignment, Live: live}
	case "alter":
		c := &AlterConfigs{Resource: TopicResource, Name: args[1]}
		if args[0] == "broker" {
			c.Resource = BrokerResource
			c.Name = strings.TrimPrefix(c.Name, "all")
		} else if args[0] != "topic" {
			c.Resource = 8
		}
		for _, a := range args[2:] {
			c.Ops = append(c.Ops, d.op(a))
		}
		return c
	case "pids":
		n, _ := strconv.Atoi(args[0])
		return &AllocateProducerIDs{Count: int32(n)}
	}
	d.t.Fatalf("no command %q", verb)
	return nil
}

// op: set|del|add|sub:KEY[:VALUE]; odd is an operation that Kafka does not have.
func (d *desk) op(word string) ConfigOp {
	op, rest, _ := strings.Cut(word, ":")
	k, v, _ := strings.Cut(rest, ":")
	kind, ok := map[string]OpKind{"set": Set, "del": Delete, "add": Append, "sub": Subtract, "odd": 9}[op]
	if !ok {
		d.t.Fatalf("no operation %q", op)
	}
	return ConfigOp{Key: k, Op: kind, Value: v}
}

func nodes(list string) (out []core.NodeID) {
	for _, w := range strings.Split(list, ",") {
		if n, err := strconv.Atoi(w); err == nil {
			out = append(out, core.NodeID(n))
		}
	}
	return out
}

func describe(r Result) string {
	s := r.Code.String()
	if r.Message != "" {
		s += ": " + r.Message
	}
	if r.Partitions > 0 {
		s += fmt.Sprintf(", %d partitions, rf %d", r.Partitions, r.Replication)
	}
	if r.Added > 0 {
		s += fmt.Sprintf(", groups %d..%d", r.FirstGroup, r.FirstGroup+core.GroupID(r.Added)-1)
	}
	if r.FirstProducer > 0 {
		s += fmt.Sprintf(", producers from %d", r.FirstProducer)
	}
	return s
}

func show(out *strings.Builder, v *View) {
	fmt.Fprintf(out, "version %d\n", v.Version)
	for _, b := range v.Brokers {
		fmt.Fprintf(out, "broker %d inc %d rack %q %v %v\n", b.ID, b.Incarnation, b.Rack, b.Listeners, v.BrokerConfigs(b.ID))
	}
	if len(v.ClusterConfigs) > 0 {
		fmt.Fprintf(out, "all brokers %v\n", v.ClusterConfigs)
	}
	for _, t := range v.Topics {
		fmt.Fprintf(out, "%s internal=%v %v\n", t.Name, t.Internal, t.Configs)
		for i, p := range t.Partitions {
			fmt.Fprintf(out, "  %d: group %d on %v\n", i, p.Group, p.Replicas)
		}
	}
}

// audit checks what must hold of every version: the indexes agree with the topics, ids are unique.
func audit(t *testing.T, v *View) {
	t.Helper()
	ids, groups, dots := map[[16]byte]bool{}, map[core.GroupID]bool{}, 0
	for i, topic := range v.Topics {
		if i > 0 && v.Topics[i-1].Name >= topic.Name {
			t.Fatalf("topics %s and %s are out of order", v.Topics[i-1].Name, topic.Name)
		}
		if ids[topic.ID] || topic.ID == ([16]byte{}) || v.TopicByID(topic.ID) != topic || v.Topic(topic.Name) != topic {
			t.Fatalf("%s: its id is of another, or it is not found", topic.Name)
		}
		ids[topic.ID] = true
		if dotted(topic.Name) {
			dots++
		}
		for j, p := range topic.Partitions {
			if found, n := v.Group(p.Group); found != topic || int(n) != j || groups[p.Group] {
				t.Fatalf("group %d of %s-%d is found in %v-%d", p.Group, topic.Name, j, found, n)
			}
			groups[p.Group] = true
			if p.Group < 2 || p.Group >= v.nextGroup || len(p.Voters) != len(p.Replicas) {
				t.Fatalf("%s-%d: %+v", topic.Name, j, p)
			}
			for k, n := range p.Replicas {
				if p.Voters[k].Node() != n || slices.Contains(p.Replicas[:k], n) {
					t.Fatalf("%s-%d: replicas %v, voters %v", topic.Name, j, p.Replicas, p.Voters)
				}
			}
		}
	}
	if len(v.ids) != len(v.Topics) || len(v.dotted) != dots {
		t.Fatalf("%d topics, %d ids, %d of %d dotted names", len(v.Topics), len(v.ids), len(v.dotted), dots)
	}
	for _, s := range v.spans {
		if v.Topic(s.topic) == nil {
			t.Fatalf("groups of %s outlive it", s.topic)
		}
	}
	if found, _ := v.Group(core.MetaGroup); found != nil {
		t.Fatal("the metadata group belongs to a topic")
	}
}

// TestRandomCommands feeds random commands, repeats and old ones to two machines, one of which hands out
// a view now and then, and replays all into a third.
func TestRandomCommands(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		r := det.New(seed, "commands")
		a, b := New("c"), New("c")
		var log [][]byte
		usedIDs, usedGroups, sizes := map[[16]byte]bool{}, map[core.GroupID]bool{}, map[[16]byte]int32{}
		var views []*View
		var hashes []string
		numbers := [4]uint64{}
		done := 0
		for range 400 {
			cmd := randomCommand(r, a.v)
			node := core.NodeID(r.N(4))
			numbers[node]++
			bytes := Encode(Origin{Node: node, Start: 7, Number: numbers[node]}, cmd)
			if len(log) > 0 && r.Chance(1, 5) {
				bytes = log[r.N(int64(len(log)))]
			}
			log = append(log, bytes)
			known := a.View()
			ra, errA := a.Apply(bytes)
			rb, errB := b.Apply(bytes)
			if errA != nil || errB != nil || ra != rb || a.Digest() != b.Digest() {
				t.Fatalf("seed %d: %+v %v, %+v %v", seed, ra, errA, rb, errB)
			}
			if ra.Added > 0 && known.nextGroup == ra.FirstGroup { // acted, not remembered
				done++
				for g := ra.FirstGroup; g < ra.FirstGroup+core.GroupID(ra.Added); g++ {
					if usedGroups[g] {
						t.Fatalf("seed %d: group %d is used again", seed, g)
					}
					usedGroups[g] = true
				}
				if _, grown := cmd.(*CreateTopic); grown && usedIDs[ra.TopicID] {
					t.Fatalf("seed %d: topic id %x is used again", seed, ra.TopicID)
				}
				usedIDs[ra.TopicID] = true
			}
			audit(t, a.v)
			for _, topic := range a.v.Topics {
				if n := int32(len(topic.Partitions)); n < sizes[topic.ID] {
					t.Fatalf("seed %d: %s shrank from %d to %d partitions", seed, topic.Name, sizes[topic.ID], n)
				} else {
					sizes[topic.ID] = n
				}
			}
			if r.Chance(1, 10) {
				views = append(views, b.View())
				hashes = append(hashes, picture(b.View()))
			}
		}
		if done < 30 {
			t.Fatalf("seed %d: only %d commands placed partitions", seed, done)
		}
		for i, v := range views {
			if picture(v) != hashes[i] {
				t.Fatalf("seed %d: a view changed after it was handed out", seed)
			}
		}
		c := New("c")
		for _, cmd := range log {
			if _, err := c.Apply(cmd); err != nil {
				t.Fatal(err)
			}
		}
		if c.Digest() != a.Digest() {
			t.Fatalf("seed %d: the replayed machine differs", seed)
		}
	}
}

func picture(v *View) string {
	var b strings.Builder
	show(&b, v)
	for _, t := range v.Topics {
		fmt.Fprintf(&b, "%x %v %v %s\n", t.ID, v.Topic(t.Name) == t, v.TopicByID(t.ID) == t, v.collision(t.Name))
	}
	for g := core.GroupID(1); g < v.nextGroup; g++ {
		t, p := v.Group(g)
		fmt.Fprintf(&b, "%d: %v-%d\n", g, t != nil, p)
	}
	return b.String()
}

func randomCommand(r *det.Rand, v *View) Command {
	live := []core.NodeID{}
	for n := core.NodeID(0); n < 5; n++ {
		if r.Chance(4, 5) {
			live = append(live, n)
		}
	}
	name := fmt.Sprintf("t%s%d", []string{".", "_", "-"}[r.N(3)], r.N(12))
	switch r.N(10) {
	case 0, 1:
		return &RegisterBroker{Broker{ID: core.NodeID(r.N(5)), Incarnation: uint32(r.Between(1, 3)),
			Rack: []string{"", "a", "b"}[r.N(3)], Listeners: []Listener{{"PLAINTEXT", "h", uint16(r.N(65536))}}}}
	case 2, 3, 4, 5: // the drawn id is always the same: the machine makes it unique
		return &CreateTopic{Name: name, ID: [16]byte{9}, Partitions: int32(r.Between(-1, 6)), Replication: int16(r.Between(-1, 4)), Live: live}
	case 6:
		if r.Chance(1, 2) && len(v.Topics) > 0 {
			return &DeleteTopic{ID: v.Topics[r.N(int64(len(v.Topics)))].ID}
		}
		return &DeleteTopic{Name: name}
	case 7:
		return &CreatePartitions{Topic: name, Count: int32(r.Between(1, 12)), Live: live}
	case 8:
		key := []string{"retention.ms", "cleanup.policy", "nonsense", "num.partitions"}[r.N(4)]
		ops := []ConfigOp{{key, OpKind(r.N(5)), []string{"1", "compact", "-7"}[r.N(3)]}}
		if r.Chance(1, 2) {
			return &AlterConfigs{BrokerResource, []string{"", "0", "3"}[r.N(3)], ops}
		}
		return &AlterConfigs{TopicResource, name, ops}
	}
	return &AllocateProducerIDs{int32(r.Between(-1, 1000))}
}

func TestPlacementIsBalanced(t *testing.T) {
	for _, c := range []struct {
		racks string
		rf    int16
	}{{"......", 3}, {"...", 3}, {"aabbcc", 3}, {"aaab", 2}, {"ab", 2}, {".", 1}, {"aabb", 3}} {
		s := New("c")
		var live []core.NodeID
		for i := range c.racks {
			live = append(live, core.NodeID(i))
			apply(t, s, uint64(i+1), &RegisterBroker{Broker{ID: core.NodeID(i), Incarnation: 1,
				Rack: strings.Trim(c.racks[i:i+1], "."), Listeners: []Listener{{Name: "P"}}}})
		}
		leads, holds := make([]int, len(live)), make([]int, len(live))
		n := 12 * len(live)
		for topic := range n { // one partition a topic: balance must come from the order over topics
			r := apply(t, s, uint64(100+topic), &CreateTopic{Name: fmt.Sprint(topic), Partitions: 1, Replication: c.rf, Live: live})
			p := s.View().Topic(fmt.Sprint(topic)).Partitions[0]
			leads[p.Replicas[0]]++
			racks := map[byte]int{}
			for _, b := range p.Replicas {
				holds[b]++
				racks[c.racks[b]]++
			}
			distinct := map[byte]bool{}
			for i := range c.racks {
				distinct[c.racks[i]] = true
			}
			if want := min(len(distinct), int(c.rf)); len(racks) != want || r.Added != 1 {
				t.Fatalf("racks %s: replicas %v cover %d racks of %d", c.racks, p.Replicas, len(racks), want)
			}
		}
		if slices.Min(leads) != 12 || slices.Max(leads) != 12 {
			t.Errorf("racks %s: leaders %v", c.racks, leads)
		}
		even := strings.Count(c.racks, "a") == strings.Count(c.racks, "b") // uneven racks cannot share evenly
		if even && slices.Max(holds)-slices.Min(holds) > 2 {
			t.Errorf("racks %s: replicas %v", c.racks, holds)
		}
	}
}

func apply(t testing.TB, s *State, number uint64, c Command) Result {
	t.Helper()
	r, err := s.Apply(Encode(Origin{Node: 1, Start: 1, Number: number}, c))
	if err != nil || r.Code != Done {
		t.Fatalf("%+v: %+v, %v", c, r, err)
	}
	return r
}

func TestOutcomesAreRememberedToABound(t *testing.T) {
	s := New("c")
	const n = 3 * Remembered
	for i := uint64(1); i <= n; i++ {
		apply(t, s, i, &AllocateProducerIDs{Count: 1})
	}
	for i := uint64(1); i <= n; i++ {
		r, err := s.Apply(Encode(Origin{Node: 1, Start: 1, Number: i}, &AllocateProducerIDs{Count: 1}))
		want := Result{FirstProducer: int64(i - 1)}
		if i <= n-Remembered {
			want = Result{Code: Stale, Message: "The command is older than what is remembered of its node"}
		}
		if err != nil || r != want {
			t.Fatalf("number %d: %+v, %v", i, r, err)
		}
	}
	if next := apply(t, s, n+1, &AllocateProducerIDs{Count: 1}).FirstProducer; next != n {
		t.Fatalf("repeats took ids: the next is %d, not %d", next, n)
	}
}

// TestCostOfManyPartitions: ten thousand partitions in one command and in ten thousand, and what one
// more command then allocates, with a view handed out after each.
func TestCostOfManyPartitions(t *testing.T) {
	s, live := New("c"), []core.NodeID{1, 2, 3}
	for i, n := range live {
		apply(t, s, uint64(i+1), &RegisterBroker{Broker{ID: n, Incarnation: 1, Listeners: []Listener{{Name: "P"}}}})
	}
	apply(t, s, 10, &CreateTopic{Name: "wide", Partitions: 10_000, Replication: 3, Live: live})
	number := uint64(10)
	for i := range 1000 {
		number++
		apply(t, s, number, &CreateTopic{Name: fmt.Sprint("narrow", i), Partitions: 10, Replication: 3, Live: live})
	}
	if g := s.View().nextGroup; g != 2+20_000 {
		t.Fatalf("the next group is %d", g)
	}
	cost := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			s.View()
			number++
			apply(b, s, number, &AlterConfigs{TopicResource, "narrow7", []ConfigOp{{"retention.ms", Set, fmt.Sprint(number)}}})
		}
	})
	// 1,001 topics at 8 bytes of index each; all indexes would be 100 kB, the partitions themselves 2 MB.
	if cost.AllocedBytesPerOp() > 40<<10 || cost.AllocsPerOp() > 200 {
		t.Errorf("a command costs %d bytes in %d allocations", cost.AllocedBytesPerOp(), cost.AllocsPerOp())
	}
}

func TestTooLargeIsRefusedBeforeItIsProposed(t *testing.T) {
	s := New("c")
	v := s.View()
	for name, c := range map[string]Command{
		"many configs":    &CreateTopic{Name: "t", Configs: make([]config.KV, maxConfigs+1)},
		"a long value":    &AlterConfigs{TopicResource, "t", []ConfigOp{{"retention.ms", Set, strings.Repeat("x", maxText+1)}}},
		"many partitions": &CreateTopic{Name: "t", Assignment: make([][]core.NodeID, maxPartitions+1)},
		"many replicas":   &CreateTopic{Name: "t", Assignment: [][]core.NodeID{make([]core.NodeID, maxNodes+1)}},
	} {
		if r := v.Check(c); r.Code != InvalidRequest || !strings.Contains(r.Message, "too large") {
			t.Errorf("%s: %+v", name, r)
		}
	}
	r := v.Check(&CreateTopic{Name: "t", Replication: -1, Partitions: -1, Assignment: [][]core.NodeID{{-1}}})
	if r.Code != InvalidAssignment {
		t.Errorf("a negative broker id: %+v", r)
	}
}

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{"a": true, "A.b_c-9": true, "": false, ".": false, "..": false, "...": true,
		"a b": false, "ä": false, "a/b": false, strings.Repeat("a", 249): true, strings.Repeat("a", 250): false} {
		if (CheckName(name) == "") != ok {
			t.Errorf("%q: %s", name, CheckName(name))
		}
	}
}

// commands is one of each kind with every field filled.
func commands() []Command {
	return []Command{
		&RegisterBroker{Broker{3, 2, "r", []Listener{{"A", "h", 9092}, {"B", "", 65535}}}},
		&CreateTopic{"t", [16]byte{1, 2}, -1, -1, [][]core.NodeID{{1, 2}, {-3}}, []config.KV{{Key: "k", Value: "v"}}, []core.NodeID{1, 2, 3}},
		&CreateTopic{Name: "u", Partitions: 3, Replication: 2},
		&DeleteTopic{"t", [16]byte{7}},
		&CreatePartitions{"t", 5, [][]core.NodeID{{1}}, []core.NodeID{1}},
		&AlterConfigs{TopicResource, "t", []ConfigOp{{"k", Append, "v"}, {"l", Delete, ""}}},
		&AllocateProducerIDs{1000},
	}
}

func TestCodec(t *testing.T) {
	for _, c := range commands() {
		o := Origin{Node: 1 << 30, Start: NewStart(3, 4), Number: 1 << 60}
		b := Encode(o, c)
		o2, c2, err := Decode(b)
		if err != nil || o2 != o || fmt.Sprintf("%#v", c2) != fmt.Sprintf("%#v", c) || !bytes.Equal(Encode(o2, c2), b) {
			t.Errorf("%#v came back as %#v, %v", c, c2, err)
		}
		for i := range b {
			if _, _, err := Decode(b[:i]); err == nil {
				t.Errorf("%T: %d of %d bytes decode", c, i, len(b))
			}
		}
		if _, _, err := Decode(append(b, 0)); err == nil {
			t.Errorf("%T: a byte too many decodes", c)
		}
	}
	want := Result{Code: InvalidConfig, Message: "why", TopicID: [16]byte{5}, Partitions: 3, Replication: 2, FirstGroup: 9, Added: 1, FirstProducer: 1 << 40}
	b := AppendResult(nil, want)
	if got, err := DecodeResult(b); err != nil || got != want {
		t.Errorf("%+v came back as %+v, %v", want, got, err)
	}
	for i := range b {
		if _, err := DecodeResult(b[:i]); err == nil {
			t.Errorf("%d of %d bytes are a result", i, len(b))
		}
	}
	b[1] = byte(codes)
	if _, err := DecodeResult(b); err == nil {
		t.Error("an unknown code decodes")
	}
	if len(codeNames) != int(codes) {
		t.Errorf("%d names for %d codes", len(codeNames), codes)
	}
}

// FuzzApply: no byte string panics the machine or makes two of them differ, and what decodes is
// encoded back to the same command.
func FuzzApply(f *testing.F) {
	for _, c := range commands() {
		f.Add(Encode(Origin{1, 1, 1}, c))
	}
	f.Add([]byte{formatVersion, byte(kindCreateTopic), 0, 1, 1, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Add([]byte{formatVersion, byte(kindRegisterBroker), 2, 1, 1, 2, 1, 0, 0x40, 0, 0, 0})
	f.Add([]byte{2, 1})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, other := New("c"), New("c")
		for i, n := range []core.NodeID{1, 2, 3} {
			c := &RegisterBroker{Broker{ID: n, Incarnation: 1, Listeners: []Listener{{Name: "P"}}}}
			apply(t, a, uint64(1000+i), c)
			apply(t, other, uint64(1000+i), c)
		}
		before := a.Digest()
		r, err := a.Apply(b)
		r2, err2 := other.Apply(slices.Clone(b))
		if r != r2 || (err == nil) != (err2 == nil) || a.Digest() != other.Digest() {
			t.Fatalf("two machines: %+v %v, %+v %v", r, err, r2, err2)
		}
		o, c, decodeErr := Decode(b)
		if (decodeErr == nil) != (err == nil) || err != nil && a.Digest() != before {
			t.Fatalf("Decode: %v, Apply: %v", decodeErr, err)
		}
		if err != nil {
			return
		}
		if _, c2, err := Decode(Encode(o, c)); err != nil || fmt.Sprintf("%#v", c2) != fmt.Sprintf("%#v", c) {
			t.Fatalf("%#v came back as %#v, %v", c, c2, err)
		}
		audit(t, a.View())
	})
}
