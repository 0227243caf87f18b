package wire

import (
	"testing"

	"github.com/karst-stream/karst/core"
)

// produceFrame is one batch of n bytes for one partition.
func produceFrame(v int16, n int) core.Ref {
	batch := core.NewRef(n)
	defer batch.Release()
	var w Writer
	w.Request(RequestHeader{ApiKey: KeyProduce, ApiVersion: v, CorrelationId: 1, ClientId: new("producer-1")},
		&ProduceRequest{Acks: -1, TimeoutMs: 30000, TopicData: []ProduceRequestTopic{{Name: "flights",
			PartitionData: []ProduceRequestPartition{{Records: batch}}}}})
	return core.RefOf(joined(w.Vec(nil))[4:])
}

func readProduce(r *Reader, frame core.Ref, h *RequestHeader, m *ProduceRequest) error {
	r.Reset(frame)
	h.Decode(r)
	m.Decode(r, h.ApiVersion)
	return r.Finish()
}

// oneFetched is the answer to a fetch of one partition.
func oneFetched(records core.Ref) *FetchResponse {
	p := NewFetchResponsePartition()
	p.Records = records
	return &FetchResponse{SessionId: 7, Responses: []FetchResponseTopic{{Partitions: []FetchResponsePartition{p}}}}
}

// TestHotPathAllocations holds the codec to what a produced batch and a fetched region may cost.
func TestHotPathAllocations(t *testing.T) {
	frame := produceFrame(13, 4096)
	defer frame.Release()
	var r Reader
	var h RequestHeader
	var m ProduceRequest
	if n := testing.AllocsPerRun(100, func() {
		if err := readProduce(&r, frame, &h, &m); err != nil {
			t.Fatal(err)
		}
	}); n > 4 {
		t.Errorf("a Produce request costs %v allocations: client id 2, topics, partitions", n)
	}
	answer := oneFetched(core.Ref{File: 1, Len: 1 << 20})
	var w Writer
	var vec []core.Ref
	if n := testing.AllocsPerRun(100, func() {
		w.Response(KeyFetch, 16, 1, answer)
		vec = w.Vec(vec[:0])
		for _, ref := range vec {
			ref.Release()
		}
	}); n > 1 {
		t.Errorf("a Fetch response costs %v allocations", n)
	}
}

func BenchmarkDecodeProduce(b *testing.B) {
	frame := produceFrame(9, 64<<10)
	var r Reader
	var h RequestHeader
	var m ProduceRequest
	b.ReportAllocs()
	for b.Loop() {
		if err := readProduce(&r, frame, &h, &m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeFetch(b *testing.B) {
	answer := oneFetched(core.Ref{File: 1, Len: 1 << 20})
	var w Writer
	var vec []core.Ref
	b.ReportAllocs()
	for b.Loop() {
		w.Response(KeyFetch, 16, 1, answer)
		vec = w.Vec(vec[:0])
		for _, ref := range vec {
			ref.Release()
		}
	}
}
