package node

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/karst-stream/karst/core/det"
)

// metrics is what /metrics shows: the process, what the driver counts, and what shards tell.
type metrics struct {
	n     *node
	all   *prometheus.Registry
	syncs prometheus.Histogram
}

// tellWithin is how long /metrics waits for a shard.
const tellWithin = time.Second

func newMetrics(n *node) *metrics {
	m := &metrics{n: n, all: prometheus.NewRegistry(), syncs: prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "karst_fsync_seconds", Help: "How long syncs of files and directories took.",
		Buckets: []float64{25e-6, 50e-6, 100e-6, 200e-6, 400e-6, 800e-6, 2e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 1, 5}})}
	m.all.MustRegister(m.syncs, m,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) synced(d time.Duration) { m.syncs.Observe(d.Seconds()) }

// Describe implements prometheus.Collector: which numbers there are depends on the shards.
func (m *metrics) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	put := func(kind prometheus.ValueType, name, help string, v int64, labels ...string) {
		var names []string
		if len(labels) > 0 {
			names = []string{"shard"}
		}
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, names, nil), kind, float64(v), labels...)
	}
	const sum, now = prometheus.CounterValue, prometheus.GaugeValue
	c := &m.n.net.Counters
	put(sum, "karst_bytes_in_total", "Bytes of client frames that were read.", c.BytesIn.Load())
	put(sum, "karst_bytes_out_total", "Bytes of answers that were sent.", c.BytesOut.Load())
	put(sum, "karst_frames_total", "Client frames that were read.", c.Frames.Load())
	put(sum, "karst_peer_bytes_in_total", "Bytes of frames from other nodes.", c.PeerBytesIn.Load())
	put(sum, "karst_peer_bytes_out_total", "Bytes of frames to other nodes.", c.PeerBytesOut.Load())
	put(sum, "karst_peer_frames_total", "Frames from other nodes.", c.PeerFrames.Load())
	put(sum, "karst_bytes_copied_total", "Bytes that were copied from memory to memory on their way.", c.Copied.Load())
	put(sum, "karst_file_bytes_out_total", "Bytes that went from files to clients.", c.Files.Load())
	put(now, "karst_connections", "Client connections.", c.Conns.Load())
	put(sum, "karst_connections_refused_total", "Connections that were ended for what they sent.", c.Refused.Load())
	put(now, "karst_frame_budget_bytes", "Memory that client frames hold of their budget.", m.n.net.BudgetUsed())
	ready := int64(0)
	if m.n.ready.Load() {
		ready = 1
	}
	put(now, "karst_ready", "1 when clients are let in.", ready)
	for _, l := range m.n.loops {
		s := strconv.Itoa(int(l.id))
		put(sum, "karst_steps_total", "Steps of a shard.", l.counts.steps.Load(), s)
		put(sum, "karst_events_total", "Events that a shard saw.", l.counts.events.Load(), s)
		put(sum, "karst_effects_total", "Effects that a shard asked for.", l.counts.effects.Load(), s)
		put(sum, "karst_step_nanoseconds_total", "Time that a shard's steps and their effects took.", l.counts.busy.Load(), s)
		for _, t := range l.tell() {
			put(now, "karst_"+t.name, "Told by the shard.", t.value, s)
		}
	}
	det.Marks(func(name string, hits int64) {
		if hits > 0 {
			out <- prometheus.MustNewConstMetric(prometheus.NewDesc("karst_mark_hits_total",
				"How often a rare place in the code was reached.", []string{"mark"}, nil), sum, float64(hits), name)
		}
	})
}

type told struct {
	name  string
	value int64
}

// tell asks the shard for its numbers, on its loop.
func (l *loop) tell() []told {
	t, ok := l.s.(interface {
		Tell(visit func(name string, value int64))
	})
	if !ok {
		return nil
	}
	done := make(chan []told, 1)
	l.call(func() {
		var list []told
		t.Tell(func(name string, value int64) { list = append(list, told{name, value}) })
		done <- list
	})
	select {
	case list := <-done:
		return list
	case <-time.After(tellWithin):
		return nil
	}
}
