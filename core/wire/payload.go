package wire

import "github.com/karst-stream/karst/core"

// Payloads are messages inside of bytes fields and record keys and values: their version stands in
// front of them.

// AppendPayload appends version v of m, behind v, to dst.
func AppendPayload(dst []byte, m Message, v int16) []byte {
	w := Writer{b: dst}
	w.Int16(v)
	m.Encode(&w, v)
	return w.Bytes()
}

// DecodePayload reads m behind its version, which it returns. Unknown versions and trailing bytes are
// errors.
func DecodePayload(b []byte, m Message) (int16, error) {
	r := NewBytesReader(b)
	v := r.Int16()
	m.Decode(r, v)
	return v, r.Finish()
}

// consumerProtocolMax is the newest version of the consumer protocol that the codec knows.
const consumerProtocolMax = 3

// DecodeSubscription reads what a consumer said in JoinGroup and returns its version. Members may be
// newer than we are: as in Kafka, a later version reads as the newest one known, and bytes behind the
// last field are ignored.
func DecodeSubscription(b []byte, m *ConsumerProtocolSubscription) (int16, error) {
	return decodeLenient(b, m)
}

// DecodeAssignment reads what a leader handed to a consumer, as lenient as DecodeSubscription.
func DecodeAssignment(b []byte, m *ConsumerProtocolAssignment) (int16, error) {
	return decodeLenient(b, m)
}

func decodeLenient(b []byte, m Message) (int16, error) {
	r := NewBytesReader(b)
	v := r.Int16()
	m.Decode(r, min(v, consumerProtocolMax))
	return v, r.Err()
}

// ReleaseRecords gives back all Records, for a response into which their owner put them.
func (m *FetchResponse) ReleaseRecords() {
	for i := range m.Responses {
		for j := range m.Responses[i].Partitions {
			p := &m.Responses[i].Partitions[j]
			p.Records.Release()
			p.Records = core.Ref{}
		}
	}
}
