package api

import (
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/record"
	"github.com/karst-stream/karst/core/wire"
)

// intake is what can be known of a frame without any state.
type intake struct {
	header  wire.RequestHeader
	body    wire.Message // nil when refused or tooNew
	batches []judged     // Produce: one for each partition, in the order of the request
	refused bool         // the connection ends
	tooNew  bool         // ApiVersions in a version that is not served: answered in version 0 (KIP-511)
}

// maxPartitions is how many partitions one Produce or Fetch may name. No client comes near; a frame full
// of them would cost many times its size while it is answered.
const maxPartitions = 100_000

// Intake reads a frame and, for Produce, checks every batch in it: header, CRC, counts, offsets. It is
// pure; drivers call it before the step, on whatever goroutine read the frame, so that the step does not
// spend its time on checksums (DESIGN.md 11, rule 14). The result goes to Conn.Frame with the frame, which
// it borrows.
func Intake(frame core.Ref) any { return read(frame) }

func read(frame core.Ref) *intake {
	in := &intake{}
	r := wire.NewReader(frame)
	in.header.Decode(r)
	a := wire.Lookup(in.header.ApiKey)
	if r.Err() != nil || a == nil || handlerOf(a.Key) == nil {
		in.refused = true
		return in
	}
	if !a.Decodes(in.header.ApiVersion) {
		in.tooNew = a.Key == wire.KeyApiVersions
		in.refused = !in.tooNew
		return in
	}
	body := a.NewRequest()
	body.Decode(r, in.header.ApiVersion)
	if r.Err() != nil { // bytes behind the last field are ignored, as Kafka does
		in.refused = true
		return in
	}
	in.body = body
	switch q := body.(type) {
	case *wire.ProduceRequest:
		in.judge(q)
	case *wire.FetchRequest:
		n := 0
		for i := range q.Topics {
			n += 1 + len(q.Topics[i].Partitions)
		}
		in.refused = n > maxPartitions
	}
	return in
}

// overlaps says whether the request may act while others of its kind are unanswered.
func (in *intake) overlaps() bool {
	k := in.header.ApiKey
	return !in.refused && (k == wire.KeyProduce || k == wire.KeyFetch)
}

func (in *intake) judge(q *wire.ProduceRequest) {
	n := 0
	for i := range q.TopicData {
		n += 1 + len(q.TopicData[i].PartitionData)
	}
	if in.refused = n > maxPartitions; in.refused {
		return
	}
	in.batches = make([]judged, 0, n)
	for i := range q.TopicData {
		for j := range q.TopicData[i].PartitionData {
			in.batches = append(in.batches, judge(in.header.ApiVersion, q.TopicData[i].PartitionData[j].Records))
		}
	}
}

// judge follows ProduceRequest.validateRecords, then UnifiedLog and LogValidator.
func judge(version int16, records core.Ref) judged {
	b, rest, err := record.Next(records.Bytes())
	switch {
	case err == record.ErrMagic && records.Bytes()[16] > 2:
		return judged{verdict: noMagic}
	case err == record.ErrMagic:
		return judged{verdict: oldMagic}
	case err == record.ErrSize:
		return judged{verdict: badSize}
	case err != nil || len(rest) > 0:
		return judged{verdict: notOneBatch}
	case b.Codec() == record.Zstd && version < 7:
		return judged{verdict: zstdTooEarly}
	}
	p, facts := b.Inspect()
	switch p {
	case record.Corrupt:
		return judged{verdict: badSum}
	case record.Invalid:
		return judged{verdict: malformed}
	case record.WrongMagic:
		return judged{verdict: oldMagic}
	}
	return judged{fine, facts}
}

// judged is what Intake knows of the records of one partition.
type judged struct {
	verdict verdict
	facts   record.Facts // of records that are not compressed
}

// verdict is what Intake found out about the records of one partition.
type verdict uint8

const (
	fine verdict = iota
	noMagic
	oldMagic
	badSize
	notOneBatch
	zstdTooEarly
	badSum
	malformed
)

var verdicts = [...]refusal{
	noMagic: {wire.CorruptMessage, "Invalid magic found in record"},
	oldMagic: {wire.InvalidRecord,
		"Produce requests are only allowed to contain record batches with magic version 2"},
	badSize:     {wire.CorruptMessage, "Record batch has an impossible size"},
	notOneBatch: {wire.InvalidRecord, "Produce requests must have exactly one record batch per partition"},
	zstdTooEarly: {wire.UnsupportedCompressionType,
		"Produce requests with versions below 7 are not allowed to use ZStandard compression"},
	badSum: {wire.CorruptMessage, "Record batch is corrupt: its CRC does not match"},
	malformed: {wire.InvalidRecord,
		"Record batch is malformed: counts, offsets or attributes do not agree with its records"},
}

// refusal is an error with what a client is told of it.
type refusal struct {
	err     wire.Error
	message string
}
