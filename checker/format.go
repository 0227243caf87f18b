package checker

import (
	"fmt"
	"strconv"
)

// FormatName and FormatVersion stand in the first line of a history file; docs/history-format.md
// explains every field. A reader refuses other versions: a rule that it does not know could make
// what it calls clean a lie.
const (
	FormatName    = "karst-history"
	FormatVersion = 1
)

// Kind says what an operation was.
type Kind uint8

// The kinds of operations, by the names that stand in a history.
const (
	Produce Kind = iota
	Assign
	Fetch
	Scan
	Sealed
	ListOffsets
	Commit
	FetchOffset
	Own
	InitProducer
	CreateTopic
	DeleteTopic
	GrowTopic
	Metadata
	AlterConfig
	DescribeConfig
	kinds
)

// Outcome says what a client knows of the end of its operation.
type Outcome uint8

// OK: it happened. Fail: it certainly did not, and never will. Unknown: it may have happened, or may
// yet happen.
const (
	OK Outcome = iota
	Fail
	Unknown
	outcomes
)

var outcomeNames = [outcomes]string{"ok", "fail", "unknown"}

func (o Outcome) String() string { return outcomeNames[o] }

// Run is a row of records of one producer, counters and offsets both without gaps:
// first offset, producer, first counter, how many.
type Run [4]int64

// Leader is what a metadata answer said of a partition: partition, leader node, leader epoch.
type Leader [3]int64

// Op is one operation of a history. Which fields mean something depends on the Kind; NewOp gives the
// others their defaults. Times are nanoseconds since the recording began, on one clock.
type Op struct {
	Kind    Kind
	Outcome Outcome
	Whole   bool // Produce: one batch, appended whole or not at all
	Exists  bool // Metadata

	Process, Call, Done                     int64
	Partition, Producer, First, Count, Acks int64
	PID, Epoch, Seq, Base                   int64
	From, HW, LeaderEpoch, End, At, Offset  int64
	Generation, Node                        int64
	Error, Topic, Group, Member, Token      string
	TopicID, Resource, Key, Value           string
	Runs                                    []Run
	Leaders                                 []Leader
	Sums, Times, Partitions, Bad            []int64
}

// shape is how a field is written.
type shape uint8

const (
	number shape = iota
	text
	truth
	numbers // [1,2]
	tuples  // [[1,2],[3,4]]
)

// fieldRule is one field of the format. Optional numbers have a default, which is not written.
type fieldRule struct {
	name     string
	shape    shape
	min, max int64
	def      int64
	width    int // of tuples
	num      func(*Op) *int64
	str      func(*Op) *string
	bit      func(*Op) *bool
	list     func(*Op) *[]int64
}

const (
	maxInt    = 1<<63 - 1
	maxText   = 1 << 16
	maxCount  = 1 << 20
	maxNumber = 1<<16 - 1 // of processes, producers and partitions
)

type field uint8

const (
	fProcess field = iota
	fCall
	fDone
	fError
	fTopic
	fPartition
	fProducer
	fFirst
	fCount
	fAcks
	fWhole
	fPID
	fEpoch
	fSeq
	fBase
	fSums
	fFrom
	fRuns
	fHW
	fLeaderEpoch
	fBad
	fTimes
	fEnd
	fAt
	fOffset
	fGroup
	fMember
	fGeneration
	fToken
	fPartitions
	fNode
	fExists
	fTopicID
	fLeaders
	fResource
	fKey
	fValue
	fields
	fOp      // handled apart
	fOutcome // handled apart
	noField  // before the first
)

var rules = [fields]fieldRule{
	fProcess:     {name: "process", max: maxNumber, num: func(o *Op) *int64 { return &o.Process }},
	fCall:        {name: "call", max: maxInt, num: func(o *Op) *int64 { return &o.Call }},
	fDone:        {name: "done", max: maxInt, num: func(o *Op) *int64 { return &o.Done }},
	fError:       {name: "error", shape: text, str: func(o *Op) *string { return &o.Error }},
	fTopic:       {name: "topic", shape: text, str: func(o *Op) *string { return &o.Topic }},
	fPartition:   {name: "partition", max: maxNumber, num: func(o *Op) *int64 { return &o.Partition }},
	fProducer:    {name: "producer", max: maxNumber, num: func(o *Op) *int64 { return &o.Producer }},
	fFirst:       {name: "first", max: 1<<32 - maxCount, num: func(o *Op) *int64 { return &o.First }},
	fCount:       {name: "count", min: 1, max: maxCount, num: func(o *Op) *int64 { return &o.Count }},
	fAcks:        {name: "acks", min: -1, max: 1, num: func(o *Op) *int64 { return &o.Acks }},
	fWhole:       {name: "whole", shape: truth, bit: func(o *Op) *bool { return &o.Whole }},
	fPID:         {name: "pid", min: -1, max: maxInt, def: -1, num: func(o *Op) *int64 { return &o.PID }},
	fEpoch:       {name: "epoch", min: -1, max: 1<<15 - 1, def: -1, num: func(o *Op) *int64 { return &o.Epoch }},
	fSeq:         {name: "seq", min: -1, max: 1<<31 - 1, def: -1, num: func(o *Op) *int64 { return &o.Seq }},
	fBase:        {name: "base", min: -1, max: 1 << 60, def: -1, num: func(o *Op) *int64 { return &o.Base }},
	fSums:        {name: "sums", shape: numbers, max: 1<<32 - 1, list: func(o *Op) *[]int64 { return &o.Sums }},
	fFrom:        {name: "from", max: 1 << 60, num: func(o *Op) *int64 { return &o.From }},
	fRuns:        {name: "runs", shape: tuples, max: 1 << 60, width: 4},
	fHW:          {name: "hw", min: -1, max: 1 << 60, def: -1, num: func(o *Op) *int64 { return &o.HW }},
	fLeaderEpoch: {name: "leader_epoch", min: -1, max: 1<<31 - 1, def: -1, num: func(o *Op) *int64 { return &o.LeaderEpoch }},
	fBad:         {name: "bad", shape: numbers, max: 1 << 60, list: func(o *Op) *[]int64 { return &o.Bad }},
	fTimes:       {name: "times", shape: numbers, min: -1, max: maxInt, list: func(o *Op) *[]int64 { return &o.Times }},
	fEnd:         {name: "end", max: 1 << 60, num: func(o *Op) *int64 { return &o.End }},
	fAt:          {name: "at", min: -2, max: maxInt, num: func(o *Op) *int64 { return &o.At }},
	fOffset:      {name: "offset", min: -1, max: 1 << 60, def: -1, num: func(o *Op) *int64 { return &o.Offset }},
	fGroup:       {name: "group", shape: text, str: func(o *Op) *string { return &o.Group }},
	fMember:      {name: "member", shape: text, str: func(o *Op) *string { return &o.Member }},
	fGeneration:  {name: "generation", min: -1, max: 1<<31 - 1, def: -1, num: func(o *Op) *int64 { return &o.Generation }},
	fToken:       {name: "token", shape: text, str: func(o *Op) *string { return &o.Token }},
	fPartitions:  {name: "partitions", shape: numbers, max: maxNumber, list: func(o *Op) *[]int64 { return &o.Partitions }},
	fNode:        {name: "node", min: -1, max: 1<<31 - 1, num: func(o *Op) *int64 { return &o.Node }},
	fExists:      {name: "exists", shape: truth, bit: func(o *Op) *bool { return &o.Exists }},
	fTopicID:     {name: "topic_id", shape: text, str: func(o *Op) *string { return &o.TopicID }},
	fLeaders:     {name: "leaders", shape: tuples, min: -1, max: 1<<31 - 1, width: 3},
	fResource:    {name: "resource", shape: text, str: func(o *Op) *string { return &o.Resource }},
	fKey:         {name: "key", shape: text, str: func(o *Op) *string { return &o.Key }},
	fValue:       {name: "value", shape: text, str: func(o *Op) *string { return &o.Value }},
}

// kindRule says which fields an operation has: always, when it was ok, if the recorder likes, and
// those two together. What stands in an answer has no place in an operation that got none: nobody
// would judge it.
type kindRule struct {
	name                     string
	always, ok, maybe, okMay []field
}

var kindRules = [kinds]kindRule{
	Produce: {"produce", []field{fTopic, fPartition, fProducer, fFirst, fCount, fAcks}, nil,
		[]field{fWhole, fPID, fEpoch, fSeq, fSums}, []field{fBase}},
	Assign:         {"assign", []field{fTopic, fPartition, fFrom}, nil, nil, nil},
	Fetch:          {"fetch", []field{fTopic, fPartition, fFrom}, []field{fRuns, fHW}, nil, []field{fLeaderEpoch, fSums, fBad}},
	Scan:           {"scan", []field{fTopic, fPartition, fBase, fCount}, []field{fRuns}, nil, []field{fPID, fEpoch, fSeq, fSums, fTimes, fBad}},
	Sealed:         {"sealed", []field{fTopic, fPartition, fFrom, fEnd}, nil, nil, nil},
	ListOffsets:    {"list_offsets", []field{fTopic, fPartition, fAt}, []field{fOffset}, nil, []field{fLeaderEpoch}},
	Commit:         {"commit", []field{fGroup, fTopic, fPartition, fOffset, fToken}, nil, []field{fMember, fGeneration}, nil},
	FetchOffset:    {"fetch_offset", []field{fGroup, fTopic, fPartition}, []field{fOffset, fToken}, nil, nil},
	Own:            {"own", []field{fGroup, fMember, fTopic}, []field{fGeneration, fPartitions}, nil, nil},
	InitProducer:   {"init_producer", nil, []field{fPID, fEpoch}, nil, nil},
	CreateTopic:    {"create_topic", []field{fTopic, fCount}, nil, nil, []field{fTopicID}},
	DeleteTopic:    {"delete_topic", []field{fTopic}, nil, nil, nil},
	GrowTopic:      {"grow_topic", []field{fTopic, fCount}, nil, nil, nil},
	Metadata:       {"metadata", []field{fTopic}, []field{fNode, fExists}, nil, []field{fTopicID, fCount, fLeaders}},
	AlterConfig:    {"alter_config", []field{fResource, fKey, fValue}, nil, nil, nil},
	DescribeConfig: {"describe_config", []field{fResource, fKey}, []field{fValue}, nil, nil},
}

func (k Kind) String() string { return kindRules[k].name }

// fieldSet holds fields by bit.
type fieldSet uint64

const _ = uint(62 - fOutcome) // every field has a bit

func (s fieldSet) has(f field) bool { return s>>f&1 == 1 }

var (
	fieldByName  = map[string]field{"op": fOp, "outcome": fOutcome}
	fieldKeys    = [noField]string{fOp: `"op":`, fOutcome: `"outcome":`} // as programs write them
	kindByName   = map[string]Kind{}
	allowed      [kinds][outcomes]fieldSet
	required     [kinds][outcomes]fieldSet
	defaultsOfOp = Op{PID: -1, Epoch: -1, Seq: -1, Base: -1, HW: -1, LeaderEpoch: -1, Offset: -1, Generation: -1}
)

func init() {
	for f := range fields {
		fieldByName[rules[f].name] = f
		fieldKeys[f] = `"` + rules[f].name + `":`
	}
	common := fieldSet(1<<fProcess | 1<<fCall | 1<<fDone)
	for k := range kinds {
		r := &kindRules[k]
		kindByName[r.name] = k
		need := common | setOf(r.always)
		may := need | 1<<fError | setOf(r.maybe)
		for o := range outcomes {
			required[k][o], allowed[k][o] = need, may
		}
		required[k][OK] |= setOf(r.ok)
		allowed[k][OK] |= setOf(r.ok) | setOf(r.okMay)
	}
}

func setOf(l []field) (s fieldSet) {
	for _, f := range l {
		s |= 1 << f
	}
	return s
}

// NewOp is an operation whose optional fields say that nothing is known.
func NewOp(k Kind) Op {
	o := defaultsOfOp
	o.Kind = k
	return o
}

// AppendHeader appends the first line of a history file. The recorder is free text.
func AppendHeader(b []byte, recorder string) []byte {
	b = fmt.Appendf(b, `{"format":%q,"version":%d,"recorder":`, FormatName, FormatVersion)
	b = appendText(b, recorder)
	return append(b, "}\n"...)
}

// AppendEnd appends the last line: a history without it was cut short.
func AppendEnd(b []byte, operations int64) []byte {
	return fmt.Appendf(b, "{\"end\":%d}\n", operations)
}

// AppendOp appends an operation as one line.
func AppendOp(b []byte, o *Op) []byte {
	r := &kindRules[o.Kind]
	b = append(append(append(b, `{"op":"`...), r.name...), '"')
	for f := fProcess; f <= fDone; f++ {
		b = appendField(b, f, o)
	}
	b = append(append(append(b, `,"outcome":"`...), outcomeNames[o.Outcome]...), '"')
	if o.Error != "" {
		b = appendField(b, fError, o)
	}
	for _, f := range r.always {
		b = appendField(b, f, o)
	}
	for _, f := range r.maybe {
		if !isDefault(f, o) {
			b = appendField(b, f, o)
		}
	}
	if o.Outcome == OK {
		for _, f := range r.ok {
			b = appendField(b, f, o)
		}
		for _, f := range r.okMay {
			if !isDefault(f, o) {
				b = appendField(b, f, o)
			}
		}
	}
	return append(b, "}\n"...)
}

func isDefault(f field, o *Op) bool {
	r := &rules[f]
	switch r.shape {
	case number:
		return *r.num(o) == r.def
	case text:
		return *r.str(o) == ""
	case truth:
		return !*r.bit(o)
	case numbers:
		return len(*r.list(o)) == 0
	}
	return f == fRuns && len(o.Runs) == 0 || f == fLeaders && len(o.Leaders) == 0
}

func appendField(b []byte, f field, o *Op) []byte {
	r := &rules[f]
	b = append(append(append(b, `,"`...), r.name...), `":`...)
	switch r.shape {
	case number:
		return strconv.AppendInt(b, *r.num(o), 10)
	case text:
		return appendText(b, *r.str(o))
	case truth:
		return strconv.AppendBool(b, *r.bit(o))
	case numbers:
		return appendNumbers(b, *r.list(o))
	}
	b = append(b, '[')
	n := len(o.Runs)
	if f == fLeaders {
		n = len(o.Leaders)
	}
	for i := range n {
		if i > 0 {
			b = append(b, ',')
		}
		if f == fRuns {
			b = appendNumbers(b, o.Runs[i][:])
		} else {
			b = appendNumbers(b, o.Leaders[i][:])
		}
	}
	return append(b, ']')
}

func appendNumbers(b []byte, l []int64) []byte {
	b = append(b, '[')
	for i, n := range l {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, n, 10)
	}
	return append(b, ']')
}

// appendText appends a JSON string. Bytes that are no text become U+FFFD, as everywhere in JSON.
func appendText(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ':
			b = fmt.Appendf(b, `\u%04x`, r)
		default:
			b = append(b, string(r)...)
		}
	}
	return append(b, '"')
}
