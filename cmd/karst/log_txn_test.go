package main

import (
	"archive/zip"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The transaction indexes that Apache Kafka wrote are printed, and held against Apache Kafka's segments.
func TestDumpOfKafkasTransactionIndexes(t *testing.T) {
	z, err := zip.OpenReader("../../core/seg/testdata/txn/kafka.zip")
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	dir := filepath.Join(t.TempDir(), "ledger-0")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, filepath.Base(f.Name))
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
		if filepath.Ext(name) == ".txnindex" {
			files = append(files, name)
		}
	}
	slices.Sort(files)
	dump := func(path string) (string, error) {
		var out bytes.Buffer
		c := newLogDump()
		c.SetOut(&out)
		c.SetErr(io.Discard)
		c.SetArgs([]string{path})
		err := c.Execute()
		return out.String(), err
	}
	for _, f := range files {
		if out, err := dump(f); err != nil || !strings.Contains(out, "PRODUCER") {
			t.Errorf("%s: %v\n%s", f, err, out)
		}
	}
	out, err := dump(files[0]) // DumpLogSegments shows the same numbers
	want := []string{"1 3 6 5", "1 10 17 8", "2 29 31 8"}
	lines := strings.Split(out, "\n")
	for i, w := range want {
		if err != nil || len(lines) < 5 || strings.Join(strings.Fields(lines[i+1]), " ") != w {
			t.Fatalf("%v, want %q in line %d of\n%s", err, w, i+2, out)
		}
	}
	b, err := os.ReadFile(files[1])
	if err != nil {
		t.Fatal(err)
	}
	b[0] = 1
	if err := os.WriteFile(files[2], b, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := dump(files[2]); err == nil || !strings.Contains(err.Error(), "version 256") {
		t.Errorf("a version that is not: %v", err)
	}
	if err := os.WriteFile(files[0], b[:30], 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := dump(files[0]); err == nil || !strings.Contains(err.Error(), "30 bytes") {
		t.Errorf("a file that was cut: %v", err)
	}
}
