package wire

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/karst-stream/karst/core/det"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// versioned gives kmsg's payloads, whose version is a field, the methods of its messages.
type versioned struct {
	payload interface {
		AppendTo([]byte) []byte
		ReadFrom([]byte) error
	}
}

func (p versioned) SetVersion(v int16) {
	reflect.ValueOf(p.payload).Elem().FieldByName("Version").SetInt(int64(v))
}
func (p versioned) AppendTo(b []byte) []byte { return p.payload.AppendTo(b) }
func (p versioned) ReadFrom(b []byte) error  { return p.payload.ReadFrom(b) }

func fresh[T any, P interface {
	*T
	Message
}]() Message {
	return P(new(T))
}

var payloads = []struct {
	lo, hi int16
	ours   func() Message
	theirs func() versioned
}{
	{0, 3, fresh[ConsumerProtocolSubscription], func() versioned { return versioned{new(kmsg.ConsumerMemberMetadata)} }},
	{0, 3, fresh[ConsumerProtocolAssignment], func() versioned { return versioned{new(kmsg.ConsumerMemberAssignment)} }},
	{0, 1, fresh[OffsetCommitKey], func() versioned { return versioned{new(kmsg.OffsetCommitKey)} }},
	{0, 4, fresh[OffsetCommitValue], func() versioned { return versioned{new(kmsg.OffsetCommitValue)} }},
	{2, 2, fresh[GroupMetadataKey], func() versioned { return versioned{new(kmsg.GroupMetadataKey)} }},
	{0, 4, fresh[GroupMetadataValue], func() versioned { return versioned{new(kmsg.GroupMetadataValue)} }},
}

// TestPayloadsAgainstKmsg is TestAgainstKmsg for the messages that hide in bytes and records.
func TestPayloadsAgainstKmsg(t *testing.T) {
	for _, p := range payloads {
		for v := p.lo; v <= p.hi; v++ {
			m, k := p.ours(), p.theirs()
			name := reflect.TypeOf(m).Elem().Name()
			f := &filler{Rand: det.New(uint64(v), name)}
			for range rounds {
				f.fill(reflect.ValueOf(m).Elem())
				a := AppendPayload([]byte("x"), m, v)[1:]
				if err := k.ReadFrom(a); err != nil {
					t.Fatalf("kmsg cannot read %s version %d: %v in %x", name, v, err, a)
				}
				k.SetVersion(v)
				if b := k.AppendTo(nil); !bytes.Equal(a, b) {
					t.Fatalf("%s version %d\nwe write   %x\nkmsg writes %x", name, v, a, b)
				}
				back := p.ours()
				if got, err := DecodePayload(a, back); got != v || err != nil {
					t.Fatalf("%s version %d reads as %d, %v", name, v, got, err)
				}
				same(t, name, reflect.ValueOf(back).Elem(), reflect.ValueOf(k.payload).Elem())
			}
		}
	}
}

// TestNewerConsumers: a member that is newer than the broker is understood, as far as it goes.
func TestNewerConsumers(t *testing.T) {
	in := ConsumerProtocolSubscription{Topics: []string{"a", "b"}, GenerationId: 7, RackId: new("r1")}
	b := AppendPayload(nil, &in, 3)
	b[1] = 9
	b = append(b, "of the future"...)
	var out ConsumerProtocolSubscription
	if v, err := DecodeSubscription(b, &out); v != 9 || err != nil {
		t.Fatalf("version %d, %v", v, err)
	}
	if len(out.Topics) != 2 || out.GenerationId != 7 || *out.RackId != "r1" {
		t.Fatalf("read %+v", out)
	}
	if _, err := DecodePayload(b, &out); !errors.Is(err, ErrVersion) {
		t.Fatalf("strict: %v", err)
	}
	if _, err := DecodeSubscription([]byte{0x80, 0}, &out); !errors.Is(err, ErrVersion) {
		t.Fatalf("negative version: %v", err)
	}
	if _, err := DecodeAssignment(nil, new(ConsumerProtocolAssignment)); !errors.Is(err, ErrTruncated) {
		t.Fatalf("nothing at all: %v", err)
	}
}
