package workload

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"slices"

	"github.com/karst-stream/karst/checker"
)

// Value names a record.
type Value = checker.Value

// A value in a record: mark, producer, partition, counter, length, filler, CRC of all before. Whoever
// finds the mark in any bytes can say whose record it is and whether it is whole.
const (
	markSize = 8
	// ValueHead is how many bytes name a value.
	ValueHead = markSize + 2 + 2 + 4 + 4
	minValue  = ValueHead + 4
)

var (
	mark       = [markSize]byte{0xF5, 'k', 'S', 'v', 0xFA, 0x1D, 'u', 0xE7}
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// appendValue writes a value of n bytes in all.
func appendValue(b []byte, v Value, n int) []byte {
	n = max(n, minValue)
	at := len(b)
	b = slices.Grow(b, n+8)
	b = append(b, mark[:]...)
	b = binary.LittleEndian.AppendUint16(b, v.Producer)
	b = binary.LittleEndian.AppendUint16(b, v.Partition)
	b = binary.LittleEndian.AppendUint32(b, v.Counter)
	b = binary.LittleEndian.AppendUint32(b, uint32(n))
	x := uint64(v.Counter)<<32 ^ uint64(v.Producer)<<16 ^ uint64(v.Partition) ^ 0x9e3779b97f4a7c15
	for len(b)-at < n-4 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b = binary.LittleEndian.AppendUint64(b, x&^0x8080808080808080) // never the mark
	}
	b = b[:at+n-4]
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[at:], castagnoli))
}

// ParseValue reads the value that b is, whole.
func ParseValue(b []byte) (v Value, ok bool) {
	v, n, ok := head(b)
	if !ok || n != len(b) {
		return v, false
	}
	return v, binary.LittleEndian.Uint32(b[n-4:]) == crc32.Checksum(b[:n-4], castagnoli)
}

func head(b []byte) (v Value, n int, ok bool) {
	if len(b) < minValue || [markSize]byte(b) != mark {
		return v, 0, false
	}
	v.Producer = binary.LittleEndian.Uint16(b[8:])
	v.Partition = binary.LittleEndian.Uint16(b[10:])
	v.Counter = binary.LittleEndian.Uint32(b[12:])
	n = int(binary.LittleEndian.Uint32(b[16:]))
	return v, n, n >= minValue
}

// FindValues visits every value that begins in b, with its position. whole is false when its bytes
// are not all there or do not match their CRC.
func FindValues(b []byte, visit func(v Value, at, n int, whole bool)) {
	for at := 0; ; {
		i := bytes.Index(b[at:], mark[:])
		if i < 0 {
			return
		}
		at += i
		v, n, ok := head(b[at:])
		if !ok {
			visit(v, at, min(len(b)-at, minValue), false)
			at += markSize
			continue
		}
		if n > len(b)-at {
			visit(v, at, len(b)-at, false)
			return
		}
		whole := binary.LittleEndian.Uint32(b[at+n-4:]) == crc32.Checksum(b[at:at+n-4], castagnoli)
		visit(v, at, n, whole)
		at += n
	}
}

// SameHead says whether b, ValueHead bytes from a file, begins value v.
func SameHead(b []byte, v Value) bool {
	return [markSize]byte(b) == mark && binary.LittleEndian.Uint16(b[8:]) == v.Producer &&
		binary.LittleEndian.Uint16(b[10:]) == v.Partition && binary.LittleEndian.Uint32(b[12:]) == v.Counter
}
