package record

import "encoding/binary"

// Marker says of a control batch whether it ends its producer's transaction, and how (ControlRecordType.java:
// the key of its first record is a version and a type). What is compressed or malformed, holds no record, or has
// another type ends none.
func (b Batch) Marker() (abort, ok bool) {
	if !b.Control() || b.Codec() != None || b.Count() == 0 {
		return false, false
	}
	kind, first := int16(-1), true
	err := b.RawsIn(b.Payload(), func(r *Raw) {
		if first && len(r.Key) >= 4 {
			kind = int16(binary.BigEndian.Uint16(r.Key[2:]))
		}
		first = false
	})
	return kind == 0, err == nil && (kind == 0 || kind == 1)
}
