package linear

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/karst-stream/karst/checker"
)

// Options say what the second opinion may cost.
type Options struct {
	// Operations that are searched of objects that an exact judge has seen whole already; 0: 200,000.
	// What has no exact judge is searched whole.
	Operations int64
	Window     int    // the most operations of a window; 0: 20,000
	Seconds    int    // the most time for a window; 0: 30
	Pictures   string // the directory for pictures; "": none are drawn
}

// Report is what was searched.
type Report struct {
	Objects    int      `json:"objects"`
	Windows    int64    `json:"windows"`
	Operations int64    `json:"operations"`
	Left       int64    `json:"exact_only"` // operations that only an exact judge saw
	Pictures   []string `json:"pictures,omitempty"`

	Violations []checker.Violation `json:"-"` // of what has no exact judge
}

// ErrUnknown: a search was given up, so nothing is known.
var ErrUnknown = errors.New("a search for an order was given up")

// ErrDisagree: the exact judge and the search differ. One of them is wrong, and nothing is known.
var ErrDisagree = errors.New("the exact judge and the search for an order disagree")

// least operations of a window, so that the price of a search's beginning does not rule.
const least = 64

// Check searches for orders of what j has collected, after j.Finish.
func Check(j *checker.Judge, o Options) (*Report, error) {
	return check(j, o, func(*checker.Object) bool { return true })
}

// CheckCells searches only what has no exact judge: topics and configuration keys.
func CheckCells(j *checker.Judge, o Options) (*Report, error) {
	return check(j, o, func(obj *checker.Object) bool { return len(obj.Cell) > 0 })
}

func check(j *checker.Judge, o Options, wanted func(*checker.Object) bool) (*Report, error) {
	if o.Operations == 0 {
		o.Operations = 200_000
	}
	if o.Window == 0 {
		o.Window = 20_000
	}
	if o.Seconds == 0 {
		o.Seconds = 30
	}
	r := &Report{}
	var failed error
	j.Objects(func(obj *checker.Object) {
		if failed == nil && wanted(obj) {
			failed = r.object(obj, &o)
		}
	})
	return r, failed
}

func (r *Report) object(obj *checker.Object, o *Options) error {
	exact, wrong, size := false, false, int64(0)
	var windows func(emit func(window))
	switch {
	case obj.Ordered != nil:
		exact, wrong = true, obj.Ordered.Check() != nil
		size = int64(len(obj.Ordered.Steps) + len(obj.Ordered.Seens))
		windows = func(emit func(window)) { orderedWindows(obj.Ordered, least, emit) }
	case obj.Register != nil:
		ok, _, _ := checker.CheckRegister(obj.Register)
		exact, wrong, size = true, !ok, int64(len(obj.Register))
		windows = func(emit func(window)) { registerWindows(obj.Register, least, emit) }
	default:
		windows = func(emit func(window)) { cellWindows(obj.Cell, least, emit) }
	}
	r.Objects++
	if exact && !wrong && r.Operations >= o.Operations {
		r.Left += size
		return nil
	}
	illegal, whole := false, true
	var failed error
	windows(func(w window) {
		n := int64(len(w.pieces))
		switch {
		case failed != nil || illegal:
			return
		case exact && !wrong && r.Operations+n > o.Operations:
			whole = false
			r.Left += n
			return
		}
		r.Windows++
		r.Operations += n
		illegal, failed = r.search(obj, w, o)
	})
	switch {
	case failed != nil:
		return failed
	case exact && illegal != wrong && (whole || illegal):
		return fmt.Errorf("%w: %s: exact %v, search %v", ErrDisagree, obj.Name, !wrong, !illegal)
	case illegal && !exact:
		r.Violations = append(r.Violations, checker.Violation{ID: obj.ID, What: obj.Name + ": its operations fit no order"})
	}
	return nil
}

// search looks for an order of a window. A picture is drawn of one that has none.
func (r *Report) search(obj *checker.Object, w window, o *Options) (illegal bool, err error) {
	if n := len(w.pieces); n > o.Window {
		return false, fmt.Errorf("%w: %s has %d operations between two quiet instants, the most is %d", ErrUnknown, obj.Name, n, o.Window)
	}
	ops := w.operations()
	switch porcupine.CheckOperationsTimeout(w.model, ops, time.Duration(o.Seconds)*time.Second) {
	case porcupine.Ok:
		return false, nil
	case porcupine.Unknown:
		return false, fmt.Errorf("%w: %s, a window of %d operations, after %d s", ErrUnknown, obj.Name, len(ops), o.Seconds)
	}
	if o.Pictures == "" {
		return true, nil
	}
	_, info := porcupine.CheckOperationsVerbose(w.model, ops, time.Duration(o.Seconds)*time.Second)
	path, err := draw(w.model, info, o.Pictures, obj)
	if err == nil {
		r.Pictures = append(r.Pictures, path)
	}
	return true, err
}

var unsafe = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

func draw(m porcupine.Model, info porcupine.LinearizationInfo, dir string, obj *checker.Object) (string, error) {
	name := unsafe.ReplaceAllString(obj.ID+" "+obj.Name, "-")
	f, err := os.CreateTemp(dir, name[:min(len(name), 100)]+"-*.html")
	if err != nil {
		return "", err
	}
	err = porcupine.Visualize(m, info, f)
	return filepath.Clean(f.Name()), errors.Join(err, f.Close())
}
