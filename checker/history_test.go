package checker

import (
	"slices"
	"testing"

	"github.com/karst-stream/karst/core"
)

func v(counter uint32) Value { return Value{Producer: 1, Partition: 0, Counter: counter} }

// story is a history of one partition in which nothing goes wrong: producer 1 sends four batches,
// reader 7 reads them in two polls, the last reader 9 scans them. Each bug changes one line of it.
type story struct {
	log  *Log
	ids  []string
	skip map[string]bool // lines that are left out
}

func (s *story) line(name string, f func()) {
	if !s.skip[name] {
		f()
	}
}

func tell(bug func(s *story), without ...string) []string {
	s := &story{skip: map[string]bool{}}
	for _, name := range without {
		s.skip[name] = true
	}
	s.log = NewLog(1, func(v Violation) { s.ids = append(s.ids, v.ID) })
	l := s.log
	for c := range uint32(4) {
		l.Sent(v(2*c), 2)
	}
	l.Acked(v(0), 2, 0)
	l.Acked(v(2), 2, 2)
	l.Acked(v(4), 2, 4)
	l.Assigned(7, 0, 0)
	for at := range core.Offset(4) {
		l.Read(7, 0, 1, at, v(uint32(at)))
	}
	l.Fetched(7, 0, 3, 6, 4)
	s.line("second poll", func() {
		l.Read(7, 0, 2, 4, v(4))
		l.Read(7, 0, 2, 5, v(5))
	})
	l.Latest(5, 0, 3, 6)
	if bug != nil {
		bug(s)
	}
	s.line("last reader", func() {
		l.Assigned(9, 0, 0)
		for at := range core.Offset(6) {
			l.Read(9, 0, 1, at, v(uint32(at)))
		}
	})
	s.line("scan", func() {
		l.Scanned(0, 0, 2, 77, 0, 0)
		l.Scanned(0, 2, 2, 77, 0, 2)
		l.Scanned(0, 4, 2, 77, 0, 4)
	})
	l.Finish()
	return s.ids
}

func TestCleanHistory(t *testing.T) {
	if ids := tell(nil); len(ids) > 0 {
		t.Errorf("a clean history is accused of %v", ids)
	}
	clean := map[string]func(s *story){
		"an unacknowledged send that lands": func(s *story) {
			s.log.Assigned(8, 0, 6)
			s.log.Read(8, 0, 1, 6, v(6))
			s.log.Read(8, 0, 1, 7, v(7))
		},
		"an unacknowledged send that never lands": func(*story) {},
		"a reader assigned anew at an older offset": func(s *story) {
			s.log.Assigned(7, 0, 2)
			s.log.Read(7, 0, 3, 2, v(2))
		},
		"a deposed leader that knows less": func(s *story) { s.log.Latest(5, 0, 2, 1) },
		"a newer leader that knows more":   func(s *story) { s.log.Latest(5, 0, 4, 9) },
		"another client that knows less":   func(s *story) { s.log.Latest(6, 0, 3, 2) },
		"an acknowledgement again":         func(s *story) { s.log.Acked(v(4), 2, 4) },
	}
	for name, f := range clean {
		if ids := tell(f); len(ids) > 0 {
			t.Errorf("%s: accused of %v", name, ids)
		}
	}
}

func TestPlantedBugs(t *testing.T) {
	bugs := []struct {
		id   string
		name string
		bug  func(s *story)
		skip []string
	}{
		{"A1", "two values at one offset, both read", func(s *story) { s.log.Assigned(8, 0, 3); s.log.Read(8, 0, 1, 3, v(6)) }, nil},
		{"A1", "acknowledged where another was read", func(s *story) { s.log.Acked(v(6), 2, 3) }, nil},
		{"A1", "a value that nobody sent", func(s *story) { s.log.Assigned(8, 0, 6); s.log.Read(8, 0, 1, 6, v(99)) }, nil},
		{"A1", "a value of another partition", func(s *story) {
			s.log.Assigned(8, 0, 6)
			s.log.Read(8, 0, 1, 6, Value{1, 3, 0})
		}, nil},
		{"A2", "one value twice", func(s *story) { s.log.Assigned(8, 0, 6); s.log.Read(8, 0, 1, 6, v(5)) }, nil},
		{"A2", "acknowledged at another offset than read", func(s *story) { s.log.Acked(v(4), 2, 7) }, nil},
		{"A3", "acknowledged, skipped by a reader that has read on", func(s *story) {
			s.log.Acked(v(6), 1, 6)
			s.log.Sent(Value{2, 0, 0}, 1)
			s.log.Assigned(8, 0, 7)
			s.log.Read(8, 0, 1, 7, Value{2, 0, 0})
		}, nil},
		{"A4", "acknowledged, never read", func(s *story) { s.log.Acked(v(6), 2, 6) }, nil},
		{"A4", "acknowledged without an offset, never read", func(s *story) { s.log.AckedSomewhere(v(6), 2) }, nil},
		{"A7", "a poll skips", func(s *story) { s.log.Read(7, 0, 3, 7, v(7)) }, nil},
		{"A8", "a poll goes back", func(s *story) { s.log.Read(7, 0, 3, 5, v(5)) }, nil},
		{"A9", "a skip inside of a poll", func(s *story) { s.log.Read(7, 0, 2, 7, v(7)) }, nil},
		{"A10", "a repeat inside of a poll", func(s *story) { s.log.Read(7, 0, 2, 5, v(5)) }, nil},
		{"A11", "two sends in the other order", func(s *story) {
			s.log.Sent(v(8), 2)
			s.log.Assigned(8, 0, 6)
			s.log.Read(8, 0, 1, 6, v(8))
			s.log.Read(8, 0, 1, 7, v(6))
		}, nil},
		{"A12", "one send in the other order", func(s *story) {
			s.log.Assigned(8, 0, 6)
			s.log.Read(8, 0, 1, 6, v(7))
			s.log.Read(8, 0, 1, 7, v(6))
		}, nil},
		{"A19", "a gap in the sequences", func(s *story) {
			s.log.Scanned(0, 0, 2, 77, 0, 0)
			s.log.Scanned(0, 2, 2, 77, 0, 3)
		}, []string{"scan"}},
		{"A19", "a repeat in the sequences", func(s *story) {
			s.log.Scanned(0, 0, 2, 77, 0, 0)
			s.log.Scanned(0, 2, 2, 77, 0, 0)
		}, []string{"scan"}},
		{"A7", "a hole in the log", func(s *story) { s.log.Scanned(0, 1, 2, 77, 0, 0) }, []string{"scan"}},
		{"A23", "the end falls in one epoch", func(s *story) { s.log.Latest(5, 0, 3, 5) }, nil},
		{"A23", "the end falls with a newer leader", func(s *story) { s.log.Latest(5, 0, 4, 5) }, nil},
		{"A24", "records above the high watermark", func(s *story) { s.log.Fetched(7, 0, 3, 6, 7) }, nil},
		{"A25", "out of range where it had been told to go on", func(s *story) { s.log.OutOfRange(7, 0, 6) }, nil},
		{"A28", "damaged bytes", func(s *story) { s.log.Corrupt(0, 3, "no value") }, nil},
	}
	for _, b := range bugs {
		if ids := tell(b.bug, b.skip...); !slices.Contains(ids, b.id) {
			t.Errorf("%s (%s): accused of %v", b.name, b.id, ids)
		}
	}
}

func TestEmptyHistory(t *testing.T) {
	var ids []string
	NewLog(1, func(v Violation) { ids = append(ids, v.ID) }).Finish()
	if !slices.Contains(ids, "empty") {
		t.Error("a history in which nothing happened passes")
	}
}

func TestSequenceWrap(t *testing.T) {
	var ids []string
	l := NewLog(1, func(v Violation) { ids = append(ids, v.ID) })
	l.Scanned(0, 0, 3, 77, 0, 1<<31-2)
	l.Scanned(0, 3, 1, 77, 0, 1)
	if len(ids) > 0 {
		t.Error("the wrap from 2^31-1 to 0 is accused of", ids)
	}
}
