package checker

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxLine bounds a line of a history: a poll of some 100,000 records.
const maxLine = 16 << 20

// maxNames bounds the distinct names (topics, groups, members..) that a reader keeps, in bytes.
const maxNames = 64 << 20

// ErrHistory wraps every reason for which a file is not a history that can be judged. It is never a
// verdict: nothing is known of the broker.
var ErrHistory = errors.New("not a history that can be judged")

// Reader reads a history, operation by operation. It refuses what it does not fully understand:
// unknown or repeated fields, numbers out of range, another format or version, a last line that was
// cut, a missing last line, operations that are not in the order in which they ended, and processes
// that begin an operation before their last one has ended. It holds one line at a time.
type Reader struct {
	Recorder string // from the first line
	Read     int64  // operations so far

	in    *bufio.Scanner
	line  int64
	done  int64   // when the operation before ended
	busy  []int64 // by process: when its last operation ended that is no produce
	names map[string]string
	sizes int                       // bytes of names
	last  [fields][8]string         // texts that each field had, the last of each ending
	after [kinds][noField + 1]field // the field that stood behind each one last
	next  [kinds]Kind               // the operation that came behind each one last
	kind  Kind                      // of the operation before
	p     parser
	ended bool
}

// NewReader reads the first line. The errors of it and of Next wrap ErrHistory, or are those of r.
func NewReader(r io.Reader) (*Reader, error) {
	d := &Reader{in: bufio.NewScanner(r), names: map[string]string{}}
	d.in.Buffer(make([]byte, 64<<10), maxLine)
	d.in.Split(wholeLines)
	line, err := d.scan()
	if err == io.EOF {
		return nil, d.bad("the file is empty")
	}
	if err != nil {
		return nil, err
	}
	return d, d.header(line)
}

var errCut = errors.New("the last line is cut off: it has no end")

// wholeLines splits into lines and refuses a last one without a newline.
func wholeLines(data []byte, atEOF bool) (int, []byte, error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return 0, nil, errCut
	}
	return 0, nil, nil
}

func (d *Reader) bad(format string, args ...any) error {
	return fmt.Errorf("%w: line %d: %s", ErrHistory, d.line, fmt.Sprintf(format, args...))
}

func (d *Reader) scan() ([]byte, error) {
	d.line++
	if d.in.Scan() {
		return d.in.Bytes(), nil
	}
	switch err := d.in.Err(); {
	case err == nil:
		return nil, io.EOF
	case errors.Is(err, errCut):
		return nil, d.bad("%v", errCut)
	case errors.Is(err, bufio.ErrTooLong):
		return nil, d.bad("it is longer than %d bytes", maxLine)
	default:
		return nil, err
	}
}

func (d *Reader) header(line []byte) error {
	var h struct {
		Format   string `json:"format"`
		Version  int    `json:"version"`
		Recorder string `json:"recorder"`
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	err := dec.Decode(&h)
	if err != nil || h.Format != FormatName {
		return d.bad("a history begins with {%q:%q,%q:%d}", "format", FormatName, "version", FormatVersion)
	}
	if h.Version != FormatVersion {
		return d.bad("format version %d; this build knows version %d", h.Version, FormatVersion)
	}
	d.p = parser{b: line, d: d}
	if err := d.p.header(); err != nil {
		return d.bad("the first line holds more than this version has: %v", err)
	}
	d.Recorder = h.Recorder
	return nil
}

// header makes sure that a first line, which was understood, holds each of its fields once and
// nothing else.
func (p *parser) header() error {
	seen := map[string]bool{}
	for next := byte('{'); ; next = ',' {
		if err := p.want(next); err != nil {
			return err
		}
		raw, err := p.raw()
		if err != nil {
			return err
		}
		name := string(raw)
		if seen[name] {
			return fmt.Errorf("%q stands twice", name)
		}
		seen[name] = true
		if err := p.want(':'); err != nil {
			return err
		}
		switch name {
		case "format", "recorder":
			_, err = p.raw()
		case "version":
			_, err = p.number(&fieldRule{max: maxInt})
		default:
			err = fmt.Errorf("unknown field %q", name)
		}
		if err != nil {
			return err
		}
		if p.take('}') {
			return p.nothing()
		}
	}
}

func (p *parser) nothing() error {
	if p.space(); p.at != len(p.b) {
		return fmt.Errorf("something follows at byte %d", p.at+1)
	}
	return nil
}

// Next reads an operation into o, whose slices it reuses. io.EOF comes after the last line and only
// then.
func (d *Reader) Next(o *Op) error {
	if d.ended {
		return io.EOF
	}
	line, err := d.scan()
	if err == io.EOF {
		return d.bad("the history ends without its last line {\"end\":N}: it was cut off after %d operations", d.Read)
	}
	if err != nil {
		return err
	}
	if bytes.HasPrefix(line, []byte(`{"end":`)) {
		return d.end(line)
	}
	d.reset(o)
	d.p.b, d.p.at = line, 0
	if err := d.p.operation(o); err != nil {
		return d.bad("%v", err)
	}
	d.kind = o.Kind
	d.Read++
	return d.ordered(o)
}

func (d *Reader) end(line []byte) error {
	var n int64
	if _, err := fmt.Sscanf(string(line), `{"end":%d}`, &n); err != nil || fmt.Sprintf(`{"end":%d}`, n) != string(line) {
		return d.bad("the last line is {\"end\":N} and nothing else")
	}
	if n != d.Read {
		return d.bad("the last line counts %d operations, %d were read", n, d.Read)
	}
	if _, err := d.scan(); err != io.EOF {
		return d.bad("something follows the last line")
	}
	d.ended = true
	return io.EOF
}

func (d *Reader) reset(o *Op) {
	runs, leaders := o.Runs[:0], o.Leaders[:0]
	sums, times, parts, bad := o.Sums[:0], o.Times[:0], o.Partitions[:0], o.Bad[:0]
	*o = defaultsOfOp
	o.Runs, o.Leaders, o.Sums, o.Times, o.Partitions, o.Bad = runs, leaders, sums, times, parts, bad
}

// ordered holds an operation against those before.
func (d *Reader) ordered(o *Op) error {
	if o.Done < o.Call {
		return d.bad("it ends at %d, before it begins at %d", o.Done, o.Call)
	}
	if o.Done < d.done {
		return d.bad("it ends at %d, the line before at %d: operations stand in the order in which they ended", o.Done, d.done)
	}
	d.done = o.Done
	if o.Kind == Produce {
		return nil
	}
	for int64(len(d.busy)) <= o.Process {
		d.busy = append(d.busy, -1)
	}
	if o.Call < d.busy[o.Process] {
		return d.bad("process %d begins a %v at %d, before its last operation ended at %d", o.Process, o.Kind, o.Call, d.busy[o.Process])
	}
	d.busy[o.Process] = o.Done
	return nil
}

// name keeps one copy of each text. Names of one kind differ mostly at their ends, so what the field
// held with the same end is tried before the map.
func (d *Reader) name(f field, b []byte) string {
	if len(b) == 0 {
		return ""
	}
	last := &d.last[f][b[len(b)-1]%8]
	if *last == string(b) {
		return *last
	}
	s, ok := d.names[string(b)]
	if !ok {
		if d.sizes > maxNames {
			clear(d.names) // tokens of commits: each is used once or twice
			d.sizes = 0
		}
		s = string(b)
		d.sizes += len(s) + 64
		d.names[s] = s
	}
	*last = s
	return s
}

// parser reads one line: a flat JSON object. Only what the format allows is understood.
type parser struct {
	b    []byte
	at   int
	d    *Reader
	flat []int64
}

func (p *parser) space() {
	for p.at < len(p.b) && (p.b[p.at] == ' ' || p.b[p.at] == '\t') {
		p.at++
	}
}

func (p *parser) take(c byte) bool {
	if p.at < len(p.b) && p.b[p.at] == c {
		p.at++
		return true
	}
	p.space()
	if p.at < len(p.b) && p.b[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *parser) want(c byte) error {
	if !p.take(c) {
		return fmt.Errorf("%q is missing at byte %d", string(c), p.at+1)
	}
	return nil
}

func (p *parser) operation(o *Op) error {
	if err := p.want('{'); err != nil {
		return err
	}
	var seen fieldSet
	f := noField
	for {
		var err error
		if f, err = p.field(&p.d.after[o.Kind][f]); err != nil {
			return err
		}
		if seen.has(f) {
			return fmt.Errorf("a field stands twice (byte %d)", p.at)
		}
		seen |= 1 << f
		if err := p.value(f, o); err != nil {
			return err
		}
		if p.take('}') {
			break
		}
		if err := p.want(','); err != nil {
			return err
		}
	}
	if err := p.nothing(); err != nil {
		return err
	}
	return complete(o, seen)
}

// complete says whether an operation has all its fields and none of another.
func complete(o *Op, seen fieldSet) error {
	if !seen.has(fOp) || !seen.has(fOutcome) {
		return errors.New(`an operation has "op" and "outcome"`)
	}
	seen &^= 1<<fOp | 1<<fOutcome
	if missing := required[o.Kind][o.Outcome] &^ seen; missing != 0 {
		return fmt.Errorf("%v %v lacks %s", o.Kind, o.Outcome, named(missing))
	}
	if extra := seen &^ allowed[o.Kind][o.Outcome]; extra != 0 {
		return fmt.Errorf("%v %v has no field %s", o.Kind, o.Outcome, named(extra))
	}
	return nil
}

func named(s fieldSet) string {
	var names []string
	for f := range fields {
		if s.has(f) {
			names = append(names, rules[f].name)
		}
	}
	return strings.Join(names, ", ")
}

// field reads the name of a field. Lines are written by programs, so the one that stood here the last
// time is tried first.
func (p *parser) field(guess *field) (field, error) {
	if k := fieldKeys[*guess]; len(p.b)-p.at >= len(k) && string(p.b[p.at:p.at+len(k)]) == k {
		p.at += len(k)
		return *guess, nil
	}
	raw, err := p.raw()
	if err != nil {
		return 0, err
	}
	f, ok := fieldByName[string(raw)]
	if !ok {
		return 0, fmt.Errorf("unknown field %q", raw)
	}
	*guess = f
	return f, p.want(':')
}

func (p *parser) value(f field, o *Op) (err error) {
	switch f {
	case fOp, fOutcome:
		return p.words(f, o)
	}
	r := &rules[f]
	switch r.shape {
	case number:
		*r.num(o), err = p.number(r)
	case text:
		var raw []byte
		if raw, err = p.raw(); err == nil && len(raw) > maxText {
			err = fmt.Errorf("it is longer than %d bytes", maxText)
		} else if err == nil {
			*r.str(o) = p.d.name(f, raw)
		}
	case truth:
		*r.bit(o), err = p.truth()
	case numbers:
		*r.list(o), err = p.list((*r.list(o))[:0], r)
	case tuples:
		err = p.tuples(f, r, o)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", r.name, err)
	}
	return nil
}

func (p *parser) words(f field, o *Op) error {
	raw, err := p.raw()
	if err != nil {
		return err
	}
	if f == fOp {
		guess := &p.d.next[p.d.kind]
		if kindRules[*guess].name != string(raw) {
			k, ok := kindByName[string(raw)]
			if !ok {
				return fmt.Errorf("unknown op %q", raw)
			}
			*guess = k
		}
		o.Kind = *guess
		return nil
	}
	for i, n := range outcomeNames {
		if n == string(raw) {
			o.Outcome = Outcome(i)
			return nil
		}
	}
	return fmt.Errorf("unknown outcome %q", raw)
}

// raw is a string's bytes, escapes resolved.
func (p *parser) raw() ([]byte, error) {
	if err := p.want('"'); err != nil {
		return nil, err
	}
	from := p.at
	for i, c := range p.b[from:] {
		switch {
		case c == '"':
			p.at = from + i + 1
			return p.b[from : from+i], nil
		case c == '\\' || c < ' ' || c >= 0x80:
			return p.escaped(from)
		}
	}
	return nil, errors.New("a text has no end")
}

// escaped is the way for texts that are not plain.
func (p *parser) escaped(from int) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(p.b[from-1:]))
	var s string
	if err := dec.Decode(&s); err != nil {
		return nil, fmt.Errorf("no JSON text: %v", err)
	}
	p.at = from - 1 + int(dec.InputOffset())
	return []byte(s), nil
}

func (p *parser) truth() (bool, error) {
	p.space()
	rest := p.b[p.at:]
	switch {
	case bytes.HasPrefix(rest, []byte("true")):
		p.at += 4
		return true, nil
	case bytes.HasPrefix(rest, []byte("false")):
		p.at += 5
		return false, nil
	}
	return false, errors.New("it is true or false")
}

// number reads an integer as JSON writes it: no plus, no leading zero, no fraction.
func (p *parser) number(r *fieldRule) (int64, error) {
	p.space()
	b, from := p.b, p.at
	digits := from
	neg := from < len(b) && b[from] == '-'
	if neg {
		digits++
	}
	var n uint64
	at := digits
	for ; at < len(b); at++ {
		c := b[at] - '0'
		if c > 9 {
			break
		}
		n = n*10 + uint64(c)
	}
	p.at = at
	size := at - digits
	if size == 0 || size > 19 || n > 1<<63-1 || size > 1 && b[digits] == '0' {
		return 0, fmt.Errorf("no whole number at byte %d", from+1)
	}
	v := int64(n)
	if neg {
		v = -v
	}
	if v < r.min || v > r.max {
		return 0, fmt.Errorf("%d is not between %d and %d", v, r.min, r.max)
	}
	return v, nil
}

func (p *parser) list(l []int64, r *fieldRule) ([]int64, error) {
	if err := p.want('['); err != nil {
		return l, err
	}
	if p.take(']') {
		return l, nil
	}
	for {
		n, err := p.number(r)
		if err != nil {
			return l, err
		}
		if len(l) >= maxCount {
			return l, fmt.Errorf("more than %d numbers", maxCount)
		}
		l = append(l, n)
		if p.take(']') {
			return l, nil
		}
		if err := p.want(','); err != nil {
			return l, err
		}
	}
}

func (p *parser) tuples(f field, r *fieldRule, o *Op) error {
	if err := p.want('['); err != nil {
		return err
	}
	if p.take(']') {
		return nil
	}
	records := int64(0)
	for {
		var err error
		if p.flat, err = p.list(p.flat[:0], r); err != nil {
			return err
		}
		if len(p.flat) != r.width {
			return fmt.Errorf("%d numbers, not %d", len(p.flat), r.width)
		}
		if f == fRuns {
			t := Run(p.flat)
			if t[1] > maxNumber || t[2] > 1<<32-maxCount || t[3] < 1 || t[3] > maxCount {
				return fmt.Errorf("%v is no run of records", t)
			}
			if records += t[3]; records > maxCount {
				return fmt.Errorf("more than %d records", maxCount)
			}
			o.Runs = append(o.Runs, t)
		} else if len(o.Leaders) > maxNumber {
			return fmt.Errorf("more than %d partitions", maxNumber+1)
		} else {
			o.Leaders = append(o.Leaders, Leader(p.flat))
		}
		if p.take(']') {
			return nil
		}
		if err := p.want(','); err != nil {
			return err
		}
	}
}
