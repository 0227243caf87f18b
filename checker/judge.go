package checker

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"sort"

	"github.com/karst-stream/karst/core"
)

// Limits bound what judging a history may cost. A history that needs more gets an error.
type Limits struct {
	Bytes int64 // of memory, roughly; 0: 4 GiB
	Shown int   // violations that are kept of each id, the others are counted; 0: 20
}

// Verdict is what is known of a history that was understood.
type Verdict struct {
	Recorder   string           `json:"recorder"`
	Operations int64            `json:"operations"`
	Unknown    int64            `json:"unknown"` // operations of which nobody knows the outcome
	Sends      int64            `json:"sends_acknowledged"`
	Records    int64            `json:"records_read"`
	Partitions int              `json:"partitions"`
	WeakLost   int64            `json:"weak_records_lost"` // acknowledged with acks=1 or 0, which promises nothing
	Counts     map[string]int64 `json:"anomalies"`         // by id
	Violations []Violation      `json:"-"`                 // the first of each id
}

// Clean says that nothing happened that must not.
func (v *Verdict) Clean() bool { return len(v.Counts) == 0 }

// IDs are the ids of what was found, sorted.
func (v *Verdict) IDs() []string {
	var ids []string
	for id := range v.Counts {
		ids = append(ids, id)
	}
	sort.Strings(ids)
	return ids
}

// ErrIncomplete: the history lacks what a verdict needs, such as the final read of a partition.
var ErrIncomplete = errors.New("the history cannot be judged whole")

// maxAhead is how far a record's counter may be ahead of all that its producer is known for.
const maxAhead = 1 << 20

// Judge tells the judges a history, operation by operation. Registers, logs and generations that it
// collected are there for a second opinion after Finish.
type Judge struct {
	Log       *Log
	Groups    *Groups
	Topics    *Topics
	Producers *Producers

	// Heard is called for each violation, at once; nil: nobody is.
	Heard func(Violation)

	limits  Limits
	verdict Verdict
	kept    map[string]int
	places  map[Place]int32
	lately  int32 // the partition that was named last
	names   []Place
	tracks  []*track // by the number of the partition
	cells   map[cellKey]*Object
	known   []*Object // cells, as they were first named
	others  int64     // operations on anything but partitions, that were ok
	held    int64
}

// track is what Judge keeps of a partition beside Log.
type track struct {
	order   Ordered
	open    []send // to be found in the log
	acked   []reach
	clock   Clock
	sealed  bool
	session map[uint16]session
}

// send is one whose place no answer told.
type send struct {
	v     Value
	count int32
	Span
}

// reach says that the log reached an offset by an instant.
type reach struct{ at, end int64 }

type session struct {
	pid    int64
	number uint16
}

// NewJudge has been told nothing yet.
func NewJudge(limits Limits) *Judge {
	if limits.Bytes == 0 {
		limits.Bytes = 4 << 30
	}
	if limits.Shown == 0 {
		limits.Shown = 20
	}
	j := &Judge{limits: limits, kept: map[string]int{}, places: map[Place]int32{}, cells: map[cellKey]*Object{}}
	j.verdict.Counts = map[string]int64{}
	j.Log = NewLog(0, j.found)
	j.Log.Late, j.Log.Sparse = true, true
	j.Log.name = func(part int32) string { return j.names[part].String() }
	j.Groups, j.Topics, j.Producers = NewGroups(j.found), NewTopics(j.found), NewProducers(j.found)
	return j
}

func (j *Judge) found(v Violation) {
	j.verdict.Counts[v.ID]++
	if j.Heard != nil {
		j.Heard(v)
	}
	if j.verdict.Counts[v.ID] <= int64(j.limits.Shown) {
		j.verdict.Violations = append(j.verdict.Violations, v)
	}
}

func (j *Judge) place(o *Op) (int32, error) {
	p := Place{o.Topic, o.Partition}
	if l := int(j.lately); l < len(j.names) && j.names[l] == p {
		return j.lately, nil
	}
	if n, ok := j.places[p]; ok {
		j.lately = n
		return n, nil
	}
	n := int32(len(j.names))
	if n > maxNumber {
		return 0, fmt.Errorf("%w: more than %d partitions", ErrHistory, maxNumber+1)
	}
	j.places[p] = n
	j.names = append(j.names, p)
	j.tracks = append(j.tracks, &track{order: Ordered{Units: true}, session: map[uint16]session{}})
	j.Log.grow()
	j.held += 1024 + int64(len(o.Topic))
	return n, nil
}

// Tell judges the next operation. An error means that the history cannot be judged; it is no verdict.
func (j *Judge) Tell(o *Op) error {
	j.verdict.Operations++
	if o.Outcome == Unknown {
		j.verdict.Unknown++
	}
	span := Span{o.Call, o.Done}
	switch o.Kind {
	case Produce, Assign, Fetch, Scan, Sealed, ListOffsets:
		n, err := j.place(o)
		if err == nil {
			err = j.record(o, n)
		}
		if err != nil {
			return err
		}
	case Commit:
		j.other(o)
		j.Groups.Committed(o.Group, Place{o.Topic, o.Partition}, o.Offset, o.Token, o.Generation, span, o.Outcome, stale(o.Error))
	case Own:
		j.other(o)
		if o.Outcome == OK {
			j.Groups.Owned(o.Group, o.Member, o.Generation, o.Topic, o.Partitions, span)
		}
	default:
		j.other(o)
		j.cell(o, span)
		j.administer(o, span)
	}
	return j.bounded()
}

// other counts what happened beside partitions.
func (j *Judge) other(o *Op) {
	if o.Outcome == OK {
		j.others++
	}
}

func (j *Judge) bounded() error {
	if j.heldBytes() > j.limits.Bytes {
		return fmt.Errorf("%w: it takes more than %d MiB of memory; judge it in parts or with a higher limit", ErrHistory, j.limits.Bytes>>20)
	}
	return nil
}

// heldBytes is roughly what all judges hold.
func (j *Judge) heldBytes() int64 {
	return j.held + j.Log.held + j.Groups.held + j.Topics.held + j.Producers.held
}

func (j *Judge) administer(o *Op, span Span) {
	if o.Outcome != OK && o.Kind != DeleteTopic {
		return
	}
	switch o.Kind {
	case FetchOffset:
		j.Groups.Fetched(o.Group, Place{o.Topic, o.Partition}, o.Offset, o.Token, span)
	case InitProducer:
		j.Producers.Given(o.Process, o.PID, o.Epoch, span)
	case CreateTopic:
		j.Topics.Created(o.Topic, o.TopicID, span)
	case DeleteTopic:
		if o.Outcome != Fail {
			j.Topics.Deleted(o.Topic, span)
		}
	case Metadata:
		j.Topics.Shown(o.Node, o.Topic, o.TopicID, o.Exists, o.Count, o.Leaders, span)
	}
}

// stale says whether an error refuses a generation that is over.
func stale(e string) bool {
	return e == "ILLEGAL_GENERATION" || e == "STALE_MEMBER_EPOCH" || e == "FENCED_MEMBER_EPOCH"
}

func (j *Judge) record(o *Op, n int32) error {
	t := j.tracks[n]
	switch o.Kind {
	case Produce:
		return j.produce(o, n, t)
	case Assign:
		if o.Outcome != OK {
			return fmt.Errorf("%w: a reader that chose its position did so: an assign is ok", ErrHistory)
		}
		j.Log.Assigned(int(o.Process), n, core.Offset(o.From))
	case Fetch:
		return j.fetch(o, n)
	case Scan:
		return j.scan(o, n, t)
	case Sealed:
		p := j.Log.parts[n]
		if t.sealed || o.Outcome != OK || o.End < o.From || o.End > o.From && p.scan != core.Offset(o.End) {
			return fmt.Errorf("%w: %v is sealed from %d to %d, and its final read reached %d", ErrHistory, j.names[n], o.From, o.End, p.scan)
		}
		if p.scanned && p.scanFrom > core.Offset(o.From) {
			return fmt.Errorf("%w: %v is sealed from %d, and its final read began at %d", ErrHistory, j.names[n], o.From, p.scanFrom)
		}
		t.sealed, t.order.Start = true, o.From
	case ListOffsets:
		j.listed(o, n, t)
	}
	return nil
}

func (j *Judge) listed(o *Op, n int32, t *track) {
	if o.Outcome != OK {
		return
	}
	j.held += 32
	switch {
	case o.At == -1:
		t.order.Seens = append(t.order.Seens, Seen{At: o.Offset, Span: Span{o.Call, o.Done}})
		if o.LeaderEpoch >= 0 {
			j.Log.Latest(int(o.Process), n, core.Epoch(o.LeaderEpoch), core.Offset(o.Offset))
		}
	case o.At >= 0:
		t.clock.Asked(o.At, o.Offset, Span{o.Call, o.Done})
	}
}

func (j *Judge) near(v Value, count int64) error {
	if ahead := int64(v.Counter) + count - int64(j.Log.known(v)); ahead > maxAhead {
		return fmt.Errorf("%w: value %d of producer %d is %d ahead of all that is known of it", ErrHistory, v.Counter, v.Producer, ahead)
	}
	return nil
}

func (j *Judge) produce(o *Op, n int32, t *track) error {
	v := Value{uint16(o.Producer), uint16(n), uint32(o.First)}
	if err := j.near(v, o.Count); err != nil {
		return err
	}
	if len(o.Sums) > 0 && int64(len(o.Sums)) != o.Count {
		return fmt.Errorf("%w: %d sums for %d records", ErrHistory, len(o.Sums), o.Count)
	}
	count := int(o.Count)
	j.Log.SentWith(v, count, Promise{Weak: o.Acks != -1, Loose: o.PID < 0, Pieces: !o.Whole, Session: t.since(v.Producer, o.PID)})
	if len(o.Sums) > 0 {
		j.Log.Sums(v, o.Sums)
	}
	span := Span{o.Call, o.Done}
	switch {
	case o.Outcome == Fail:
		j.Log.Failed(v, count)
		return nil
	case o.Outcome == Unknown || o.Acks != -1:
		span.Ret = Forever
	}
	if o.Outcome == OK && o.Base >= 0 {
		j.Log.Acked(v, count, core.Offset(o.Base))
	} else if o.Outcome == OK {
		j.Log.AckedSomewhere(v, count)
	}
	j.held += 48
	if o.Outcome != OK || o.Acks != -1 || o.Base < 0 {
		t.open = append(t.open, send{v, int32(count), span})
		return nil
	}
	t.order.Steps = append(t.order.Steps, Step{At: o.Base, Width: o.Count, Span: span})
	if end := o.Base + o.Count; len(t.acked) == 0 || end > t.acked[len(t.acked)-1].end {
		t.acked = append(t.acked, reach{o.Done, end})
	}
	return nil
}

// since numbers the producer ids that a producer had in a partition, one after the other.
func (t *track) since(producer uint16, pid int64) uint16 {
	s, ok := t.session[producer] // not more of them than fates, which are counted
	if !ok || s.pid != pid {
		if ok {
			s.number++
		}
		s.pid = pid
		t.session[producer] = s
	}
	return s.number
}

func (j *Judge) fetch(o *Op, n int32) error {
	reader := int(o.Process)
	c := j.Log.begin(reader, n, core.Offset(o.From))
	if o.Outcome != OK {
		if o.Error == "OFFSET_OUT_OF_RANGE" && c.at == core.Offset(o.From) {
			j.Log.OutOfRange(reader, n, core.Offset(o.From))
		}
		return nil
	}
	end, err := j.runs(o, n, c)
	if err != nil {
		return err
	}
	if o.LeaderEpoch >= 0 {
		j.Log.Fetched(reader, n, core.Epoch(o.LeaderEpoch), core.Offset(o.HW), end)
	} else if end > core.Offset(o.HW) {
		j.Log.Fetched(reader, n, -1, core.Offset(o.HW), end)
	}
	return nil
}

// runs tells of the records that an operation gave. It returns the offset after the last of them.
func (j *Judge) runs(o *Op, n int32, c *cursor) (end core.Offset, err error) {
	sum := 0
	poll := j.verdict.Operations
	for _, b := range o.Bad {
		j.Log.Corrupt(n, core.Offset(b), "the bytes there are no value, or not the one that was sent")
	}
	for _, r := range o.Runs {
		v := Value{uint16(r[1]), uint16(n), uint32(r[2])}
		if err := cmp.Or(j.near(v, r[3]), j.bounded()); err != nil {
			return 0, err
		}
		at, count := core.Offset(r[0]), core.Offset(r[3])
		j.Log.follow(int(o.Process), n, c, poll, at, count)
		j.Log.Reads += r[3]
		for i := range count {
			w := Value{v.Producer, v.Partition, v.Counter + uint32(i)}
			j.Log.read(n, at+i, w)
			if sum < len(o.Sums) {
				j.Log.ReadSum(w, at+i, uint32(o.Sums[sum]))
			}
			sum++
		}
		end = max(end, at+count)
	}
	if len(o.Sums) > 0 && len(o.Sums) != sum {
		return 0, fmt.Errorf("%w: %d sums for %d records", ErrHistory, len(o.Sums), sum)
	}
	return end, nil
}

func (j *Judge) scan(o *Op, n int32, t *track) error {
	if t.sealed || o.Outcome != OK || o.Base < 0 {
		return fmt.Errorf("%w: a final read of %v that is sealed already, or not ok", ErrHistory, j.names[n])
	}
	if o.PID >= 0 && (o.Epoch < 0 || o.Seq < 0) {
		return fmt.Errorf("%w: a batch of producer %d without its epoch and sequence", ErrHistory, o.PID)
	}
	if len(o.Times) > 0 && int64(len(o.Times)) != o.Count {
		return fmt.Errorf("%w: %d times for %d records", ErrHistory, len(o.Times), o.Count)
	}
	have := int64(len(o.Bad))
	for _, r := range o.Runs {
		if have += r[3]; r[0] < o.Base || r[0]+r[3] > o.Base+o.Count {
			return fmt.Errorf("%w: %v lies outside of its batch", ErrHistory, r)
		}
	}
	if have != o.Count {
		return fmt.Errorf("%w: a batch of %d records shows %d", ErrHistory, o.Count, have)
	}
	c := j.Log.begin(int(o.Process), n, core.Offset(o.Base))
	j.Log.Scanned(n, core.Offset(o.Base), int32(o.Count), o.PID, int16(o.Epoch), int32(o.Seq))
	if _, err := j.runs(o, n, c); err != nil {
		return err
	}
	for i, at := range o.Times {
		if err := t.clock.Record(o.Base+int64(i), at); err != nil {
			return fmt.Errorf("%w: %v", ErrHistory, err)
		}
	}
	j.held += 16 * int64(len(o.Times))
	return nil
}

// Finish gives the verdict. ErrIncomplete comes with one too: what was found is true, but that nothing
// else was says little.
func (j *Judge) Finish() (*Verdict, error) {
	v := &j.verdict
	if len(j.names) > 0 || j.others == 0 {
		j.Log.Finish()
	}
	var open []Place
	for n, t := range j.tracks {
		j.settle(int32(n), t)
		if !t.sealed {
			open = append(open, j.names[n])
		}
	}
	j.Groups.Finish()
	j.Topics.Finish()
	j.Producers.Finish()
	v.Sends, v.Records, v.WeakLost, v.Partitions = j.Log.Acks, j.Log.Reads, j.Log.WeakLost, len(j.names)
	if len(open) > 0 {
		return v, fmt.Errorf("%w: %v was never read to its end and sealed (%d partitions of %d)", ErrIncomplete, open[0], len(open), len(j.names))
	}
	return v, nil
}

// settle judges the order of a partition's appends and of the answers about its end (L1), and its time
// index.
func (j *Judge) settle(n int32, t *track) {
	for _, s := range t.open {
		for i := range s.count {
			w := Value{s.v.Producer, s.v.Partition, s.v.Counter + uint32(i)}
			if f := j.Log.fate(w); f.at >= 0 && !f.has(isLoose) {
				t.order.Steps = append(t.order.Steps, Step{At: int64(f.at), Width: 1, Span: s.Span})
			} else if f.at >= 0 {
				t.order.Holes = true // it may be there more than once
			}
		}
	}
	if c := t.order.Check(); c != nil {
		j.found(Violation{"L1", fmt.Sprintf("%v: appends and answers about the end of the log fit no order: offset %d, an operation between %d and %d ns: %s",
			j.names[n], c.At, c.Call, c.Ret, c.Why)})
	}
	ended := func(at int64) int64 {
		i := sort.Search(len(t.acked), func(i int) bool { return t.acked[i].at >= at })
		if i == 0 {
			return t.order.Start
		}
		return t.acked[i-1].end
	}
	t.clock.Finish(ended, func(what string) {
		j.found(Violation{"A29", fmt.Sprintf("%v: %s", j.names[n], what)})
	})
}

// JudgeHistory reads a history and judges it. The Judge is there for a second opinion; it is nil when
// the verdict is.
func JudgeHistory(r io.Reader, limits Limits) (*Verdict, *Judge, error) {
	d, err := NewReader(r)
	if err != nil {
		return nil, nil, err
	}
	j := NewJudge(limits)
	j.verdict.Recorder = d.Recorder
	var o Op
	for {
		switch err := d.Next(&o); {
		case err == io.EOF:
			v, err := j.Finish()
			return v, j, err
		case err != nil:
			return nil, nil, err
		}
		if err := j.Tell(&o); err != nil {
			return nil, nil, fmt.Errorf("operation %d: %w", d.Read, err)
		}
	}
}
