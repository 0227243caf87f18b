package main

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/karst-stream/karst/node"
)

// The tools see all data directories of a node, one by one or, as a start does, together.
func TestToolsOnSeveralDirectories(t *testing.T) {
	one, two := filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "two")
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	ready := false
	err := node.Run(ctx, node.Options{NodeID: 1, Dir: one, MoreDirs: []string{two}, Shards: 2, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Listeners: []node.Listener{{Name: "PLAINTEXT", Host: "127.0.0.1"}}, Topics: []node.TopicSpec{{Name: "orders", Partitions: 4}},
		Ready: func() { ready = true; stop() }})
	if err != nil || !ready {
		t.Fatalf("ready %v, %v", ready, err)
	}
	for dir, want := range map[string]int{one: 3, two: 2} {
		if v, err := verifyDir(dir); err != nil || len(v.Partitions) != want || v.bad() > 0 {
			t.Errorf("%s: %+v, %v", dir, v, err)
		}
	}
	if p, err := planRepair(one + "," + two); err != nil || p.Partitions != 5 || p.Node != 1 || p.Lost > 0 {
		t.Errorf("both: %+v, %v", p, err)
	}
	for _, wrong := range []string{two, two + "," + one} {
		if _, err := planRepair(wrong); err == nil || !strings.Contains(err.Error(), "not the first one of node 1") {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}
