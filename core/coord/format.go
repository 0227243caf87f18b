package coord

import (
	"encoding/binary"
	"errors"
	"math"
)

// The records of `__consumer_offsets` are Kafka's own (group-coordinator/src/main/resources/common/
// message/*.json), so that kafka-console-consumer's formatters and backup tools read them. Every key
// and value begins with its version. Read: OffsetCommitKey v0-1, OffsetCommitValue v0-4,
// GroupMetadataKey v2, GroupMetadataValue v0-4. Written: OffsetCommitKey v1 with OffsetCommitValue
// v3, or v4 when the commit names a topic id, or v1 when it brings its own retention;
// GroupMetadataKey v2 with GroupMetadataValue v3.

var (
	errForeign   = errors.New("coord: a record of a kind that is not known here")
	errMalformed = errors.New("coord: a record that does not parse")
)

const (
	groupKeyVersion  = 2
	offsetKeyVersion = 1
	valueVersionMax  = 4 // of both values; from here on they are flexible
	maxString        = math.MaxInt16
)

// recordKey is a key of either kind; a group's has an empty topic and isGroup set.
type recordKey struct {
	isGroup   bool
	group     string
	topic     string
	partition int32
}

// commit is one committed offset.
type commit struct {
	offset  int64
	epoch   int32 // of the partition's leader when the consumer read there; -1: unknown
	meta    string
	at      int64 // Wall, ms
	expires int64 // Wall, ms; -1: when the broker's retention says so
	topicID TopicID
}

// groupMeta is a group as GroupMetadataValue stores it.
type groupMeta struct {
	protocolType string
	generation   int32
	protocol     *string
	leader       *string
	since        int64 // Wall, ms; -1: unknown
	members      []memberMeta
}

type memberMeta struct {
	id         string
	instance   *string
	clientID   string
	clientHost string
	rebalance  int32 // ms
	session    int32 // ms
	meta       []byte
	assignment []byte
}

func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

func appendNullable(b []byte, s *string) []byte {
	if s == nil {
		return append(b, 0xff, 0xff)
	}
	return appendString(b, *s)
}

func appendBytes(b, v []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(v)))
	return append(b, v...)
}

func appendI32(b []byte, v int32) []byte { return binary.BigEndian.AppendUint32(b, uint32(v)) }
func appendI64(b []byte, v int64) []byte { return binary.BigEndian.AppendUint64(b, uint64(v)) }

func encodeGroupKey(group string) []byte {
	return appendString([]byte{0, groupKeyVersion}, group)
}

func encodeOffsetKey(group, topic string, partition int32) []byte {
	b := make([]byte, 0, 2+2+len(group)+2+len(topic)+4)
	b = append(b, 0, offsetKeyVersion)
	b = appendString(appendString(b, group), topic)
	return appendI32(b, partition)
}

func encodeCommit(c commit) []byte {
	b := make([]byte, 0, 48+len(c.meta))
	switch {
	case c.expires >= 0:
		b = appendI64([]byte{0, 1}, c.offset)
		b = appendI64(appendString(b, c.meta), c.at)
		return appendI64(b, c.expires)
	case c.topicID == TopicID{}:
		b = appendI64(append(b, 0, 3), c.offset)
		b = appendString(appendI32(b, c.epoch), c.meta)
		return appendI64(b, c.at)
	}
	b = appendI64(append(b, 0, 4), c.offset)
	b = appendI32(b, c.epoch)
	b = append(binary.AppendUvarint(b, uint64(len(c.meta))+1), c.meta...)
	b = append(appendI64(b, c.at), 1, 0, byte(len(c.topicID))) // one tagged field: number 0, 16 bytes
	return append(b, c.topicID[:]...)
}

func encodeGroup(g *groupMeta) []byte {
	b := appendString([]byte{0, 3}, g.protocolType)
	b = appendI32(b, g.generation)
	b = appendNullable(appendNullable(b, g.protocol), g.leader)
	b = appendI64(b, g.since)
	b = appendI32(b, int32(len(g.members)))
	for i := range g.members {
		m := &g.members[i]
		b = appendNullable(appendString(b, m.id), m.instance)
		b = appendString(appendString(b, m.clientID), m.clientHost)
		b = appendI32(appendI32(b, m.rebalance), m.session)
		b = appendBytes(appendBytes(b, m.meta), m.assignment)
	}
	return b
}

// reader takes fields off hostile bytes; after the first that does not fit, bad is set and all is zero.
type reader struct {
	b        []byte
	flexible bool // compact lengths and tagged fields (KIP-482)
	bad      bool
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.b, r.bad = nil, true
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) i16() int16 {
	if v := r.take(2); v != nil {
		return int16(binary.BigEndian.Uint16(v))
	}
	return 0
}

func (r *reader) i32() int32 {
	if v := r.take(4); v != nil {
		return int32(binary.BigEndian.Uint32(v))
	}
	return 0
}

func (r *reader) i64() int64 {
	if v := r.take(8); v != nil {
		return int64(binary.BigEndian.Uint64(v))
	}
	return 0
}

func (r *reader) uvarint() int {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > math.MaxInt32 {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[n:]
	return int(v)
}

// length reads the length of a string, or of bytes or an array; -1 is null.
func (r *reader) length(ofString bool) int {
	switch {
	case r.flexible:
		return r.uvarint() - 1
	case ofString:
		return int(r.i16())
	}
	return int(r.i32())
}

func (r *reader) nullable() *string {
	n := r.length(true)
	if n == -1 || r.bad {
		return nil
	}
	s := string(r.take(n))
	return &s
}

func (r *reader) string() string {
	s := r.nullable()
	if s == nil {
		r.bad = true
		return ""
	}
	return *s
}

// bytes copies: the batch is only lent.
func (r *reader) bytes() []byte { return append([]byte{}, r.take(r.length(false))...) }

// tags reads the tagged fields of a structure, handing each to visit.
func (r *reader) tags(visit func(tag int, v []byte)) {
	if !r.flexible {
		return
	}
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		tag := r.uvarint()
		v := r.take(r.uvarint())
		if !r.bad && visit != nil {
			visit(tag, v)
		}
	}
}

func (r *reader) end() error {
	if r.bad || len(r.b) != 0 {
		return errMalformed
	}
	return nil
}

func decodeKey(b []byte) (recordKey, error) {
	r := reader{b: b}
	switch version := r.i16(); {
	case r.bad:
		return recordKey{}, errMalformed
	case version == groupKeyVersion:
		k := recordKey{isGroup: true, group: r.string()}
		return k, r.end()
	case version >= 0 && version <= offsetKeyVersion:
		k := recordKey{group: r.string(), topic: r.string(), partition: r.i32()}
		return k, r.end()
	}
	return recordKey{}, errForeign
}

// openValue reads a value's version.
func openValue(b []byte) (reader, int16, error) {
	r := reader{b: b}
	version := r.i16()
	r.flexible = version >= valueVersionMax
	switch {
	case r.bad:
		return r, 0, errMalformed
	case version < 0 || version > valueVersionMax:
		return r, 0, errForeign
	}
	return r, version, nil
}

func decodeCommit(b []byte) (commit, error) {
	r, version, err := openValue(b)
	if err != nil {
		return commit{}, err
	}
	c := commit{offset: r.i64(), epoch: -1, expires: -1}
	if version >= 3 {
		c.epoch = r.i32()
	}
	c.meta, c.at = r.string(), r.i64()
	if version == 1 {
		c.expires = r.i64()
	}
	r.tags(func(tag int, v []byte) {
		if tag == 0 && len(v) == len(c.topicID) {
			c.topicID = TopicID(v)
		}
	})
	return c, r.end()
}

// The least that a member takes in any version: v4 with six lengths and a tag count of one byte each.
const minMember = 6 + 4 + 4 + 1

func decodeGroup(b []byte) (*groupMeta, error) {
	r, version, err := openValue(b)
	if err != nil {
		return nil, err
	}
	g := &groupMeta{protocolType: r.string(), generation: r.i32(), since: -1}
	g.protocol, g.leader = r.nullable(), r.nullable()
	if version >= 2 {
		g.since = r.i64()
	}
	n := r.length(false)
	if n < 0 || n > len(r.b)/minMember || n > 0 && g.protocol == nil {
		return nil, errMalformed
	}
	for range n {
		m := memberMeta{id: r.string(), rebalance: -1}
		if version >= 3 {
			m.instance = r.nullable()
		}
		m.clientID, m.clientHost = r.string(), r.string()
		if version >= 1 {
			m.rebalance = r.i32()
		}
		m.session = r.i32()
		m.meta, m.assignment = r.bytes(), r.bytes()
		r.tags(nil)
		if r.bad {
			return nil, errMalformed
		}
		g.members = append(g.members, m)
	}
	r.tags(nil)
	return g, r.end()
}
