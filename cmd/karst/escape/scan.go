package escape

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Reader turns lines into records, by a layout that ends at a newline.
type Reader struct{ parts []part }

// ParseReader reads a format for input: the escapes %k %v %s %p %T %h with text between any two.
func ParseReader(format string) (*Reader, error) {
	l, err := Parse(strings.TrimSuffix(format, `\n`))
	if err != nil {
		return nil, err
	}
	seen := false
	for i, p := range l.parts {
		switch p.verb {
		case 0:
			if strings.Contains(p.text, "\n") {
				return nil, fmt.Errorf("a record is one line: \\n may only end the format")
			}
			continue
		case 'k', 'v', 's', 'p', 'T', 'h':
		default:
			return nil, fmt.Errorf("%%%c cannot be read; %%k %%v %%p %%T %%h can", p.verb)
		}
		if p.inner != nil {
			return nil, fmt.Errorf("%%h{...} cannot be read; %%h reads name=value,..")
		}
		if i > 0 && l.parts[i-1].verb != 0 {
			return nil, fmt.Errorf("text must stand between %%%c and %%%c", l.parts[i-1].verb, p.verb)
		}
		seen = true
	}
	if !seen {
		return nil, fmt.Errorf("the format names no part of a record")
	}
	return &Reader{parts: l.parts}, nil
}

// Read fills r from one line (without its newline). The bytes are copied.
func (rd *Reader) Read(line []byte, r *kgo.Record) error {
	for i := range rd.parts {
		p := &rd.parts[i]
		if p.verb == 0 {
			rest, ok := bytes.CutPrefix(line, []byte(p.text))
			if !ok {
				return fmt.Errorf("expected %q before %q", p.text, excerpt(line))
			}
			line = rest
			continue
		}
		field := line
		if i+1 < len(rd.parts) {
			end := bytes.Index(line, []byte(rd.parts[i+1].text))
			if end < 0 {
				return fmt.Errorf("no %q in %q", rd.parts[i+1].text, excerpt(line))
			}
			field = line[:end]
		}
		line = line[len(field):]
		if err := p.set(r, bytes.Clone(field)); err != nil {
			return err
		}
	}
	if len(line) > 0 {
		return fmt.Errorf("nothing in the format reads %q", excerpt(line))
	}
	return nil
}

func (p *part) set(r *kgo.Record, field []byte) error {
	if field == nil {
		field = []byte{}
	}
	switch p.verb {
	case 'k':
		r.Key = field
	case 'v', 's':
		r.Value = field
	case 'p':
		n, err := strconv.ParseInt(string(field), 10, 32)
		if err != nil || n < 0 {
			return fmt.Errorf("%q is not a partition", excerpt(field))
		}
		r.Partition = int32(n)
	case 'T':
		ms, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return fmt.Errorf("%q is not a time in milliseconds", excerpt(field))
		}
		r.Timestamp = time.UnixMilli(ms)
	case 'h':
		for h := range strings.SplitSeq(string(field), ",") {
			if h == "" {
				continue
			}
			name, value, ok := strings.Cut(h, "=")
			if !ok {
				return fmt.Errorf("%q is not name=value", excerpt([]byte(h)))
			}
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
		}
	}
	return nil
}

// SetsPartition says whether the format names the partition.
func (rd *Reader) SetsPartition() bool {
	for _, p := range rd.parts {
		if p.verb == 'p' {
			return true
		}
	}
	return false
}

func excerpt(b []byte) string {
	if len(b) > 40 {
		return string(b[:40]) + "..."
	}
	return string(b)
}
