package meta

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/config"
	"github.com/karst-stream/karst/core/det"
)

// The format of a command: version, kind, origin (node, start, number), then the fields of the kind in
// the order of their structs. Numbers are varints (signed ones zigzag), texts and lists carry their
// length first.
const formatVersion = 1

// ErrCommand is what every decoding error wraps.
var ErrCommand = errors.New("meta: not a command that this build can read")

// Encode makes the value of a record of the metadata log.
func Encode(o Origin, c Command) []byte {
	det.That(o.Number > 0, "meta: commands are numbered from 1")
	b := []byte{formatVersion, byte(c.kind())}
	b = binary.AppendVarint(b, int64(o.Node))
	b = binary.AppendUvarint(b, o.Start)
	b = binary.AppendUvarint(b, o.Number)
	switch c := c.(type) {
	case *RegisterBroker:
		b = appendBroker(b, &c.Broker)
	case *CreateTopic:
		b = appendText(b, c.Name)
		b = append(b, c.ID[:]...)
		b = binary.AppendVarint(b, int64(c.Partitions))
		b = binary.AppendVarint(b, int64(c.Replication))
		b = appendAssignment(b, c.Assignment)
		b = binary.AppendUvarint(b, uint64(len(c.Configs)))
		for _, kv := range c.Configs {
			b = appendText(appendText(b, kv.Key), kv.Value)
		}
		b = appendNodes(b, c.Live)
	case *DeleteTopic:
		b = appendText(b, c.Name)
		b = append(b, c.ID[:]...)
	case *CreatePartitions:
		b = appendText(b, c.Topic)
		b = binary.AppendVarint(b, int64(c.Count))
		b = appendAssignment(b, c.Assignment)
		b = appendNodes(b, c.Live)
	case *AlterConfigs:
		b = append(b, byte(c.Resource))
		b = appendText(b, c.Name)
		b = binary.AppendUvarint(b, uint64(len(c.Ops)))
		for _, op := range c.Ops {
			b = appendText(append(appendText(b, op.Key), byte(op.Op)), op.Value)
		}
	case *AllocateProducerIDs:
		b = binary.AppendVarint(b, int64(c.Count))
	case *Rejoin:
		b = binary.AppendVarint(b, int64(c.Node))
		b = binary.AppendUvarint(b, c.Mark)
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendNodes(b []byte, nodes []core.NodeID) []byte {
	b = binary.AppendUvarint(b, uint64(len(nodes)))
	for _, n := range nodes {
		b = binary.AppendVarint(b, int64(n))
	}
	return b
}

func appendAssignment(b []byte, a [][]core.NodeID) []byte {
	b = binary.AppendUvarint(b, uint64(len(a)))
	for _, nodes := range a {
		b = appendNodes(b, nodes)
	}
	return b
}

func appendBroker(b []byte, br *Broker) []byte {
	b = binary.AppendVarint(b, int64(br.ID))
	b = binary.AppendUvarint(b, uint64(br.Incarnation))
	b = appendText(b, br.Rack)
	b = binary.AppendUvarint(b, uint64(len(br.Listeners)))
	for _, l := range br.Listeners {
		b = appendText(appendText(b, l.Name), l.Host)
		b = binary.AppendUvarint(b, uint64(l.Port))
	}
	return b
}

// Decode reads what Encode made. It never panics, allocates at most some 30 times b, and takes no byte for
// granted; its result shares nothing with b.
func Decode(b []byte) (Origin, Command, error) {
	r := reader{b: b}
	if v := r.byte(); r.err == nil && v != formatVersion {
		r.fail("it has format %d, known is %d", v, formatVersion)
	}
	k := kind(r.byte())
	o := Origin{Node: r.node(), Start: r.uvarint(), Number: r.uvarint()}
	if r.err == nil && o.Number == 0 {
		r.fail("it has no number")
	}
	var c Command
	switch k {
	case kindRegisterBroker:
		c = &RegisterBroker{r.broker()}
	case kindCreateTopic:
		c = &CreateTopic{Name: r.text(), ID: r.id(), Partitions: r.int32(), Replication: r.int16(),
			Assignment: r.assignment(), Configs: r.configs(), Live: r.nodes(maxNodes)}
	case kindDeleteTopic:
		c = &DeleteTopic{Name: r.text(), ID: r.id()}
	case kindCreatePartitions:
		c = &CreatePartitions{Topic: r.text(), Count: r.int32(), Assignment: r.assignment(), Live: r.nodes(maxNodes)}
	case kindAlterConfigs:
		c = &AlterConfigs{Resource: Resource(r.byte()), Name: r.text(), Ops: r.ops()}
	case kindAllocateProducerIDs:
		c = &AllocateProducerIDs{Count: r.int32()}
	case kindRejoin:
		c = &Rejoin{Node: r.node(), Mark: r.uvarint()}
	default:
		r.fail("its kind is %d", k)
	}
	if r.err == nil && len(r.b) > 0 {
		r.fail("%d bytes follow it", len(r.b))
	}
	if r.err != nil {
		return Origin{}, nil, r.err
	}
	return o, c, nil
}

// AppendResult encodes a result, for the node that forwarded the command.
func AppendResult(b []byte, r Result) []byte {
	b = append(b, formatVersion, byte(r.Code))
	b = appendText(b, r.Message)
	b = append(b, r.TopicID[:]...)
	b = binary.AppendVarint(b, int64(r.Partitions))
	b = binary.AppendVarint(b, int64(r.Replication))
	b = binary.AppendUvarint(b, uint64(r.FirstGroup))
	b = binary.AppendVarint(b, int64(r.Added))
	return binary.AppendVarint(b, r.FirstProducer)
}

// DecodeResult reads what AppendResult made, and nothing else.
func DecodeResult(b []byte) (Result, error) {
	r := reader{b: b}
	if v := r.byte(); r.err == nil && v != formatVersion {
		r.fail("it has format %d, known is %d", v, formatVersion)
	}
	res := Result{Code: Code(r.byte()), Message: r.text(), TopicID: r.id(), Partitions: r.int32(), Replication: r.int16(),
		FirstGroup: core.GroupID(r.uvarint()), Added: r.int32(), FirstProducer: r.varint()}
	if r.err == nil && (len(r.b) > 0 || res.Code >= codes) {
		r.fail("it is no result")
	}
	if r.err != nil {
		return Result{}, r.err
	}
	return res, nil
}

// reader consumes b; after the first error everything it reads is zero.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: "+format, append([]any{ErrCommand}, args...)...)
	}
	r.b = nil
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.fail("it ends early")
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail("a number is broken")
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail("a number is broken")
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int32() int32 {
	v := r.varint()
	if int64(int32(v)) != v {
		r.fail("a number is out of range")
		return 0
	}
	return int32(v)
}

func (r *reader) int16() int16 {
	v := r.int32()
	if int32(int16(v)) != v {
		r.fail("a number is out of range")
		return 0
	}
	return int16(v)
}

// node is the id of a node that acts. Lists of nodes come from clients and may hold any number:
// placing refuses what is not registered.
func (r *reader) node() core.NodeID {
	v := r.int32()
	if v < 0 {
		r.fail("a node id is negative")
		return 0
	}
	return core.NodeID(v)
}

// count is the length of a list whose elements take at least width bytes each.
func (r *reader) count(limit, width int) int {
	n := r.uvarint()
	if n > uint64(limit) || n > uint64(len(r.b)/width) {
		r.fail("a list claims %d elements", n)
		return 0
	}
	return int(n)
}

func (r *reader) text() string { return string(r.take(r.count(maxText, 1))) }

func (r *reader) id() (id [16]byte) {
	copy(id[:], r.take(16))
	return id
}

func (r *reader) nodes(limit int) []core.NodeID {
	n := r.count(limit, 1)
	if n == 0 {
		return nil
	}
	out := make([]core.NodeID, n)
	for i := range out {
		out[i] = core.NodeID(r.int32())
	}
	return out
}

func (r *reader) assignment() [][]core.NodeID {
	n := r.count(maxPartitions, 1)
	if n == 0 {
		return nil
	}
	out := make([][]core.NodeID, n)
	for i := range out {
		out[i] = r.nodes(maxNodes)
	}
	return out
}

func (r *reader) configs() []config.KV {
	n := r.count(maxConfigs, 2)
	if n == 0 {
		return nil
	}
	out := make([]config.KV, n)
	for i := range out {
		out[i] = config.KV{Key: r.text(), Value: r.text()}
	}
	return out
}

func (r *reader) ops() []ConfigOp {
	n := r.count(maxConfigs, 3)
	if n == 0 {
		return nil
	}
	out := make([]ConfigOp, n)
	for i := range out {
		out[i] = ConfigOp{Key: r.text(), Op: OpKind(r.byte()), Value: r.text()}
	}
	return out
}

func (r *reader) broker() Broker {
	b := Broker{ID: r.node()}
	inc := r.uvarint()
	if inc == 0 || inc > 1<<32-1 {
		r.fail("a broker has incarnation %d", inc)
	}
	b.Incarnation = uint32(inc)
	b.Rack = r.text()
	n := r.count(maxListeners, 3)
	for range n {
		l := Listener{Name: r.text(), Host: r.text()}
		port := r.uvarint()
		if port > 1<<16-1 {
			r.fail("a listener has port %d", port)
		}
		l.Port = uint16(port)
		b.Listeners = append(b.Listeners, l)
	}
	return b
}
