package wire

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestFrames compares whole request frames with kmsg's, and reads them back through SplitFrame.
func TestFrames(t *testing.T) {
	formatter := kmsg.NewRequestFormatter(kmsg.FormatterClientID("client-ø"))
	for i := range APIs {
		a := &APIs[i]
		for v := a.Min; v <= a.Max; v++ {
			k := kmsg.RequestForKey(int16(a.Key))
			f := &filler{Rand: det.New(uint64(v), a.Name+" frame")}
			f.fill(reflect.ValueOf(k).Elem())
			k.SetVersion(v)
			trim(k, v)
			theirs := formatter.AppendRequest(nil, k, 77)

			frame, rest, _, ok, err := SplitFrame(append(bytes.Clone(theirs), 'x'), 1<<20)
			if !ok || err != nil || string(rest) != "x" {
				t.Fatalf("%s: split: %v, %v, %d bytes left", a.Name, ok, err, len(rest))
			}
			ref := core.RefOf(frame)
			r := NewReader(ref)
			r.SetBudget(1 << 30)
			var h RequestHeader
			h.Decode(r)
			if h.ApiKey != a.Key || h.ApiVersion != v || h.CorrelationId != 77 || *h.ClientId != "client-ø" {
				t.Fatalf("%s: header %+v", a.Name, h)
			}
			m := a.NewRequest()
			m.Decode(r, v)
			if err := r.Finish(); err != nil {
				t.Fatalf("%s version %d: %v", a.Name, v, err)
			}
			var w Writer
			w.Request(h, m)
			if ours := joined(w.Vec(nil)); !bytes.Equal(ours, theirs) {
				t.Fatalf("%s version %d\nwe write   %x\nkmsg writes %x", a.Name, v, ours, theirs)
			}
			ref.Release()
		}
	}
}

// TestResponseHeaders: tagged fields from the first flexible version on, but never for ApiVersions.
func TestResponseHeaders(t *testing.T) {
	for i := range APIs {
		a := &APIs[i]
		for v := a.Min; v <= a.Max; v++ {
			flexible := kmsg.RequestForKey(int16(a.Key))
			flexible.SetVersion(v)
			want := []byte{0, 0, 0, 0, 0, 0, 0, 9}
			if flexible.IsFlexible() && a.Name != "ApiVersions" {
				want = append(want, 0)
			}
			body := a.NewResponse()
			want = append(want, written(body, v)...)
			want[3] = byte(len(want) - 4)
			var w Writer
			w.Response(a.Key, v, 9, body)
			got := joined(w.Vec(nil))
			if !bytes.Equal(got, want) {
				t.Fatalf("%s version %d: %x, want %x", a.Name, v, got, want)
			}
			var h ResponseHeader
			r := NewBytesReader(got[4:])
			h.Decode(r, a.Key, v)
			if h.CorrelationId != 9 || !bytes.Equal(written(body, v), got[len(got)-r.Remaining():]) {
				t.Fatalf("%s version %d: header %+v leaves %d bytes", a.Name, v, h, r.Remaining())
			}
		}
	}
}

// TestVersionsAsKafka42 spells out what a 4.2 broker lists for the keys of this table (KAFKA-18659 for
// the least version of Produce).
func TestVersionsAsKafka42(t *testing.T) {
	want := map[Key][3]int16{ // advertised from, to; flexible from
		0: {0, 13, 9}, 1: {4, 18, 12}, 2: {1, 11, 6}, 3: {0, 13, 9}, 8: {2, 10, 8}, 9: {1, 10, 6}, 10: {0, 6, 3},
		11: {0, 9, 6}, 12: {0, 4, 4}, 13: {0, 5, 4}, 14: {0, 5, 4}, 15: {0, 6, 5}, 16: {0, 5, 3}, 18: {0, 4, 3},
		19: {2, 7, 5}, 20: {1, 6, 4}, 21: {0, 2, 2}, 22: {0, 5, 2}, 23: {2, 4, 4}, 29: {1, 3, 2}, 32: {1, 4, 4},
		33: {0, 2, 2}, 35: {1, 4, 2}, 37: {0, 3, 2}, 42: {0, 2, 2}, 43: {0, 2, 2}, 44: {0, 1, 1}, 47: {0, 0, 32767},
		55: {0, 2, 0}, 60: {0, 2, 0}, 61: {0, 0, 0}, 75: {0, 0, 0},
	}
	for i := range APIs {
		a := &APIs[i]
		if got := [3]int16{a.AdvertisedMin, a.AdvertisedMax, a.Flexible}; got != want[a.Key] {
			t.Errorf("%s: %v, want %v", a.Name, got, want[a.Key])
		}
		if Lookup(a.Key) != a || a.Key.String() != a.Name {
			t.Errorf("%s is not found by its key", a.Name)
		}
		if a.AdvertisedMax != a.Max || a.AdvertisedMin != a.Min && a.Key != KeyProduce {
			t.Errorf("%s is advertised wider than it is decoded", a.Name)
		}
	}
	if len(APIs) != len(want) {
		t.Errorf("%d keys, want %d", len(APIs), len(want))
	}
	for _, k := range []Key{-1, 4, 7, 76, 32767} {
		if Lookup(k) != nil {
			t.Errorf("key %d is known", k)
		}
	}
}

// TestHeaderOfTheUnknown: enough is read to answer a request that cannot be decoded.
func TestHeaderOfTheUnknown(t *testing.T) {
	for _, h := range []RequestHeader{
		{ApiKey: KeyApiVersions, ApiVersion: 99, CorrelationId: 5, ClientId: new("c")},
		{ApiKey: 1234, ApiVersion: 3, CorrelationId: 6},
		{ApiKey: KeyProduce, ApiVersion: 2, CorrelationId: 7, ClientId: new("")},
	} {
		var w Writer
		h.Encode(&w)
		var got RequestHeader
		r := NewBytesReader(w.Bytes())
		got.Decode(r)
		if err := r.Finish(); err != nil || !reflect.DeepEqual(got, h) {
			t.Errorf("%+v read as %+v: %v", h, got, err)
		}
	}
}

// TestVectorNamesRecords: long records and file regions are named, short ones copied, the order is
// kept, the length counts all, and every reference is the vector's own.
func TestVectorNamesRecords(t *testing.T) {
	live := core.Live.Load()
	long, short := core.NewRef(inlined+1), core.RefOf([]byte("short"))
	region := core.Ref{File: 9, Off: 4096, Len: 1 << 20}
	m := &FetchResponse{Responses: []FetchResponseTopic{{Partitions: []FetchResponsePartition{
		{Records: long}, {Records: short}, {Records: region}, {}}}}}
	var w Writer
	w.Response(KeyFetch, 13, 1, m)
	size := w.Len()
	vec := w.Vec(nil)
	m.ReleaseRecords()

	named := slices.DeleteFunc(slices.Clone(vec), func(r core.Ref) bool { return r != long && r != region })
	if !slices.Equal(named, []core.Ref{long, region}) || len(vec) != 5 {
		t.Fatalf("the vector is %v", vec)
	}
	head := vec[0].Bytes()
	if n := int(head[0])<<24 | int(head[1])<<16 | int(head[2])<<8 | int(head[3]); n != size-4 || core.Size(vec) != int64(size) {
		t.Errorf("length says %d, Len %d, the vector holds %d", n, size, core.Size(vec))
	}
	if !bytes.Contains(vec[2].Bytes(), []byte("short")) {
		t.Errorf("short records are not between the named ones")
	}
	for _, r := range vec {
		r.Release()
	}
	w.Response(KeyFetch, 13, 1, oneFetched(region))
	w.Reset()
	if n := core.Live.Load() - live; n != 0 || w.Len() != 0 {
		t.Errorf("%d buffers live, %d bytes kept", n, w.Len())
	}
}

// TestRecordsAreBorrowed: decoded records are the frame's own bytes.
func TestRecordsAreBorrowed(t *testing.T) {
	batch := core.RefOf([]byte("batch"))
	defer batch.Release()
	in := &ProduceRequest{TopicData: []ProduceRequestTopic{{Name: "t",
		PartitionData: []ProduceRequestPartition{{Records: batch}, {}}}}}
	b := written(in, 12)
	frame := core.RefOf(append([]byte("head"), b...))
	defer frame.Release()
	body := frame.Slice(4, int32(len(b)))
	var out ProduceRequest
	out.Decode(NewReader(body), 12)
	got := out.TopicData[0].PartitionData
	if got[0].Records.Buf != frame.Buf || string(got[0].Records.Bytes()) != "batch" || got[1].Records != (core.Ref{}) {
		t.Fatalf("records %+v", got)
	}
	r := NewBytesReader(b)
	if out.Decode(r, 12); !errors.Is(r.Err(), ErrRecords) {
		t.Fatalf("records without a frame: %v", r.Err())
	}
}

// TestErrorCodes compares codes, names and flags with kerr, except where Kafka's own classes differ.
func TestErrorCodes(t *testing.T) {
	kafkaSays := map[Error]bool{ConcurrentTransactions: true, BrokerNotAvailable: false,
		ShareSessionNotFound: true, InvalidShareSessionEpoch: true}
	for e := UnknownServerError; e <= ShareSessionLimitReached; e++ {
		if e == None {
			continue
		}
		k := kerr.TypedErrorForCode(int16(e))
		retriable, special := kafkaSays[e]
		if !special {
			retriable = k.Retriable
		}
		name := k.Message
		if e == NotLeaderOrFollower {
			name = "NOT_LEADER_OR_FOLLOWER"
		}
		if e.String() != name || e.Retriable() != retriable || e.Message() == "" {
			t.Errorf("%d is %s, %v, %q; kerr has %+v", e, e, e.Retriable(), e.Message(), k)
		}
	}
	if None.String() != "NONE" || None.Retriable() || Error(134).String() != "UNKNOWN_CODE_134" || Error(-2).Retriable() {
		t.Error("codes outside of the table")
	}
}

func TestUUID(t *testing.T) {
	u, err := ParseUUID("lk6TnzAqTP2z4hLkSk6n3g")
	if err != nil || u.String() != "lk6TnzAqTP2z4hLkSk6n3g" || u[0] != 0x96 || u[15] != 0xde {
		t.Errorf("%x, %v", u, err)
	}
	for _, bad := range []string{"", "lk6TnzAqTP2z4hLkSk6n3", "lk6TnzAqTP2z4hLkSk6n3h", "lk6TnzAqTP2z4hLkSk6n3+"} {
		if _, err := ParseUUID(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
