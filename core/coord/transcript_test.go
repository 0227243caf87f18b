package coord

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/record"
)

// world is two replicas of one partition and a log between them. Commands of testdata/*.txt act on
// the one that leads; what it answers and what reaches the log is printed, member ids as m1, m2...
type world struct {
	t       *testing.T
	node    [2]*Coordinator
	leader  int
	term    core.Term
	now     core.Now
	end     core.Offset
	held    []held
	hold    bool
	labels  int
	aliases []string // member ids, m1 first
	out     strings.Builder
	answers map[int]int
	topics  map[string]TopicID // what is known of topics; those that are not here exist, without an id
	gone    map[string]bool
}

type held struct {
	recs    []KeyValue
	settled func(core.Now, Outcome)
}

// newWorld makes two replicas; their limits of group size may differ.
func newWorld(t *testing.T, delay int32, maxSize [2]int) *world {
	w := &world{t: t, answers: map[int]int{}, now: core.Now{Wall: 1_000_000},
		topics: map[string]TopicID{}, gone: map[string]bool{}}
	for i := range w.node {
		cfg := Config{
			InitialRebalanceMillis: delay, MinSessionMillis: 1000, MaxSessionMillis: 300_000,
			GroupMaxSize: maxSize[i], OffsetMetadataMax: 20,
		}
		cfg.Append = func(recs []KeyValue, settled func(core.Now, Outcome)) {
			w.held = append(w.held, held{recs, settled})
			if !w.hold {
				w.settleFirst(Committed)
			}
		}
		cfg.Topic = func(name string) (TopicID, bool) { return w.topics[name], !w.gone[name] }
		w.node[i] = New(cfg, 7)
	}
	return w
}

func (w *world) lead() *Coordinator { return w.node[w.leader] }

// settleFirst ends the oldest append. One that is committed reaches both replicas first.
func (w *world) settleFirst(o Outcome) {
	h := w.held[0]
	w.held = w.held[1:]
	if o == Committed {
		w.commit(h.recs)
	} else {
		fmt.Fprintf(&w.out, "lost %d records\n", len(h.recs))
	}
	h.settled(w.now, o)
}

func (w *world) commit(recs []KeyValue) {
	var b record.Builder
	b.At(w.end, core.Epoch(w.term))
	for _, r := range recs {
		b.Append(record.Record{Key: r.Key, Value: r.Value, Timestamp: w.now.Wall})
		fmt.Fprintf(&w.out, "log %d: %s\n", w.end, w.show(r))
		w.end++
	}
	batch := b.Build()
	for _, c := range w.node {
		c.Apply(batch.BaseOffset(), batch)
	}
	if a, b := w.node[0].Digest(), w.node[1].Digest(); a != b {
		w.t.Fatalf("replicas differ at %d: %x %x", w.end, a, b)
	}
}

// show decodes a record of the log.
func (w *world) show(r KeyValue) string {
	k, err := decodeKey(r.Key)
	if err != nil {
		w.t.Fatal(err)
	}
	name := "offset " + k.group + " " + k.topic + "-" + strconv.Itoa(int(k.partition))
	if k.isGroup {
		name = "group " + k.group
	}
	if r.Value == nil {
		return name + " deleted"
	}
	if !k.isGroup {
		c, err := decodeCommit(r.Value)
		if err != nil {
			w.t.Fatal(err)
		}
		return fmt.Sprintf("%s = %d epoch %d %q v%d", name, c.offset, c.epoch, c.meta, r.Value[1])
	}
	g, err := decodeGroup(r.Value)
	if err != nil {
		w.t.Fatal(err)
	}
	s := fmt.Sprintf("%s generation %d type %q protocol %s leader %s", name, g.generation,
		g.protocolType, opt(g.protocol), opt(g.leader))
	for _, m := range g.members {
		w.learn(m.id)
		s += fmt.Sprintf(" [%s %s %q]", m.id, opt(m.instance), m.assignment)
	}
	return w.alias(s)
}

func opt(s *string) string {
	if s == nil {
		return "-"
	}
	return *s
}

func (w *world) alias(s string) string {
	for i, id := range w.aliases {
		s = strings.ReplaceAll(s, id, "m"+strconv.Itoa(i+1))
	}
	return s
}

func (w *world) real(s string) string {
	if n, err := strconv.Atoi(strings.TrimPrefix(s, "m")); err == nil && n <= len(w.aliases) {
		return w.aliases[n-1]
	}
	return s
}

func (w *world) learn(id string) {
	for _, known := range w.aliases {
		if known == id {
			return
		}
	}
	if id != "" {
		w.aliases = append(w.aliases, id)
	}
}

func code(c int16) string {
	if c == 0 {
		return "ok"
	}
	return strings.TrimPrefix(strings.SplitN(kerr.ErrorForCode(c).Error(), ":", 2)[0], "kerr.")
}

// ask sends a request and prints the answer, now or later, with its number.
func (w *world) ask(req any) {
	w.labels++
	n := w.labels
	w.lead().Handle(w.now, req, func(resp any) {
		w.answers[n]++
		if w.answers[n] > 1 {
			w.t.Fatalf("request %d is answered twice", n)
		}
		fmt.Fprintf(&w.out, "#%d %s\n", n, w.response(resp))
	})
}

func (w *world) response(resp any) string {
	var b strings.Builder
	switch r := resp.(type) {
	case *JoinResponse:
		if r.Err == 0 || r.Err == errMemberIDRequired {
			w.learn(r.Member)
			w.learn(r.Leader)
		}
		fmt.Fprintf(&b, "join %s member %q generation %d", code(r.Err), r.Member, r.Generation)
		if r.Err == 0 {
			fmt.Fprintf(&b, " protocol %s/%s leader %s", opt(r.ProtocolType), opt(r.Protocol), r.Leader)
			if r.SkipAssignment {
				b.WriteString(" skip-assignment")
			}
			for _, m := range r.Members {
				w.learn(m.Member)
				fmt.Fprintf(&b, " [%s %s %q]", m.Member, opt(m.Instance), m.Metadata)
			}
		}
	case *SyncResponse:
		fmt.Fprintf(&b, "sync %s %q protocol %s/%s", code(r.Err), r.Assignment, opt(r.ProtocolType), opt(r.Protocol))
	case *HeartbeatResponse:
		b.WriteString("heartbeat " + code(r.Err))
	case *LeaveResponse:
		b.WriteString("leave " + code(r.Err))
		for _, m := range r.Members {
			fmt.Fprintf(&b, " [%s %s %s]", m.Member, opt(m.Instance), code(m.Err))
		}
	case *OffsetCommitResponse:
		b.WriteString("commit" + results(r.Topics))
	case *OffsetFetchResponse:
		b.WriteString("fetch " + code(r.Err))
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				fmt.Fprintf(&b, " [%s-%d %d epoch %d %q %s]", t.Topic, p.Partition, p.Offset, p.LeaderEpoch,
					p.Metadata, code(p.Err))
			}
		}
	case *DescribeResponse:
		fmt.Fprintf(&b, "describe %s %q %s %q %q", code(r.Err), opt(r.Message), r.State, r.ProtocolType, r.Protocol)
		for _, m := range r.Members {
			fmt.Fprintf(&b, " [%s %s %s %s %q %q]", m.Member, opt(m.Instance), m.ClientID, m.ClientHost,
				m.Metadata, m.Assignment)
		}
	case *ListResponse:
		b.WriteString("list " + code(r.Err))
		for _, g := range r.Groups {
			fmt.Fprintf(&b, " [%s %q %s %s]", g.Group, g.ProtocolType, g.State, g.Type)
		}
	case *DeleteGroupResponse:
		b.WriteString("delete " + code(r.Err))
	case *OffsetDeleteResponse:
		b.WriteString("delete-offsets " + code(r.Err) + results(r.Topics))
	default:
		w.t.Fatalf("no response: %T", resp)
	}
	return w.alias(b.String())
}

func results(topics []TopicResult) (s string) {
	for _, t := range topics {
		for _, p := range t.Partitions {
			s += fmt.Sprintf(" [%s-%d %s]", t.Topic, p.Partition, code(p.Err))
		}
	}
	return s
}

func (w *world) tick(millis int64) {
	target := w.now.Mono + core.Mono(millis)*core.Millisecond
	for w.lead().Wake() <= target {
		w.advance(max(w.lead().Wake(), w.now.Mono))
		w.lead().Tick(w.now)
	}
	w.advance(target)
	w.lead().Tick(w.now)
}

func (w *world) advance(to core.Mono) {
	w.now.Wall += core.Wall((to - w.now.Mono) / core.Millisecond)
	w.now.Mono = to
}

// view prints what a visitor of groups shows.
func (w *world) view(groups func(visit func(GroupView))) {
	groups(func(g GroupView) {
		for _, m := range g.Members {
			w.learn(m.Member)
		}
		fmt.Fprintf(&w.out, "%s %s generation %d leader %s protocol %s", g.Group, g.State, g.Generation,
			w.alias(g.Leader), g.Protocol)
		for _, m := range g.Members {
			fmt.Fprintf(&w.out, " [%s %s %q]", w.alias(m.Member), opt(m.Instance), m.Assignment)
		}
		w.out.WriteByte('\n')
	})
}

// args reads key=value arguments; `x=` gives the empty string.
type args struct {
	w *world
	d *datadriven.TestData
}

func (a args) str(key string) string {
	if !a.d.HasArg(key) {
		return ""
	}
	for _, arg := range a.d.CmdArgs {
		if arg.Key == key && len(arg.Vals) > 0 {
			return arg.Vals[0]
		}
	}
	return ""
}

func (a args) num(key string, def int64) int64 {
	if s := a.str(key); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			a.w.t.Fatal(err)
		}
		return n
	}
	return def
}

func (a args) opt(key string) *string {
	if !a.d.HasArg(key) {
		return nil
	}
	s := a.str(key)
	return &s
}

func (a args) member() string { return a.w.real(a.str("member")) }

func (a args) group() string {
	if a.d.HasArg("group") {
		return a.str("group")
	}
	return "g"
}

// list splits `a:1/b:2` into pairs.
func (a args) list(key string) (pairs [][2]string) {
	if a.str(key) == "" {
		return nil
	}
	for _, s := range strings.Split(a.str(key), "/") {
		k, v, _ := strings.Cut(s, ":")
		pairs = append(pairs, [2]string{k, v})
	}
	return pairs
}

func (w *world) run(d *datadriven.TestData) string {
	a := args{w, d}
	w.out.Reset()
	switch d.Cmd {
	case "lead":
		w.term++
		if d.HasArg("node") {
			w.leader = int(a.num("node", 1)) - 1
		}
		w.lead().Lead(w.now, w.term)
	case "resign":
		w.lead().Resign()
	case "tick":
		w.tick(a.num("ms", 0))
	case "hold":
		w.hold = true
	case "release", "fail", "unknown":
		o := map[string]Outcome{"release": Committed, "fail": NotAppended, "unknown": Unknown}[d.Cmd]
		for len(w.held) > 0 {
			w.settleFirst(o)
		}
		w.hold = d.HasArg("hold")
	case "live":
		w.view(w.lead().Live)
	case "stored":
		w.view(w.lead().Groups)
	case "topic": // what the metadata says of it from now on
		w.topics[a.str("name")], w.gone[a.str("name")] = a.topicID(), d.HasArg("gone")
	case "sweep":
		fmt.Fprintf(&w.out, "stale %v\n", w.lead().Stale())
		w.lead().Sweep(w.now)
	case "topic-deleted":
		w.lead().TopicDeleted(w.now, a.str("topic"), a.topicID())
	default:
		w.ask(w.request(a))
	}
	return w.out.String()
}

func (w *world) request(a args) any {
	switch a.d.Cmd {
	case "join":
		return w.joinRequest(a)
	case "sync":
		r := &SyncRequest{
			Group: a.group(), Member: a.member(), Instance: a.opt("instance"),
			Generation: int32(a.num("generation", 0)), ProtocolType: a.opt("type"), Protocol: a.opt("protocol"),
			RequireProtocol: a.d.HasArg("v5"),
		}
		for _, p := range a.list("assign") {
			r.Assignments = append(r.Assignments, Assignment{Member: w.real(p[0]), Bytes: []byte(p[1])})
		}
		return r
	case "heartbeat":
		return &HeartbeatRequest{Group: a.group(), Member: a.member(), Instance: a.opt("instance"),
			Generation: int32(a.num("generation", 0))}
	case "leave":
		r := &LeaveRequest{Group: a.group()}
		for _, p := range a.list("members") {
			m := LeaveMember{Member: w.real(p[0])}
			if p[1] != "" {
				m.Instance = &p[1]
			}
			r.Members = append(r.Members, m)
		}
		return r
	case "commit":
		return w.commitRequest(a)
	case "fetch":
		return &OffsetFetchRequest{Group: a.group(), Topics: a.topics(), RequireStable: a.d.HasArg("stable")}
	case "describe":
		return &DescribeRequest{Group: a.group(), NameUnknown: a.d.HasArg("v6")}
	case "list":
		r := &ListRequest{}
		for _, p := range a.list("states") {
			r.States = append(r.States, p[0])
		}
		for _, p := range a.list("types") {
			r.Types = append(r.Types, p[0])
		}
		return r
	case "delete":
		return &DeleteGroupRequest{Group: a.group()}
	case "delete-offsets":
		return &OffsetDeleteRequest{Group: a.group(), Topics: a.topics()}
	}
	w.t.Fatalf("%s: unknown command %q", a.d.Pos, a.d.Cmd)
	return nil
}

func (w *world) joinRequest(a args) *JoinRequest {
	r := &JoinRequest{
		Group: a.group(), Member: a.member(), Instance: a.opt("instance"), ClientID: "client",
		ClientHost: "/10.0.0.1", SessionMillis: int32(a.num("session", 10_000)),
		RebalanceMillis: int32(a.num("rebalance", 60_000)), ProtocolType: "consumer",
		RequireKnownMember: !a.d.HasArg("v3"), MaySkipAssignment: !a.d.HasArg("v3"),
	}
	if a.d.HasArg("type") {
		r.ProtocolType = a.str("type")
	}
	protocols := a.list("protocols")
	if !a.d.HasArg("protocols") {
		protocols = [][2]string{{"range", "sub"}}
	}
	for _, p := range protocols {
		meta := []byte(p[1])
		if topics, ok := strings.CutPrefix(p[1], "topics="); ok {
			meta = []byte{0, 0, 0, 0, 0, 1, 0, byte(len(topics))}
			meta = append(append(meta, topics...), 0, 0, 0, 0)
		}
		r.Protocols = append(r.Protocols, Protocol{Name: p[0], Metadata: meta})
	}
	return r
}

// topics reads `t:0/t:1`.
func (a args) topics() (list []FetchTopic) {
	for _, p := range a.list("topics") {
		n, err := strconv.Atoi(p[1])
		if err != nil {
			a.w.t.Fatal(err)
		}
		list = append(list, FetchTopic{Topic: p[0], TopicID: a.topicID(), Partitions: []int32{int32(n)}})
	}
	return list
}

func (a args) topicID() (id TopicID) {
	id[15] = byte(a.num("topic-id", 0))
	return id
}

func (w *world) commitRequest(a args) any {
	r := &OffsetCommitRequest{
		Group: a.group(), Member: a.member(), Instance: a.opt("instance"),
		Generation: int32(a.num("generation", -1)), RetentionMillis: a.num("retention", -1),
		NameUnknownGroup: a.d.HasArg("v9"),
	}
	for _, t := range a.topics() {
		r.Topics = append(r.Topics, CommitTopic{Topic: t.Topic, TopicID: t.TopicID,
			Partitions: []CommitPartition{{
				Partition: t.Partitions[0], Offset: a.num("offset", 0),
				LeaderEpoch: int32(a.num("epoch", -1)), Metadata: a.str("metadata"),
			}}})
	}
	return r
}

// TestTranscripts plays testdata/*.txt. If one fails, run it with -rewrite and read the diff.
func TestTranscripts(t *testing.T) {
	files := 0
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		files++
		var w *world
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd == "new" {
				a := args{&world{t: t}, d}
				w = newWorld(t, int32(a.num("delay", 3000)), [2]int{int(a.num("max", 1000)), int(a.num("max2", 1000))})
				w.term++
				w.lead().Lead(w.now, w.term)
				return ""
			}
			w.t = t
			return w.run(d)
		})
		if len(w.held) > 0 {
			t.Errorf("%s: an append was never settled", path)
		}
		w.lead().Resign()
		for n := 1; n <= w.labels; n++ {
			if w.answers[n] != 1 {
				t.Errorf("%s: request %d was answered %d times", path, n, w.answers[n])
			}
		}
	})
	if files < 10 {
		t.Fatalf("%d transcripts", files)
	}
}
