// Package escape is the little language in which records are written and read: text with percent
// escapes, the ones of kcat and of rpk. It owns parsing and both directions; it promises that a
// format is checked before the first record; it refuses an escape that it does not know.
package escape

import (
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Layout is a parsed format.
type Layout struct{ parts []part }

// part is literal text (verb 0) or an escape; inner is the layout of each header of %h{...}.
type part struct {
	verb  byte
	text  string
	inner *Layout
}

const verbs = "topkvsKSVThHdRi"

// Parse reads a format.
func Parse(format string) (*Layout, error) {
	l, rest, err := parse(format, false)
	if err == nil && rest != "" {
		err = fmt.Errorf("unexpected %q", rest)
	}
	return l, err
}

func parse(s string, braced bool) (*Layout, string, error) {
	l := &Layout{}
	var text []byte
	flush := func() {
		if len(text) > 0 {
			l.parts = append(l.parts, part{text: string(text)})
			text = nil
		}
	}
	for len(s) > 0 {
		c := s[0]
		s = s[1:]
		switch {
		case c == '}' && braced:
			flush()
			return l, s, nil
		case c == '\\':
			b, rest, err := backslash(s)
			if err != nil {
				return nil, "", err
			}
			text, s = append(text, b), rest
		case c == '%':
			if s == "" {
				return nil, "", fmt.Errorf("a percent sign at the end; write %%%% for one")
			}
			v := s[0]
			s = s[1:]
			if v == '%' || v == '{' || v == '}' {
				text = append(text, v)
				continue
			}
			if !known(v) {
				return nil, "", fmt.Errorf("unknown escape %%%c; there are %%t %%p %%o %%k %%v %%s %%h %%T %%d %%K %%S", v)
			}
			flush()
			p := part{verb: v}
			if v == 'h' && len(s) > 0 && s[0] == '{' {
				inner, rest, err := parse(s[1:], true)
				if err != nil {
					return nil, "", err
				}
				p.inner, s = inner, rest
			}
			l.parts = append(l.parts, p)
		default:
			text = append(text, c)
		}
	}
	if braced {
		return nil, "", fmt.Errorf("%%h{ without its }")
	}
	flush()
	return l, "", nil
}

func known(v byte) bool {
	for i := range len(verbs) {
		if verbs[i] == v {
			return true
		}
	}
	return false
}

func backslash(s string) (byte, string, error) {
	if s == "" {
		return 0, "", fmt.Errorf("a backslash at the end; write \\\\ for one")
	}
	switch s[0] {
	case 'n':
		return '\n', s[1:], nil
	case 't':
		return '\t', s[1:], nil
	case 'r':
		return '\r', s[1:], nil
	case '0':
		return 0, s[1:], nil
	case '\\':
		return '\\', s[1:], nil
	case 'x':
		if len(s) >= 3 {
			if n, err := strconv.ParseUint(s[1:3], 16, 8); err == nil {
				return byte(n), s[3:], nil
			}
		}
		return 0, "", fmt.Errorf("\\x needs two hexadecimal digits")
	}
	return 0, "", fmt.Errorf("unknown escape \\%c; there are \\n \\t \\r \\0 \\\\ \\xNN", s[0])
}

// Append writes r in the layout; n is how many records were written before it.
func (l *Layout) Append(b []byte, r *kgo.Record, n int64) []byte {
	for i := range l.parts {
		p := &l.parts[i]
		switch p.verb {
		case 0:
			b = append(b, p.text...)
		case 't':
			b = append(b, r.Topic...)
		case 'p':
			b = strconv.AppendInt(b, int64(r.Partition), 10)
		case 'o':
			b = strconv.AppendInt(b, r.Offset, 10)
		case 'k':
			b = append(b, r.Key...)
		case 'v', 's':
			b = append(b, r.Value...)
		case 'K':
			b = strconv.AppendInt(b, length(r.Key), 10)
		case 'S', 'V':
			b = strconv.AppendInt(b, length(r.Value), 10)
		case 'R':
			n := uint32(length(r.Value))
			b = append(b, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
		case 'T':
			b = strconv.AppendInt(b, r.Timestamp.UnixMilli(), 10)
		case 'd':
			b = r.Timestamp.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z07:00")
		case 'H':
			b = strconv.AppendInt(b, int64(len(r.Headers)), 10)
		case 'i':
			b = strconv.AppendInt(b, n, 10)
		case 'h':
			b = p.headers(b, r, n)
		}
	}
	return b
}

func (p *part) headers(b []byte, r *kgo.Record, n int64) []byte {
	for i, h := range r.Headers {
		if p.inner != nil {
			b = p.inner.Append(b, &kgo.Record{Key: []byte(h.Key), Value: h.Value, Timestamp: time.Time{}}, n)
			continue
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, h.Key...)
		b = append(b, '=')
		b = append(b, h.Value...)
	}
	return b
}

// length is what kcat prints: -1 for null.
func length(b []byte) int64 {
	if b == nil {
		return -1
	}
	return int64(len(b))
}
