// Package catalogue owns every error that karst shows to a person: one entry a code, with what went
// wrong, why it happens and what to try. It promises that a code never changes its meaning and that
// `karst docs CODE` explains it without a network. It refuses errors without a remedy: an entry with
// no try line does not pass the package's test.
package catalogue

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Exit is the status with which the process ends. Scripts rely on these numbers.
type Exit int

const (
	Done      Exit = 0 // all was done
	Failed    Exit = 1 // something went wrong while doing it
	Usage     Exit = 2 // the command line or the configuration is wrong; nothing was touched
	NotFound  Exit = 3 // what was named does not exist
	Refused   Exit = 4 // authorisation said no
	TimedOut  Exit = 5 // no answer in time
	Unhealthy Exit = 6 // it was checked, and found unhealthy
)

// Entry is one page of the catalogue.
type Entry struct {
	Code string   // K and four digits, for ever
	Exit Exit     // of a command that ends with it
	What string   // one sentence, without the names of a particular case
	Why  string   // how one comes here
	Try  []string // command or deed, most likely first; shown when the place that raises it has nothing better
}

var entries []*Entry // in order of code; filled by package initialisers only

func define(code string, exit Exit, what, why string, try ...string) *Entry {
	e := &Entry{Code: code, Exit: exit, What: what, Why: why, Try: try}
	entries = append(entries, e)
	return e
}

// All lists the catalogue in order of code.
func All() []*Entry {
	all := slices.Clone(entries)
	slices.SortFunc(all, func(a, b *Entry) int { return strings.Compare(a.Code, b.Code) })
	return all
}

// Find looks a code up, in either case, with or without its K.
func Find(code string) (*Entry, bool) {
	code = strings.ToUpper(code)
	if !strings.HasPrefix(code, "K") {
		code = "K" + code
	}
	for _, e := range entries {
		if e.Code == code {
			return e, true
		}
	}
	return nil, false
}

// Explain writes the entry's page, as `karst docs CODE` shows it.
func (e *Entry) Explain(w io.Writer) {
	fmt.Fprintf(w, "%s  %s\n\n", e.Code, e.What)
	for _, line := range wrap(e.Why, 78) {
		fmt.Fprintf(w, "  %s\n", line)
	}
	fmt.Fprintln(w)
	for i, t := range e.Try {
		label := "       "
		if i == 0 {
			label = "  try: "
		}
		fmt.Fprintf(w, "%s %s\n", label, t)
	}
	fmt.Fprintf(w, "\n  exit status %d\n", e.Exit)
}

// Error is an entry raised in a particular case.
type Error struct {
	Entry    *Entry
	Message  string   // what failed, with the names of the case
	evidence []string // facts that led here, a line each
	try      []string // replaces the entry's when not empty
	cause    error
}

// New raises the entry; the message names the case.
func (e *Entry) New(format string, args ...any) *Error {
	return &Error{Entry: e, Message: fmt.Sprintf(format, args...)}
}

// Because adds lines of evidence.
func (e *Error) Because(lines ...string) *Error {
	e.evidence = append(e.evidence, lines...)
	return e
}

// Try replaces the entry's remedies by ones that fit the case.
func (e *Error) Try(lines ...string) *Error {
	e.try = lines
	return e
}

// Wrap remembers the error that lies under this one.
func (e *Error) Wrap(cause error) *Error {
	e.cause = cause
	return e
}

func (e *Error) Error() string { return e.Entry.Code + ": " + e.Message }
func (e *Error) Unwrap() error { return e.cause }

// Remedies are the lines to try in this case.
func (e *Error) Remedies() []string {
	if len(e.try) > 0 {
		return e.try
	}
	return e.Entry.Try
}

// Show writes the error in the one shape that errors have. Bold and plain switch emphasis on and
// off; both are empty where colours are not wanted.
func (e *Error) Show(w io.Writer, bold, plain string) {
	fmt.Fprintf(w, "%serror %s%s: %s\n", bold, e.Entry.Code, plain, e.Message)
	for _, line := range e.evidence {
		fmt.Fprintf(w, "  %s\n", line)
	}
	for i, line := range e.Remedies() {
		label := "        "
		if i == 0 {
			label = "  try:  "
		}
		fmt.Fprintf(w, "%s %s\n", label, line)
	}
	fmt.Fprintf(w, "  more:  karst docs %s\n", e.Entry.Code)
}

// wrap breaks text at spaces into lines of at most width bytes.
func wrap(text string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}
