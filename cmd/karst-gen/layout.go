package main

import (
	"fmt"
	"strings"
)

// scalar is how a type of the notation looks in Go and on the wire. Sizes in memory are those of a
// 64-bit machine; a test of core/wire compares them with the truth.
type scalar struct {
	goType string
	size   int    // bytes in memory
	align  int    // bytes
	wire   int    // bytes on the wire; 0: begins with a length
	method string // of Reader and Writer
	prefix int    // bytes of the length outside flexible versions
}

var scalars = map[string]scalar{
	"bool":    {"bool", 1, 1, 1, "Bool", 0},
	"int8":    {"int8", 1, 1, 1, "Int8", 0},
	"int16":   {"int16", 2, 2, 2, "Int16", 0},
	"uint16":  {"uint16", 2, 2, 2, "Uint16", 0},
	"error":   {"Error", 2, 2, 2, "Error", 0},
	"int32":   {"int32", 4, 4, 4, "Int32", 0},
	"int64":   {"int64", 8, 8, 8, "Int64", 0},
	"uuid":    {"UUID", 16, 1, 16, "UUID", 0},
	"string":  {"string", 16, 8, 0, "String", 2},
	"bytes":   {"[]byte", 24, 8, 0, "Bytes", 4},
	"records": {"core.Ref", 32, 8, 0, "Records", 4},
}

const (
	pointerSize = 8
	sliceSize   = 24
)

func (f *field) pointer() bool {
	return !f.array && (f.elem != nil && (f.nullFrom != never || f.tag >= 0) ||
		f.typ == "string" && f.nullFrom != never)
}

func (f *field) elemType() string {
	if f.elem != nil {
		return f.elem.goName
	}
	return scalars[f.typ].goType
}

func (f *field) goType() string {
	switch {
	case f.array:
		return "[]" + f.elemType()
	case f.pointer():
		return "*" + f.elemType()
	}
	return f.elemType()
}

// memory is the size and alignment of f in its struct.
func (f *field) memory() (size, align int) {
	switch {
	case f.array:
		return sliceSize, 8
	case f.pointer():
		return pointerSize, 8
	case f.elem != nil:
		return f.elem.memory()
	}
	return scalars[f.typ].size, scalars[f.typ].align
}

func (s *structure) memory() (size, align int) {
	align = 1
	for _, f := range s.fields {
		n, a := f.memory()
		size = (size+a-1)/a*a + n
		align = max(align, a)
	}
	return (size + align - 1) / align * align, align
}

// least is the fewest bytes that f can take on the wire in version v.
func (f *field) least(v, flex int) int {
	if v < f.lo || v > f.hi || f.tag >= 0 {
		return 0
	}
	switch {
	case f.array && v >= flex:
		return 1
	case f.array:
		return 4
	case f.elem != nil && f.nullFrom != never:
		return 1
	case f.elem != nil:
		return f.elem.least(v, flex)
	}
	switch t := scalars[f.typ]; {
	case t.wire > 0:
		return t.wire
	case v >= flex:
		return 1
	default:
		return t.prefix
	}
}

func (s *structure) least(v, flex int) (n int) {
	for _, f := range s.fields {
		n += f.least(v, flex)
	}
	if v >= flex {
		n++ // the count of tagged fields
	}
	return n
}

// leastExpr is Go for s.least in version v; an array element takes at least one byte, always.
func (s *structure) leastExpr(u *unit) (string, error) {
	var all []string
	same := true
	for v := u.min; v <= u.max; v++ {
		n := s.least(v, u.flex)
		if n < 1 || n > 255 {
			return "", fmt.Errorf("%s: an element of %d bytes in version %d", s.goName, n, v)
		}
		all = append(all, fmt.Sprint(n))
		same = same && all[0] == all[len(all)-1]
	}
	if same {
		return all[0], nil
	}
	at := "v"
	if u.min > 0 {
		at = fmt.Sprintf("v-%d", u.min)
	}
	return fmt.Sprintf("int(\"\\x%s\"[%s])", strings.Join(hexed(all), "\\x"), at), nil
}

func hexed(all []string) []string {
	out := make([]string, len(all))
	for i, s := range all {
		var n int
		fmt.Sscan(s, &n)
		out[i] = fmt.Sprintf("%02x", n)
	}
	return out
}

// within is the Go condition under which version v has f, "" when it always has.
func (f *field) within(u *unit) string {
	var c []string
	if f.lo > u.min {
		c = append(c, fmt.Sprintf("v >= %d", f.lo))
	}
	if f.hi < u.max {
		c = append(c, fmt.Sprintf("v <= %d", f.hi))
	}
	return strings.Join(c, " && ")
}

// nullable is the Go condition under which f may be null: an expression, "true" or "false".
func (f *field) nullable(u *unit) string {
	switch {
	case f.nullFrom == never:
		return "false"
	case f.nullFrom <= max(u.min, f.lo):
		return "true"
	}
	return fmt.Sprintf("v >= %d", f.nullFrom)
}

// flexible is Go for "version v is flexible".
func (u *unit) flexible() string {
	switch {
	case u.flex > u.max:
		return "false"
	case u.flex <= u.min:
		return "true"
	}
	return "flex"
}

// deflt is the default of f when it is not Go's zero value.
func (f *field) deflt() string {
	if f.def == "0" || f.def == "false" {
		return ""
	}
	return f.def
}

func (s *structure) hasDefaults() bool {
	for _, f := range s.fields {
		if f.deflt() != "" {
			return true
		}
	}
	return false
}
