package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// header is the first line of a state: what it is the state of.
type header struct {
	Seed     string   `json:"seed"`
	Sources  string   `json:"sources"` // a sum of the code
	Places   int      `json:"places"`
	Packages []string `json:"packages"`
	Skip     string   `json:"skip"`
	Tries    []try    `json:"tries"`
	Schemata bool     `json:"schemata,omitempty"`
}

// state is a file with a header and a verdict a line. It is only ever appended to.
type state struct {
	head     header
	verdicts []verdict
	judged   map[int]bool
	file     *os.File
}

// readState reads a state; a last line that was cut short is left out. size is what was read.
func readState(path string) (st *state, size int64, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, 0, err
	}
	st = &state{judged: map[int]bool{}}
	for n := 0; ; n++ {
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		if !whole {
			break
		}
		b, size = rest, size+int64(len(line))+1
		if n == 0 {
			err = json.Unmarshal(line, &st.head)
		} else {
			var v verdict
			err = json.Unmarshal(line, &v)
			st.verdicts, st.judged[v.N] = append(st.verdicts, v), true
		}
		if err != nil {
			return nil, 0, fmt.Errorf("%s:%d: %w", path, n+1, err)
		}
	}
	if size == 0 {
		return nil, 0, fmt.Errorf("%s holds no whole line: remove it", path)
	}
	return st, size, nil
}

// openState begins a state or goes on with one, which must be of this very draw.
func openState(o *order, c *code, places int) (*state, error) {
	head := header{Seed: o.seed, Sources: c.sum, Places: places, Packages: o.packages, Tries: o.tries, Schemata: o.work != ""}
	if o.skip != nil {
		head.Skip = o.skip.String()
	}
	st, size, err := readState(o.state)
	switch {
	case errors.Is(err, os.ErrNotExist):
		st = &state{head: head, judged: map[int]bool{}}
		if err := os.MkdirAll(filepath.Dir(o.state), 0o755); err != nil {
			return nil, err
		}
		if st.file, err = os.OpenFile(o.state, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644); err != nil {
			return nil, err
		}
		return st, st.line(head)
	case err != nil:
		return nil, err
	case !reflect.DeepEqual(st.head, head):
		return nil, fmt.Errorf("%s is of another draw (other code, seed, packages or tries): name another file, or remove it", o.state)
	}
	if st.file, err = os.OpenFile(o.state, os.O_WRONLY, 0); err != nil {
		return nil, err
	}
	if err := st.file.Truncate(size); err != nil {
		return nil, err
	}
	_, err = st.file.Seek(size, io.SeekStart)
	return st, err
}

func (st *state) line(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = st.file.Write(append(b, '\n'))
	return err
}

func (st *state) add(v verdict) error {
	st.verdicts, st.judged[v.N] = append(st.verdicts, v), true
	return st.line(v)
}

func (st *state) close() { st.file.Close() }

// viable counts the bugs that compile.
func (st *state) viable() (n int) {
	for i := range st.verdicts {
		if st.verdicts[i].Verdict != stillborn {
			n++
		}
	}
	return n
}

// count is how many bugs of a kind there were, and how many were found.
type count struct{ all, found int }

func (c count) String() string {
	return fmt.Sprintf("%d of %d (%.1f %%)", c.found, c.all, 100*float64(c.found)/max(float64(c.all), 1))
}

// write prints the score, by operator, folder and try, and what survived.
func (st *state) write(out io.Writer) {
	w := bufio.NewWriter(out)
	defer w.Flush()
	var all count
	ops, folders, tries := map[string]*count{}, map[string]*count{}, map[string]int{}
	add := func(m map[string]*count, key string, found int) {
		if m[key] == nil {
			m[key] = &count{}
		}
		m[key].all++
		m[key].found += found
	}
	late := 0
	for i := range st.verdicts {
		v := &st.verdicts[i]
		if v.Verdict == stillborn {
			continue
		}
		found := 0
		if v.Verdict != survived {
			found = 1
			tries[v.By]++
		}
		if v.Verdict == timeout {
			late++
		}
		all.all++
		all.found += found
		add(ops, v.Op, found)
		add(folders, filepath.ToSlash(filepath.Dir(v.File)), found)
	}
	fmt.Fprintf(w, "found: %v, %d of them because a try did not end; %d more did not compile\n", all, late, len(st.verdicts)-all.all)
	fmt.Fprintf(w, "drawn with %s from %d places in %s\n", st.head.Seed, st.head.Places, strings.Join(st.head.Packages, " "))
	for _, t := range st.head.Tries {
		fmt.Fprintf(w, "  by %s: %d\n", t.Name, tries[t.Name])
	}
	table(w, "operator", ops)
	table(w, "folder", folders)
	st.survivors(w)
}

func table(w io.Writer, what string, m map[string]*count) {
	fmt.Fprintf(w, "\n| %s | found |\n|---|---|\n", what)
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		fmt.Fprintf(w, "| %s | %v |\n", k, *m[k])
	}
}

// survivors prints a table to be reviewed.
func (st *state) survivors(w io.Writer) {
	var left []verdict
	for i := range st.verdicts {
		if st.verdicts[i].Verdict == survived {
			left = append(left, st.verdicts[i])
		}
	}
	if len(left) == 0 {
		return
	}
	slices.SortFunc(left, func(a, b verdict) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.N, b.N))
	})
	code := func(s string) string {
		return "`" + strings.ReplaceAll(strings.ReplaceAll(s, "`", "'"), "|", `\|`) + "`"
	}
	fmt.Fprint(w, "\n| n | survived at | operator | before | after |\n|---|---|---|---|---|\n")
	for _, v := range left {
		fmt.Fprintf(w, "| %d | %s:%d %s | %s | %s | %s |\n", v.N, v.File, v.Line, v.Func, v.Op, code(v.From), code(v.To))
	}
}

// showState prints what a state holds so far.
func showState(path string, out io.Writer) error {
	st, _, err := readState(path)
	if err != nil {
		return err
	}
	st.write(out)
	return nil
}
