package replica

import (
	"reflect"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/journal"
)

func stub(pid int64, epoch int16, seq int32, base core.Offset, n int32) *journal.Stub {
	return &journal.Stub{PID: pid, PEpoch: epoch, Seq: seq, Base: base, Count: n, Len: 100}
}

func TestABatchIsJudgedByWhatCameBefore(t *testing.T) {
	var ps producers
	base := core.Offset(0)
	for i := range int32(7) {
		ps.fold(stub(9, 2, i*3, base, 3))
		base += 3
	}
	for _, c := range []struct {
		name string
		s    *journal.Stub
		want verdict
		base core.Offset
	}{
		{"the next", stub(9, 2, 21, 0, 1), fresh, 0},
		{"the last again", stub(9, 2, 18, 0, 3), duplicate, 18},
		{"the fifth last again", stub(9, 2, 6, 0, 3), duplicate, 6},
		{"older than what is remembered", stub(9, 2, 3, 0, 3), outOfOrder, 0},
		{"a gap", stub(9, 2, 24, 0, 1), outOfOrder, 0},
		{"the same sequence with another count", stub(9, 2, 18, 0, 2), outOfOrder, 0},
		{"an older epoch", stub(9, 1, 21, 0, 1), fenced, 0},
		{"a newer epoch from 0", stub(9, 3, 0, 0, 1), fresh, 0},
		{"a newer epoch from elsewhere", stub(9, 3, 5, 0, 1), outOfOrder, 0},
		{"an unknown producer from 0", stub(10, 0, 0, 0, 1), fresh, 0},
		{"an unknown producer's second batch", stub(10, 0, 4, 0, 1), outOfOrder, 0},
	} {
		if v, b := ps.judge(c.s); v != c.want || b != c.base {
			t.Errorf("%s: verdict %d at %d, want %d at %d", c.name, v, b, c.want, c.base)
		}
	}
}

func TestSequencesWrapToZero(t *testing.T) {
	var ps producers
	ps.fold(stub(1, 0, 0, 0, 1))
	ps.folded.At(1).sent[0].seq = 1<<31 - 2
	ps.fold(stub(1, 0, 1<<31-1, 1, 1))
	if v, _ := ps.judge(stub(1, 0, 0, 0, 1)); v != fresh {
		t.Errorf("after 2^31-1 comes 0: verdict %d", v)
	}
	if v, _ := ps.judge(stub(1, 0, 1, 0, 1)); v != outOfOrder {
		t.Errorf("and not 1: verdict %d", v)
	}
}

func TestTheTipIsTheFoldPlusTheTail(t *testing.T) {
	var ps producers
	ps.fold(stub(4, 0, 0, 0, 2))
	ps.extend(stub(4, 0, 2, 2, 2))
	if v, b := ps.judge(stub(4, 0, 2, 0, 2)); v != duplicate || b != 2 {
		t.Errorf("an uncommitted batch is known: %d at %d", v, b)
	}
	before := ps.digest()
	ps.tip = nil // the tail was truncated
	if v, _ := ps.judge(stub(4, 0, 2, 0, 2)); v != fresh {
		t.Errorf("a truncated batch is new: %d", v)
	}
	if ps.digest() != before {
		t.Error("the tail is no part of the replicated state")
	}
	ps.extend(stub(4, 0, 2, 2, 2))
	ps.fold(stub(4, 0, 2, 2, 2))
	if len(ps.tip) != 0 {
		t.Error("what is folded leaves the tip")
	}
}

func TestProducersSurviveACheckpoint(t *testing.T) {
	var ps, back producers
	for pid := range int64(20) {
		for i := range int32(pid) {
			ps.fold(stub(pid, int16(pid%3), i, core.Offset(100*pid)+core.Offset(i), 1))
		}
	}
	b := ps.encode()
	if !back.decode(b) || back.digest() != ps.digest() || len(back.encode()) != len(b) {
		t.Fatal("what is decoded is not what was encoded")
	}
	for n := range b {
		var x producers
		if x.decode(b[:n]) && n > 0 {
			t.Fatalf("%d of %d bytes were taken for the whole", n, len(b))
		}
	}
}

// What tools are shown of a checkpoint is what it keeps; other bytes are refused.
func TestACheckpointIsShownInWords(t *testing.T) {
	var r Replica
	r.log = &window{first: 1}
	r.segs = []*segment{{base: 0, size: 700}, {base: 40, size: 20}}
	r.epochs = epochs{{0, 0}, {3, 12}}
	r.ps.folded.Set(7, &producer{epoch: 2, time: 99, n: 2, sent: [remembered]sent{{0, 5, 3}, {1<<31 - 2, 8, 4}}})
	b := r.encodeState()
	st, ok := DecodeState(b)
	want := State{[]SegmentState{{Base: 0, Bytes: 700}, {Base: 40, Bytes: 20}}, []EpochState{{0, 0}, {3, 12}}, []ProducerState{{ID: 7, Epoch: 2, Batches: 2,
		First: 1<<31 - 2, Last: 1, Offset: 8, Timestamp: 99}}}
	if !ok || !reflect.DeepEqual(st, want) {
		t.Errorf("%+v, want %+v", st, want)
	}
	rand := det.New(1, "state")
	for range 2000 {
		x := append([]byte(nil), b[:rand.N(int64(len(b)+1))]...)
		for range rand.N(3) {
			if len(x) > 0 {
				x[rand.N(int64(len(x)))] = byte(rand.N(256))
			}
		}
		DecodeState(x)
	}
	if _, ok := DecodeState(append(b, 0)); ok {
		t.Error("more than was written is believed")
	}
}
