package fake

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
)

const f1 = core.FileID(1)

func run(d *Disk, e core.Effect, body ...byte) core.Event {
	e.File, e.Op = f1, 7
	var vec []core.Ref
	if len(body) > 0 {
		vec = append(vec, core.RefOf(body))
	}
	d.Submit(0, &e, vec)
	ev, _ := d.Complete(f1)
	return ev
}

func opened(seed uint64) *Disk {
	d := New(det.New(seed, "disk"))
	run(d, core.Effect{Kind: core.Create, Path: "a/b", Sync: true})
	return d
}

func content(t *testing.T, b core.Boot, path string) []byte {
	t.Helper()
	for _, i := range b.List() {
		if i.Path == path {
			buf := make([]byte, i.Size)
			if n, err := b.ReadAt(path, 0, buf); n != len(buf) || err != core.OK {
				t.Fatalf("read %d of %d: %v", n, len(buf), err)
			}
			return buf
		}
	}
	return nil
}

func fill(n int, c byte) []byte { return bytes.Repeat([]byte{c}, n) }

// What a finished sync covers survives every power loss; what none covers takes every fate.
func TestPowerLoss(t *testing.T) {
	fates := map[string]bool{}
	for seed := range uint64(400) {
		d := opened(seed)
		run(d, core.Effect{Kind: core.Write, Sync: true}, fill(1000, 'A')...)
		run(d, core.Effect{Kind: core.Write, Off: 1000}, fill(1100, 'B')...)
		run(d, core.Effect{Kind: core.Write, Off: 2100}, fill(900, 'C')...)
		if !d.OnPlatter("a/b", 0, 1000) || d.OnPlatter("a/b", 999, 2) || d.OnPlatter("a/b", 1000, 1) {
			t.Fatal("OnPlatter is wrong about what is synced")
		}
		if got := content(t, d.Platter(), "a/b"); !bytes.Equal(got, fill(1000, 'A')) {
			t.Fatalf("the platter holds %d bytes, want the synced 1000", len(got))
		}
		d.PowerLoss()
		got := content(t, d, "a/b")
		if !bytes.Equal(got[:1000], fill(1000, 'A')) {
			t.Fatalf("seed %d: synced bytes changed", seed)
		}
		switch tail := got[1000:]; {
		case len(tail) == 0:
			fates["lost"] = true
		case bytes.Equal(tail, append(fill(1100, 'B'), fill(900, 'C')...)):
			fates["kept"] = true
		case len(tail) == 1100 && bytes.Equal(tail, fill(1100, 'B')):
			fates["prefix"] = true
		case len(tail) == 2000 && tail[0] == 0 && bytes.Contains(tail, fill(400, 'C')):
			fates["reordered"] = true
		case bytes.ContainsFunc(tail, func(r rune) bool { return r != 0 && r != 'B' && r != 'C' }):
			fates["garbage"] = true
		}
	}
	for _, want := range []string{"lost", "kept", "prefix", "reordered", "garbage"} {
		if !fates[want] {
			t.Errorf("no seed left the tail %s", want)
		}
	}
}

// A crash may show each write to a sector or not, but never the later without the earlier.
func TestOverwrites(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(300) {
		d := opened(seed)
		run(d, core.Effect{Kind: core.Write, Sync: true}, fill(8, 'A')...)
		run(d, core.Effect{Kind: core.Write}, fill(2, 'B')...)
		run(d, core.Effect{Kind: core.Write, Off: 2}, fill(2, 'C')...)
		d.PowerLoss()
		seen[string(content(t, d, "a/b"))] = true
	}
	for _, want := range []string{"AAAAAAAA", "BBAAAAAA", "BBCCAAAA"} {
		if !seen[want] {
			t.Errorf("no seed left %s", want)
		}
	}
	if seen["AACCAAAA"] {
		t.Error("the later write without the earlier, in one sector")
	}
}

func TestUndoneTruncation(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(300) {
		d := opened(seed)
		run(d, core.Effect{Kind: core.Write, Sync: true}, fill(600, 'A')...)
		run(d, core.Effect{Kind: core.Truncate, Off: 100})
		run(d, core.Effect{Kind: core.Write, Off: 100}, fill(100, 'B')...)
		d.PowerLoss()
		b := content(t, d, "a/b")
		seen[fmt.Sprintf("%d %c", len(b), b[len(b)-1])] = true
		if len(b) == 600 && !bytes.Equal(b, fill(600, 'A')) {
			t.Fatal("the truncation was undone, its bytes were not")
		}
	}
	for _, want := range []string{"600 A", "100 A", "200 B"} {
		if !seen[want] {
			t.Errorf("no seed left %q; seen %v", want, seen)
		}
	}
}

// A process that dies loses what it had only asked for; the page cache stays.
func TestKill(t *testing.T) {
	begun := 0
	for seed := range uint64(50) {
		d := opened(seed)
		run(d, core.Effect{Kind: core.Write}, fill(600, 'A')...)
		e := core.Effect{Kind: core.Write, File: f1, Off: 600}
		d.Submit(0, &e, []core.Ref{core.RefOf(fill(100, 'B'))})
		d.Kill()
		got := content(t, d, "a/b")
		if !bytes.Equal(got[:600], fill(600, 'A')) {
			t.Fatal("the page cache died with the process")
		}
		if len(got) == 700 {
			begun++
		}
	}
	if begun == 0 || begun == 50 {
		t.Errorf("the queued write happened in %d of 50 runs", begun)
	}
}

func TestEntries(t *testing.T) {
	absent := 0
	for seed := range uint64(100) {
		d := New(det.New(seed, "disk"))
		run(d, core.Effect{Kind: core.Create, Path: "x"})
		run(d, core.Effect{Kind: core.Write, Sync: true}, 1, 2, 3)
		if d.OnPlatter("x", 0, 3) {
			t.Fatal("a file without a durable entry is not durable")
		}
		d.PowerLoss()
		if len(d.List()) == 0 {
			absent++
		}
	}
	if absent == 0 || absent == 100 {
		t.Errorf("the unsynced entry was missing in %d of 100 runs", absent)
	}
	d := opened(1)
	run(d, core.Effect{Kind: core.Remove})
	if ev := run(d, core.Effect{Kind: core.Write}, 1); ev.Err != core.ErrGone || len(d.List()) != 0 {
		t.Errorf("after Remove: %v, %v", ev.Err, d.List())
	}
}

// One EIO: every later operation fails too, and what the sync should have covered is partly gone at
// the next start though the page cache showed it until then.
func TestSyncError(t *testing.T) {
	lost := 0
	for seed := range uint64(40) {
		d := opened(seed)
		run(d, core.Effect{Kind: core.Write, Sync: true}, fill(2048, 'A')...)
		d.FailNextSync()
		if ev := run(d, core.Effect{Kind: core.Write, Sync: true}, fill(2048, 'B')...); ev.Err != core.ErrIO {
			t.Fatal("no error:", ev.Err)
		}
		if ev := run(d, core.Effect{Kind: core.SyncFile}); ev.Err != core.ErrIO {
			t.Fatal("the retried sync lied:", ev.Err)
		}
		if d.OnPlatter("a/b", 0, 2048) && bytes.ContainsRune(content(t, d.Platter(), "a/b"), 'A') {
			t.Fatal("OnPlatter calls durable what was dropped")
		}
		d.Kill()
		if bytes.ContainsRune(content(t, d, "a/b"), 'A') {
			lost++
		}
		if ev := run(d, core.Effect{Kind: core.Create, Path: "a/b", Sync: true}); ev.Err != core.OK {
			t.Fatal("after the restart:", ev.Err)
		}
	}
	if lost < 20 {
		t.Errorf("dropped pages showed in %d of 40 runs", lost)
	}
}

// What an earlier sync made durable stays so, also in a sector that a failing one drops.
func TestDroppedNeighbour(t *testing.T) {
	for seed := range uint64(20) {
		d := opened(seed)
		run(d, core.Effect{Kind: core.Write, Sync: true}, fill(100, 'A')...)
		d.FailNextSync()
		run(d, core.Effect{Kind: core.Write, Off: 100, Sync: true}, fill(100, 'B')...)
		if !d.OnPlatter("a/b", 0, 100) {
			t.Fatal("durable bytes count as lost with their neighbours")
		}
	}
}

// A lying disk loses what it called durable, and shows a state that it once had.
func TestLies(t *testing.T) {
	d := opened(3)
	run(d, core.Effect{Kind: core.Write, Sync: true}, fill(10, 'A')...)
	d.Lies = true
	run(d, core.Effect{Kind: core.Write, Sync: true}, fill(10, 'B')...) // the first one empties the cache
	run(d, core.Effect{Kind: core.Write, Sync: true}, fill(10, 'C')...)
	if d.OnPlatter("a/b", 0, 10) || d.Faults.Lies != 2 {
		t.Error("a lying disk kept its word")
	}
	d.PowerLoss()
	if got := string(content(t, d, "a/b")); got != "BBBBBBBBBB" {
		t.Errorf("after the loss of power it holds %q", got)
	}
}

func TestReadAndGather(t *testing.T) {
	d := opened(4)
	run(d, core.Effect{Kind: core.Write}, []byte("0123456789")...)
	ev := run(d, core.Effect{Kind: core.Read, Off: 8, N: 5})
	if ev.Err != core.ErrShort || ev.N != 2 || string(ev.Body.Bytes()) != "89" {
		t.Errorf("read at the end: %v %d %q", ev.Err, ev.N, ev.Body.Bytes())
	}
	ev.Body.Release()
	b, ok := d.Gather(nil, []core.Ref{core.RefOf([]byte("ab")), {File: f1, Off: 2, Len: 3}})
	if !ok || string(b) != "ab234" {
		t.Errorf("gathered %q %v", b, ok)
	}
	if _, ok := d.Gather(nil, []core.Ref{{File: f1, Off: 8, Len: 3}}); ok {
		t.Error("gathered beyond the end")
	}
}

// Operations on one file end in their order, whatever the latencies.
func TestOrder(t *testing.T) {
	d := opened(5)
	var last core.Mono
	for i := range 100 {
		e := core.Effect{Kind: core.Write, Sync: i%3 == 0, File: f1, Off: int64(i), Op: core.OpID(i + 1)}
		due := d.Submit(core.Mono(i), &e, []core.Ref{core.RefOf([]byte{byte(i)})})
		if due < last {
			t.Fatal("overtaken")
		}
		last = due
	}
	for i := range 100 {
		if ev, _ := d.Complete(f1); ev.Op != core.OpID(i+1) {
			t.Fatalf("completion %d is of op %d", i, ev.Op)
		}
	}
}

// Syncs that wait behind one that runs take the time of one, however many they are and however slow the
// disk was when they were asked for. What is no sync takes its own.
func TestSyncsShare(t *testing.T) {
	d := opened(1)
	d.Latency = Latency{Min: core.Millisecond, Max: core.Millisecond, Slow: 10}
	at := core.Second
	ask := func(e core.Effect, body ...byte) core.Mono {
		e.File, e.Op = f1, 7
		return d.Submit(at, &e, []core.Ref{core.RefOf(body)})
	}
	for i := range int64(100) {
		want := at + 20*core.Millisecond
		if i == 0 {
			want = at + 10*core.Millisecond
		}
		if due := ask(core.Effect{Kind: core.Write, Off: i, Sync: true}, 'A'); due != want {
			t.Fatalf("write %d is due at %v, want %v", i, due, want)
		}
	}
	at += 15 * core.Millisecond // the second turn runs: what comes now waits for the third
	for range 100 {
		d.Complete(f1)
		if due := ask(core.Effect{Kind: core.SyncFile}); due != core.Second+30*core.Millisecond {
			t.Fatal("a sync behind a running one is due at", due)
		}
	}
	d.Latency.Slow = 0
	for i := range core.Mono(3) {
		if due := ask(core.Effect{Kind: core.Read, N: 1}); due != core.Second+(31+i)*core.Millisecond {
			t.Fatal("a read is due at", due)
		}
	}
	if !d.OnPlatter("a/b", 0, 100) {
		t.Error("a shared sync left bytes behind")
	}
}
