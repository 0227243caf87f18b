package main

import (
	"fmt"
	"strconv"
	"strings"
)

// The notation. A unit begins in the first column and its comment stands above it:
//
//	api KEY NAME MIN-MAX flexible N+|never [advertised MIN-MAX]    then "request" and "response"
//	data NAME MIN-MAX flexible N+|never                            then its fields
//
// A field is a line; the fields of a structure follow its first mention, two columns further in:
//
//	NAME TYPE [VERSIONS] [tag N] [= DEFAULT] [# COMMENT]
//
// TYPE is bool, int8, int16, uint16, int32, int64, uuid, string, bytes, records, error (an int16 that
// is an error code) or the name of a structure; [] in front makes it an array; ? behind it allows null
// in all versions, ?N+ from version N on. VERSIONS is N+, -N or N-M, every version when left out.

// unit is one api or one data definition.
type unit struct {
	doc               string
	name              string
	key               int // -1: data
	min, max          int
	advMin, advMax    int
	flex              int // first flexible version; never is 1<<15-1
	request, response *structure
	data              *structure
	structs           map[string]*structure // of the message being read, by the notation's name
}

const never = 1<<15 - 1

// structure is one Go struct.
type structure struct {
	goName string
	doc    string
	top    bool
	fields []*field
}

// field is one field of a structure.
type field struct {
	name     string
	typ      string // "" when elem is set
	elem     *structure
	array    bool
	nullFrom int // never: not nullable
	lo, hi   int // versions
	tag      int // -1: not tagged
	def      string
	comment  string
}

// parser walks the lines of one file.
type parser struct {
	path  string
	line  int
	units []*unit
	doc   []string
	open  []level
}

// level is a structure whose fields stand at an indent.
type level struct {
	indent int
	s      *structure
}

func parse(path, text string) ([]*unit, error) {
	p := &parser{path: path}
	for i, line := range strings.Split(text, "\n") {
		p.line = i + 1
		if err := p.take(line); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, p.line, err)
		}
	}
	if len(p.units) == 0 {
		return nil, fmt.Errorf("%s: no definition", path)
	}
	return p.units, nil
}

func (p *parser) take(line string) error {
	body, comment, _ := strings.Cut(line, "#")
	comment = strings.TrimSpace(comment)
	words := strings.Fields(body)
	switch {
	case len(words) == 0 && comment != "":
		p.doc = append(p.doc, comment)
		return nil
	case len(words) == 0:
		return nil
	case words[0] == "api" || words[0] == "data":
		return p.unit(words)
	}
	if len(p.units) == 0 {
		return fmt.Errorf("%q before any api or data", words[0])
	}
	u := p.units[len(p.units)-1]
	if len(words) == 1 && words[0] == "request" && u.key >= 0 {
		u.request = p.message(u, u.name+"Request", "is the request of API "+strconv.Itoa(u.key)+".\n"+u.doc)
		return nil
	}
	if len(words) == 1 && words[0] == "response" && u.key >= 0 {
		u.response = p.message(u, u.name+"Response", "answers "+u.name+"Request.")
		return nil
	}
	indent := len(body) - len(strings.TrimLeft(body, " "))
	return p.field(u, indent, words, comment)
}

// message starts the fields of a new top structure.
func (p *parser) message(u *unit, goName, doc string) *structure {
	s := &structure{goName: goName, doc: doc, top: true}
	u.structs = map[string]*structure{}
	p.open = []level{{2, s}}
	return s
}

func (p *parser) unit(words []string) error {
	u := &unit{key: -1, doc: strings.Join(p.doc, "\n")}
	p.doc = nil
	rest := words[1:]
	var err error
	if words[0] == "api" {
		if len(rest) == 0 {
			return fmt.Errorf("api without a key")
		}
		if u.key, err = strconv.Atoi(rest[0]); err != nil {
			return err
		}
		rest = rest[1:]
	}
	if len(rest) < 4 || rest[2] != "flexible" {
		return fmt.Errorf("want NAME MIN-MAX flexible N+")
	}
	u.name = rest[0]
	if u.min, u.max, err = span(rest[1], 0, 0); err != nil {
		return err
	}
	u.advMin, u.advMax, u.flex = u.min, u.max, never
	if rest[3] != "never" {
		if u.flex, _, err = span(rest[3], 0, never); err != nil {
			return err
		}
	}
	if rest = rest[4:]; len(rest) == 2 && rest[0] == "advertised" {
		if u.advMin, u.advMax, err = span(rest[1], 0, 0); err != nil {
			return err
		}
		rest = nil
	}
	if len(rest) > 0 {
		return fmt.Errorf("cannot read %q", strings.Join(rest, " "))
	}
	p.units = append(p.units, u)
	if u.key < 0 {
		u.data = p.message(u, u.name, strings.TrimPrefix(u.doc, u.name+" "))
	}
	return nil
}

// span reads N+, -N or N-M within [lo, hi].
func span(s string, lo, hi int) (int, int, error) {
	var err error
	if n, ok := strings.CutSuffix(s, "+"); ok {
		lo, err = strconv.Atoi(n)
		return lo, hi, err
	}
	from, to, ok := strings.Cut(s, "-")
	if !ok {
		return 0, 0, fmt.Errorf("%q is no range of versions", s)
	}
	if from != "" {
		if lo, err = strconv.Atoi(from); err != nil {
			return 0, 0, err
		}
	}
	hi, err = strconv.Atoi(to)
	if err == nil && hi < lo {
		err = fmt.Errorf("%q is empty", s)
	}
	return lo, hi, err
}

func (p *parser) field(u *unit, indent int, words []string, comment string) error {
	for len(p.open) > 0 && p.open[len(p.open)-1].indent > indent {
		p.open = p.open[:len(p.open)-1]
	}
	if len(p.open) == 0 || p.open[len(p.open)-1].indent != indent {
		return fmt.Errorf("field %q belongs to no structure", words[0])
	}
	if len(words) < 2 {
		return fmt.Errorf("field %q has no type", words[0])
	}
	f := &field{name: words[0], nullFrom: never, lo: u.min, hi: u.max, tag: -1, comment: comment}
	if err := f.options(words[2:], u); err != nil {
		return err
	}
	s := p.open[len(p.open)-1].s
	s.fields = append(s.fields, f)
	return p.typed(u, f, words[1], indent)
}

// options reads what stands behind the type.
func (f *field) options(words []string, u *unit) (err error) {
	for len(words) > 0 {
		switch {
		case words[0] == "tag" && len(words) > 1:
			if f.tag, err = strconv.Atoi(words[1]); err != nil {
				return err
			}
			words = words[2:]
		case words[0] == "=" && len(words) > 1:
			f.def, words = words[1], words[2:]
		default:
			if f.lo, f.hi, err = span(words[0], u.min, u.max); err != nil {
				return err
			}
			if f.lo < u.min || f.hi > u.max {
				return fmt.Errorf("field %s: versions %s are outside of %d-%d", f.name, words[0], u.min, u.max)
			}
			words = words[1:]
		}
	}
	if f.tag >= 0 && f.lo < u.flex {
		return fmt.Errorf("field %s: a tag needs flexible versions", f.name)
	}
	return nil
}

// typed reads the type of f and, for a structure, opens its fields.
func (p *parser) typed(u *unit, f *field, typ string, indent int) error {
	typ, f.array = strings.CutPrefix(typ, "[]")
	if name, from, ok := strings.Cut(typ, "?"); ok {
		typ, f.nullFrom = name, 0
		if from != "" {
			var err error
			if f.nullFrom, _, err = span(from, 0, never); err != nil {
				return err
			}
		}
	}
	if _, ok := scalars[typ]; ok {
		f.typ = typ
		return nil
	}
	if typ[0] < 'A' || typ[0] > 'Z' {
		return fmt.Errorf("field %s: unknown type %q", f.name, typ)
	}
	if s, ok := u.structs[typ]; ok {
		f.elem = s
		return nil
	}
	top := p.open[0].s
	f.elem = &structure{goName: top.goName + typ, doc: "is a part of " + top.goName + "."}
	u.structs[typ] = f.elem
	p.open = append(p.open, level{indent + 2, f.elem})
	return nil
}
