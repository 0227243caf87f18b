package settings_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
	"github.com/karst-stream/karst/cmd/karst/settings"
)

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "karst.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func env(pairs map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { v, ok := pairs[name]; return v, ok }
}

func TestFlagBeatsEnvironmentBeatsFileBeatsDefault(t *testing.T) {
	src := settings.Sources{File: file(t, "num.partitions: 2\nnode-id: 2\ndata: /file\n"), Env: env(nil)}
	expect := func(partitions, from string) {
		t.Helper()
		v, err := settings.Load(src)
		if err != nil {
			t.Fatal(err)
		}
		if got := v.Text("num.partitions"); got != partitions || !strings.HasSuffix(v.From("num.partitions"), from) {
			t.Errorf("num.partitions = %s from %s, want %s from %s", got, v.From("num.partitions"), partitions, from)
		}
	}
	expect("2", "karst.yaml:1")
	src.Env = env(map[string]string{"KARST_NUM_PARTITIONS": "3"})
	expect("3", "environment KARST_NUM_PARTITIONS")
	src.Flags = []settings.Flag{{Key: "num.partitions", Value: "4", Shown: "--set num.partitions"}}
	expect("4", "--set num.partitions")
	src = settings.Sources{Env: env(nil)}
	expect("1", "default")
}

func TestAnUnknownKeyNamesItsLineAndItsNearestNeighbour(t *testing.T) {
	path := file(t, "node-id: 1\n# a remark\nnum.partition: 3\n")
	_, err := settings.Load(settings.Sources{File: path, Env: env(nil)})
	var known *catalogue.Error
	if !errors.As(err, &known) || known.Entry != catalogue.UnknownKey {
		t.Fatalf("got %v", err)
	}
	if !strings.Contains(known.Message, path+":3") {
		t.Errorf("%q does not name the line", known.Message)
	}
	if got := strings.Join(known.Remedies(), "\n"); !strings.Contains(got, "did you mean num.partitions?") {
		t.Errorf("%q does not name the neighbour", got)
	}
}

func TestAFileIsStrict(t *testing.T) {
	for text, want := range map[string]*catalogue.Entry{
		"num.partitions: many\n":                 catalogue.BadValue,
		"num.partitions: 0\n":                    catalogue.BadValue,
		"num.partitions: 1\nnum.partitions: 2\n": catalogue.BadFile,
		"node-id: 1\nbroker.id: 2\n":             catalogue.BadFile,
		"peers:\n  one: two\n":                   catalogue.BadFile,
		"- a list\n":                             catalogue.BadFile,
		"node-id: [1\n":                          catalogue.BadFile,
	} {
		_, err := settings.Load(settings.Sources{File: file(t, text), Env: env(nil)})
		var known *catalogue.Error
		if !errors.As(err, &known) || known.Entry != want {
			t.Errorf("%q: got %v, want %s", text, err, want.Code)
		}
	}
}

func TestKafkasNamesAndListsAreAccepted(t *testing.T) {
	path := file(t, "broker.id: 7\nlisteners: [INTERNAL://:9092, EXTERNAL://:9192]\n")
	v, err := settings.Load(settings.Sources{File: path, Env: env(nil)})
	if err != nil {
		t.Fatal(err)
	}
	if v.Text("node-id") != "7" || v.Text("listen") != "INTERNAL://:9092,EXTERNAL://:9192" {
		t.Errorf("node-id %q, listen %q", v.Text("node-id"), v.Text("listen"))
	}
	if len(v.Configs()) != 0 {
		t.Errorf("keys of the node are no cluster configs: %v", v.Configs())
	}
	for _, text := range []string{"", "# nothing\n", "---\n"} {
		if _, err := settings.Load(settings.Sources{File: file(t, text), Env: env(nil)}); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestASetFlagIsCheckedAtOnce(t *testing.T) {
	for pair, want := range map[string]*catalogue.Entry{
		"num.partitions":   catalogue.BadFlag,
		"num.partition=1":  catalogue.UnknownKey,
		"num.partitions=x": catalogue.BadValue,
	} {
		_, err := settings.Check(pair)
		var known *catalogue.Error
		if !errors.As(err, &known) || known.Entry != want {
			t.Errorf("%q: got %v, want %s", pair, err, want.Code)
		}
	}
	if f, err := settings.Check("log.retention.hours=1"); err != nil || f.Value != "1" {
		t.Errorf("got %v, %v", f, err)
	}
}
