package demo

import (
	"os"
	"testing"
)

func TestADemoUnderWayIsNotedInPlace(t *testing.T) {
	r := &run{Options: Options{Dir: t.TempDir()}}
	if _, ok := r.left(); ok || r.group() != group {
		t.Fatal("something is left of no demo")
	}
	if err := r.begin(); err != nil {
		t.Fatal(err)
	}
	want := underway{Ends: [partitions]int64{1 << 60, 2, 3, 4, 5, 6}, Tries: 7}
	if err := want.note(r.underwayFile()); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(r.underwayFile()); err != nil || st.Size() != underwaySize {
		t.Fatalf("%v: on a full disk the file may not grow", err)
	}
	got, ok := r.left()
	if !ok || got != want {
		t.Fatalf("%v, %v", got, ok)
	}
	if r.earlier = &got; r.group() != group+"-9" {
		t.Errorf("the group is %q", r.group())
	}
}

func TestADirectoryOfAnotherClusterIsRefused(t *testing.T) {
	r := &run{Options: Options{Dir: t.TempDir()}}
	if err := os.WriteFile(r.Dir+"/dev.json", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := r.directory(); err == nil {
		t.Error("taken")
	}
	if err := r.begin(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.directory(); err != nil || r.earlier == nil {
		t.Errorf("a demo that did not end is refused: %v", err)
	}
}
