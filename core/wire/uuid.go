package wire

import "errors"

// UUID is a topic id (KIP-516) or a directory id; the zero value means none.
type UUID [16]byte

const uuidAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// String is Kafka's form: base64 for URLs, without padding, 22 characters.
func (u UUID) String() string {
	var out [22]byte
	var acc uint32
	n, bits := 0, 0
	for _, b := range u {
		acc, bits = acc<<8|uint32(b), bits+8
		for bits >= 6 {
			bits -= 6
			out[n] = uuidAlphabet[acc>>bits&63]
			n++
		}
	}
	out[n] = uuidAlphabet[acc<<(6-bits)&63]
	return string(out[:])
}

// ErrUUID says that a text is not what String writes.
var ErrUUID = errors.New("wire: a uuid is 22 characters of base64 for URLs")

// ParseUUID reads what String writes.
func ParseUUID(s string) (u UUID, err error) {
	if len(s) != 22 {
		return UUID{}, ErrUUID
	}
	var acc uint32
	n, bits := 0, 0
	for i := 0; i < len(s); i++ {
		v := uuidDigit(s[i])
		if v < 0 {
			return UUID{}, ErrUUID
		}
		acc, bits = acc<<6|uint32(v), bits+6
		if bits >= 8 && n < len(u) {
			bits -= 8
			u[n] = byte(acc >> bits)
			n++
		}
	}
	if acc&15 != 0 {
		return UUID{}, ErrUUID
	}
	return u, nil
}

func uuidDigit(c byte) int {
	switch {
	case c >= 'A' && c <= 'Z':
		return int(c - 'A')
	case c >= 'a' && c <= 'z':
		return int(c-'a') + 26
	case c >= '0' && c <= '9':
		return int(c-'0') + 52
	case c == '-':
		return 62
	case c == '_':
		return 63
	}
	return -1
}
