package escape_test

import (
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/karst-stream/karst/cmd/karst/escape"
)

var record = &kgo.Record{
	Topic: "orders", Partition: 3, Offset: 41, Key: []byte("k"), Value: []byte("value"),
	Timestamp: time.UnixMilli(1_000_000_000_123),
	Headers:   []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "b", Value: []byte("2")}},
}

func TestARecordIsPrintedByItsFormat(t *testing.T) {
	for _, c := range []struct{ format, want string }{
		{`%v\n`, "value\n"},
		{`%t %p %o %k %s\n`, "orders 3 41 k value\n"},
		{`%K:%S %T %d`, "1:5 1000000000123 2001-09-09T01:46:40.123Z"},
		{`%h`, "a=1,b=2"},
		{`%H %h{%k is %v; }`, "2 a is 1; b is 2; "},
		{`100%% \t\x41\\`, "100% \tA\\"},
		{`%{%}`, "{}"},
	} {
		l, err := escape.Parse(c.format)
		if err != nil {
			t.Errorf("%q: %v", c.format, err)
			continue
		}
		if got := string(l.Append(nil, record, 7)); got != c.want {
			t.Errorf("%q: got %q, want %q", c.format, got, c.want)
		}
	}
}

func TestNullHasLengthMinusOneAsInKcat(t *testing.T) {
	l, err := escape.Parse("%K %S")
	if err != nil {
		t.Fatal(err)
	}
	if got := string(l.Append(nil, &kgo.Record{Key: []byte{}}, 0)); got != "0 -1" {
		t.Errorf("got %q", got)
	}
}

func TestAnUnknownEscapeIsRefused(t *testing.T) {
	for _, format := range []string{"%z", "%", `\q`, `\x4`, `\`, "%h{%k"} {
		if _, err := escape.Parse(format); err == nil {
			t.Errorf("%q was accepted", format)
		}
	}
}

func TestALineIsReadByItsFormat(t *testing.T) {
	for _, c := range []struct{ format, line, key, value, headers string }{
		{"%v", "all of it", "", "all of it", ""},
		{"%k:%v", "a:b:c", "a", "b:c", ""},
		{`%k\t%v\n`, "a\tb", "a", "b", ""},
		{"[%h] %k %v", "[x=1,y=2] a b c", "a", "b c", "x=1,y=2"},
	} {
		rd, err := escape.ParseReader(c.format)
		if err != nil {
			t.Errorf("%q: %v", c.format, err)
			continue
		}
		var r kgo.Record
		if err := rd.Read([]byte(c.line), &r); err != nil {
			t.Errorf("%q: %v", c.line, err)
			continue
		}
		var hs []string
		for _, h := range r.Headers {
			hs = append(hs, h.Key+"="+string(h.Value))
		}
		if string(r.Key) != c.key || string(r.Value) != c.value || strings.Join(hs, ",") != c.headers {
			t.Errorf("%q by %q: key %q, value %q, headers %q", c.line, c.format, r.Key, r.Value, hs)
		}
	}
}

func TestALineThatDoesNotFitIsRefused(t *testing.T) {
	rd, err := escape.ParseReader("%p:%v")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"", "x:y", "1", "-1:y"} {
		if err := rd.Read([]byte(line), &kgo.Record{}); err == nil {
			t.Errorf("%q was accepted", line)
		}
	}
	for _, format := range []string{"%k%v", "%o", "text", `%k\n%v`, "%h{%k}"} {
		if _, err := escape.ParseReader(format); err == nil {
			t.Errorf("format %q was accepted", format)
		}
	}
}
