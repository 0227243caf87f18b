package shard

import (
	"fmt"
	"strings"
)

// Stats are a shard's gauges at one moment, for metrics.
type Stats struct {
	Partitions    int // replicas hosted
	Leaders       int // of them led here
	Awake         int
	Offline       int
	Connections   int
	WindowBytes   int64 // batch bytes in memory
	WindowEntries int
	JournalFrames uint64 // written since the start
	Suspects      int    // peers that the failure detector gave up
	Stalled       int    // produced batches that wait for room in the window
	NoRoom        int    // files with operations that wait for room on the disk
	DirsFailed    int    // data directories of the node that cannot be used
}

// Stats counts; it is called between steps, by the goroutine that steps.
func (s *Shard) Stats() Stats {
	st := Stats{Partitions: s.groups.Len(), Connections: s.conns.Len(), WindowBytes: s.window.Bytes,
		WindowEntries: s.window.Entries, Suspects: s.suspects.Len(), Stalled: len(s.stalled),
		NoRoom: len(s.disk.waiting)}
	for _, d := range s.dirs {
		if d.failed != "" {
			st.DirsFailed++
		}
	}
	for _, v := range s.vols {
		st.JournalFrames += v.jrn.Seq()
	}
	for _, g := range s.groups.Keys() {
		r := s.groups.At(g).r
		if r.Leads() {
			st.Leaders++
		}
		if r.Awake() {
			st.Awake++
		}
		if r.Offline() != "" {
			st.Offline++
		}
	}
	return st
}

// Describe says in words what each replica of this shard is at: for a failure's report.
func (s *Shard) Describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "suspects %v;", s.suspects.Keys())
	for _, g := range s.groups.Keys() {
		h := s.groups.At(g)
		fmt.Fprintf(&b, " %s: %s", h.dir, h.r.Describe())
	}
	return b.String()
}
