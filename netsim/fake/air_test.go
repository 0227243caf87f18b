package fake

import (
	"slices"
	"testing"

	"github.com/karst-stream/karst/core"
)

// Two faults cut one way; it is open again when both are over.
func TestCutsAreCounted(t *testing.T) {
	w := newTown(t, 2, 1)
	w.net.Cut(0, 1)
	w.net.Cut(0, 1)
	w.net.Uncut(w.now, 0, 1)
	if w.net.Reach(0, 1) {
		t.Error("one of two cuts was taken back, and frames pass")
	}
	w.net.Uncut(w.now, 0, 1)
	w.net.Uncut(w.now, 0, 1)
	if !w.net.Reach(0, 1) {
		t.Error("nothing cuts, and nothing passes")
	}
	w.net.CutClients(w.now, 1, true)
	if w.net.ReachClients(1) || !w.net.ReachClients(0) {
		t.Error("clients reach the wrong node")
	}
}

// A frame that is replayed comes once more, much later, and not when nobody listens.
func TestReplay(t *testing.T) {
	w := newTown(t, 2, 1)
	w.up()
	w.net.Weather.Replay, w.net.Weather.ReplayMax = 1e6, 10*core.Second
	w.send(0, "again")
	w.run(core.Millisecond)
	w.net.Weather.Replay = 0
	w.run(20 * core.Second)
	if got := w.heard("n1 again"); !slices.Equal(got, []string{"n1 again", "n1 again"}) {
		t.Errorf("heard %v, %d replays", got, w.net.Faults.Replays)
	}
}

// A link that carries one frame at a time makes the others wait, and loses none.
func TestNarrowLink(t *testing.T) {
	w := newTown(t, 2, 1)
	w.up()
	w.net.Air(0, 1).Room = 1
	var want []string
	for _, s := range []string{"a", "b", "c", "d"} {
		w.send(0, s)
		w.run(100 * core.Microsecond)
		want = append(want, "n1 "+s)
	}
	w.run(core.Second)
	if got := w.heard("n1"); !slices.Equal(got, want) || !w.net.Air(0, 1).Bad() {
		t.Errorf("heard %v", got)
	}
}

// A client that does not read gets nothing, and all of it when it reads on.
func TestDeafClient(t *testing.T) {
	w := newTown(t, 1, 1)
	c := w.client()
	w.net.Deafen(c, true)
	w.net.SendConn(w.now, c, []core.Ref{core.RefOf([]byte("answer"))})
	w.run(core.Second)
	if len(w.heard("client answer")) > 0 {
		t.Error("a deaf client hears")
	}
	w.net.Deafen(c, false)
	w.run(core.Second)
	if len(w.heard("client answer")) != 1 {
		t.Errorf("it heard %v", w.said)
	}
	if w.net.HangUp(w.now, 0) != 1 {
		t.Error("one connection was there to be reset")
	}
}
