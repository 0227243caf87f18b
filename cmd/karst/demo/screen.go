package demo

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

const width = 80

// screen writes the story: on a terminal with a line that is rewritten, elsewhere as plain text.
type screen struct {
	w      io.Writer
	live   bool
	colour bool
	onLine bool // a live line stands unfinished
	meter  meter
}

func newScreen(w io.Writer, live, colour bool) *screen {
	return &screen{w: w, live: live, colour: colour}
}

func (s *screen) style(code, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s *screen) strong(text string) string { return s.style("1", text) }
func (s *screen) faint(text string) string  { return s.style("2", text) }

// judged is green when ok, red otherwise.
func (s *screen) judged(ok bool, text string) string {
	if ok {
		return s.style("32", text)
	}
	return s.style("1;31", text)
}

func (s *screen) title(name, what string) {
	fmt.Fprintf(s.w, "\n%s  %s\n", s.strong(name), s.faint(what))
}

// scene begins a part of the story.
func (s *screen) scene(letter, what string) {
	s.endLive()
	fmt.Fprintf(s.w, "\n%s  %s\n", s.style("1;36", letter), s.strong(what))
}

// say is a line of the story.
func (s *screen) say(format string, args ...any) {
	s.endLive()
	fmt.Fprintln(s.w, strings.TrimRight("   "+fmt.Sprintf(format, args...), " "))
}

// update rewrites the live line; where there is none it does nothing.
func (s *screen) update(line string) {
	if !s.live {
		return
	}
	if n := utf8.RuneCountInString(line); n > width-1 {
		line = string([]rune(line)[:width-1])
	}
	fmt.Fprintf(s.w, "\r\x1b[2K%s", line)
	s.onLine = true
}

// endLive lets the live line stand.
func (s *screen) endLive() {
	if s.onLine {
		fmt.Fprintln(s.w)
		s.onLine = false
	}
}

// meter turns totals into rates over the last second, and remembers them for the curve.
type meter struct {
	points  []point
	curve   []int64 // acknowledged a second, one value every few ticks
	ticks   int
	printed time.Time
}

type point struct {
	at         time.Time
	sent, read int64
}

func (m *meter) reset(sent, read int64) {
	m.printed = time.Now()
	if len(m.points) == 0 {
		m.points = []point{{time.Now(), sent, read}}
	}
}

// add gives the rates over the last second.
func (m *meter) add(now time.Time, sent, read int64) (sentRate, readRate, instant int64) {
	last := m.points[len(m.points)-1]
	m.points = append(m.points, point{now, sent, read})
	for len(m.points) > 2 && now.Sub(m.points[0].at) > time.Second {
		m.points = m.points[1:]
	}
	first := m.points[0]
	rate := func(n int64, d time.Duration) int64 { return int64(float64(n) / max(d.Seconds(), 0.001)) }
	took := now.Sub(first.at)
	instant = rate(sent-last.sent, now.Sub(last.at))
	return rate(sent-first.sent, took), rate(read-first.read, took), instant
}

var bars = []rune("▁▂▃▄▅▆▇█")

// rates shows one tick: each on a terminal, one a second elsewhere.
func (s *screen) rates(at time.Duration, sent, read int64, note string) {
	now := time.Now()
	sentRate, readRate, instant := s.meter.add(now, sent, read)
	if !s.live {
		if now.Sub(s.meter.printed) >= time.Second {
			s.meter.printed = now
			line := fmt.Sprintf("   %5.1f s  produced %7s/s, consumed %7s/s, total %9s  %s",
				at.Seconds(), thousands(sentRate), thousands(readRate), thousands(sent), note)
			fmt.Fprintln(s.w, strings.TrimRight(line, " "))
		}
		return
	}
	if s.meter.ticks++; s.meter.ticks%3 == 0 {
		s.meter.curve = append(s.meter.curve, instant)
	}
	if over := len(s.meter.curve) - curveWidth; over > 0 {
		s.meter.curve = s.meter.curve[over:]
	}
	if note == "" {
		note = thousands(sent)
	}
	s.update(fmt.Sprintf("   %5.1f s %-*s produced %7s/s consumed %7s/s %s", at.Seconds(), curveWidth, s.meter.bars(),
		thousands(sentRate), thousands(readRate), note))
}

const curveWidth = 14

// bars draws the curve. Full height is a little above what is usual: the burst after a pause must not
// flatten everything else.
func (m *meter) bars() string {
	usual := slices.Clone(m.curve)
	slices.Sort(usual)
	var full int64 = 1
	if n := len(usual); n > 0 {
		full = max(1, usual[n/2]*5/4)
	}
	var b strings.Builder
	for _, v := range m.curve {
		b.WriteRune(bars[min(v*int64(len(bars))/full, int64(len(bars)-1))])
	}
	return b.String()
}

// thousands writes 1234567 as 1,234,567.
func thousands(n int64) string {
	s := fmt.Sprint(n)
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// number writes small counts as words: three nodes.
func number(n int, noun string) string {
	words := []string{"no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"}
	word := fmt.Sprint(n)
	if n < len(words) {
		word = words[n]
	}
	if n != 1 {
		noun += "s"
	}
	return word + " " + noun
}
