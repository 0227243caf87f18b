package shard

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/api"
	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/meta"
	"github.com/karst-stream/karst/core/wire"
)

// inDir is where a rig's disk keeps a file of a data directory.
func inDir(k int, path string) string {
	if k == 0 {
		return path
	}
	return fmt.Sprintf("@%d/%s", k, path)
}

// rigDir is one of the data directories on a rig's disk.
type rigDir struct {
	d rigDisk
	k int
}

func (x rigDir) List() (out []core.FileInfo) {
	for _, f := range x.d.List() {
		p, in := strings.CutPrefix(f.Path, inDir(x.k, ""))
		if in && !strings.HasPrefix(p, "@") {
			out = append(out, core.FileInfo{Path: p, Size: f.Size})
		}
	}
	return out
}

func (x rigDir) ReadAt(path string, off int64, b []byte) (int, core.Errno) {
	return x.d.ReadAt(inDir(x.k, path), off, b)
}

func (n *rigNode) recover() (*Recovery, error) {
	var more []Dir
	for k := 1; k < n.dirs; k++ {
		d := Dir{Path: fmt.Sprintf("/data%d", k), Boot: rigDir{n.disk, k}}
		if n.away && k == n.dirs-1 {
			d.Boot, d.Err = nil, "it is not mounted"
		}
		more = append(more, d)
	}
	return Recover(rigDir{n.disk, 0}, n.id, more...)
}

// newRigOf is a rig whose nodes have several data directories.
func newRigOf(t *testing.T, nodes, shards, dirs int) *rig {
	r := &rig{t: t}
	for i := range nodes {
		r.nodes = append(r.nodes, &rigNode{id: core.NodeID(i + 1), disk: rigDisk{}, dirs: dirs, shards: make([]*Shard, shards)})
	}
	for _, n := range r.nodes {
		r.start(n)
	}
	r.open()
	return r
}

// homes are the directories of a node's partitions, by name; those that are offline are told apart.
func (n *rigNode) homes() map[string]string {
	m := map[string]string{}
	for _, s := range n.shards {
		for _, g := range s.groups.Keys() {
			h := s.groups.At(g)
			m[h.dir] = fmt.Sprint(h.vol.n)
			if why := h.r.Offline(); why != "" {
				m[h.dir] = "offline: " + why
			}
		}
	}
	return m
}

func count(m map[string]string, prefix string) (n int) {
	for _, v := range m {
		if strings.HasPrefix(v, prefix) {
			n++
		}
	}
	return n
}

func (r *rig) same(n *rigNode, want map[string]string) {
	r.t.Helper()
	r.until("every partition where it was", 5*core.Second, func() bool { return fmt.Sprint(n.homes()) == fmt.Sprint(want) })
}

// produceTo appends a batch to each partition of events, whoever leads it.
func (r *rig) produceTo(partitions int32) {
	r.t.Helper()
	for p := range partitions {
		r.until(fmt.Sprintf("a batch in partition %d", p), 20*core.Second, func() bool {
			n := r.led("events", p)
			_, err := r.produceFor(n, core.ConnID(100+int32(n.id)*10+p), "events", p, batchOf("value"), 1000)
			return err == 0
		})
	}
}

// Partitions go where the node has the fewest, whichever shard owns them, and are found there again. A topic that is
// made again under a name may move.
func TestPartitionsAreSpreadOverDirectories(t *testing.T) {
	r := newRigOf(t, 3, 2, 2)
	r.createTopic("events", 5, 3)
	r.run(core.Second)
	r.produceTo(5)
	for _, n := range r.nodes {
		m := n.homes()
		if len(m) != 6 || m[metaDir] != "0" || count(m, "0") != 4 || count(m, "1") != 2 {
			t.Errorf("node %d: %v", n.id, m)
		}
		for _, f := range n.disk.List() {
			dir, rest, _ := strings.Cut(strings.TrimPrefix(f.Path, "@1/"), "/")
			if home, ok := m[dir]; ok && rest != "" && strings.HasPrefix(f.Path, "@1/") != (home == "1") {
				t.Errorf("node %d: %s, and the partition lives in %s", n.id, f.Path, home)
			}
		}
		r.kill(n)
		r.start(n)
		r.same(n, m)
	}
	r.open()
	r.deleteTopic(r.led("events", 0), "events")
	r.createTopic("others", 1, 3)
	r.createTopic("events", 5, 3)
	r.run(core.Second)
	r.produceTo(5)
	for _, n := range r.nodes {
		if m := n.homes(); len(m) != 7 || count(m, "1") != 3 {
			t.Errorf("node %d, made again: %v", n.id, m)
		}
	}
}

// When a journal in the second directory fails, all partitions of the directory go offline, on every shard, and no
// others; new ones are born elsewhere. The next start finds everything.
func TestADirectoryFailsAlone(t *testing.T) {
	r := newRigOf(t, 3, 2, 2)
	r.createTopic("events", 6, 3)
	r.run(core.Second)
	n := r.nodes[1]
	before := n.homes()
	n.dead = true
	r.produceTo(6)
	r.until("the directory has failed", 5*core.Second, func() bool { return n.shards[0].dirs[1].failed != "" && n.shards[1].dirs[1].failed != "" })
	r.turn()
	for dir, home := range n.homes() {
		if offline := strings.HasPrefix(home, "offline: the journal failed"); offline != (before[dir] == "1") {
			t.Errorf("%s, which lived in %s: %s", dir, before[dir], home)
		}
	}
	var resp wire.DescribeLogDirsResponse
	r.call(n, 3000, wire.KeyDescribeLogDirs, 4, &wire.DescribeLogDirsRequest{}, &resp)
	if k := resp.Results; len(k) != 2 || k[0].ErrorCode != wire.None || len(k[0].Topics[0].Partitions) != 3 || k[0].TotalBytes != 1<<40 ||
		k[1].ErrorCode != wire.KafkaStorageError || len(k[1].Topics) != 0 || k[1].TotalBytes != -1 || k[1].LogDir != "/data1" {
		t.Errorf("%+v", resp.Results)
	}
	r.createTopic("new", 4, 3)
	r.run(core.Second)
	for p := range 4 {
		if home := n.homes()[fmt.Sprintf("new-%d", p)]; home != "0" {
			t.Errorf("new-%d was born in %s", p, home)
		}
	}
	r.kill(n)
	n.dead = false
	r.start(n)
	r.until("all is well", 10*core.Second, func() bool { m := n.homes(); return count(m, "1") == 3 && count(m, "0") == 8 })
	r.produceTo(6)
}

// When the journals of the first directory fail, its partitions and the node's copy of the metadata log are gone
// until the next start; those in the second are served.
func TestTheFirstDirectoryFails(t *testing.T) {
	r := newRigOf(t, 3, 1, 2)
	r.createTopic("events", 4, 3)
	r.run(core.Second)
	n := r.nodes[1]
	n.ill = true
	r.produceTo(4)
	r.until("the first directory has failed", 5*core.Second, func() bool { return n.shards[0].dirs[0].failed != "" })
	r.run(core.Second)
	r.produceTo(4)
	r.run(core.Second)
	m := n.homes()
	if count(m, "offline: the journal failed") != 3 || count(m, "1") != 2 || count(map[string]string{"": m[metaDir]}, "offline") != 1 {
		t.Errorf("%v", m)
	}
	for p := range int32(4) {
		g := r.nodes[0].shards[0].view.Topic("events").Partitions[p].Group
		want := m[fmt.Sprintf("events-%d", p)] == "1"
		r.until("the right replicas are in sync", 20*core.Second, func() bool {
			r.run(core.Second)
			r.produceTo(4)
			return slices.Contains(r.led("events", p).shards[0].groups.At(g).r.Info().ISR, n.id) == want
		})
	}
	r.kill(n)
	n.ill = false
	r.start(n)
	r.until("all is well", 10*core.Second, func() bool { m := n.homes(); return count(m, "1") == 2 && count(m, "0") == 3 })
	r.produceTo(4)
}

// Without room in the second directory its partitions are read-only on that node, and get nothing from their
// leaders; those in the first go on, and the other nodes know which is which.
func TestADirectoryIsFullAlone(t *testing.T) {
	r := newRigOf(t, 3, 2, 2)
	r.createTopic("events", 6, 3)
	r.run(core.Second)
	r.produceTo(6)
	n := r.nodes[1]
	n.fill()
	r.until("it finds no room", 20*core.Second, func() bool {
		r.produceTo(6)
		return n.shards[0].Full(n.id) && n.shards[1].Full(n.id)
	})
	r.run(2 * core.Second) // leaders yield
	for dir, home := range n.homes() {
		for _, s := range n.shards {
			for _, g := range s.groups.Keys() {
				if h := s.groups.At(g); h.dir == dir && (h.full() != (home == "1") || h.full() && h.r.Leads()) {
					t.Errorf("%s lives in %s: full %v, leads %v", dir, home, h.full(), h.r.Leads())
				}
			}
		}
		for _, o := range []*rigNode{r.nodes[0], r.nodes[2]} {
			for _, s := range o.shards {
				for _, g := range s.groups.Keys() {
					if h := s.groups.At(g); h.dir == dir && h.Full(n.id) != (home == "1") {
						t.Errorf("%s lives in %s, and node %d believes %v", dir, home, o.id, h.Full(n.id))
					}
				}
			}
		}
	}
	r.produceTo(6)
	r.run(core.Second)
	l, f := r.led("events", 0), n
	for _, s := range f.shards {
		for _, g := range s.groups.Keys() {
			h := s.groups.At(g)
			for _, ls := range l.shards {
				if lh := ls.groups.At(g); h.vol.n == 0 && lh != nil && lh.r.End() != h.r.End() {
					t.Errorf("%s, which has room, ends at %d, at the leader's at %d", h.dir, h.r.End(), lh.r.End())
				}
			}
		}
	}
	n.room = 0
	r.until("room", 10*core.Second, func() bool {
		return !n.shards[0].Full(n.id) && !n.shards[1].Full(n.id) && !r.nodes[0].shards[0].Full(n.id) && !r.nodes[2].shards[1].Full(n.id)
	})
	r.produceTo(6)
}

// A node whose second directory is full starts, and serves the first.
func TestAStartWithAFullDirectory(t *testing.T) {
	for _, before := range []int{0, 1} { // starts with one directory
		r := &rig{t: t}
		n := &rigNode{id: 1, disk: rigDisk{}, dirs: 1, shards: make([]*Shard, 1)}
		r.nodes = append(r.nodes, n)
		for range before {
			r.start(n)
			r.open()
			r.kill(n)
		}
		n.dirs = 2
		r.start(n)
		r.open()
		r.createTopic("events", 2, 1)
		r.run(core.Second)
		r.produceTo(2)
		for k := range 3 {
			r.kill(n)
			n.fill()
			r.start(n)
			r.open()
			r.produceTo(1)
			r.until("it is a member", 5*core.Second, func() bool { return n.shards[0].home.member })
			n.room = 0
			r.createTopic(fmt.Sprintf("new-%d", k), 1, 1)
		}
		if m := n.homes(); m["events-0"] != "0" || m["events-1"] != "1" {
			t.Errorf("%v", m)
		}
	}
}

// move renames the files of a data directory.
func (n *rigNode) move(from, to string) {
	for _, f := range n.disk.List() {
		if p, ok := strings.CutPrefix(f.Path, from); ok {
			n.disk[to+p] = n.disk[f.Path]
			delete(n.disk, f.Path)
		}
	}
}

// What may live in a directory that is not there is not born again, however often the node starts without it, and
// neither where the directory is empty. What is new meanwhile is born where there is one.
func TestADirectoryThatIsNotThere(t *testing.T) {
	r := newRigOf(t, 3, 2, 2)
	r.createTopic("events", 6, 3)
	r.run(core.Second)
	r.produceTo(6)
	n := r.nodes[1]
	before := n.homes()
	for round := range 4 {
		r.kill(n)
		switch round {
		case 0:
			n.away = true
		case 2:
			n.away = false
			n.move("@1/", "away/")
		}
		r.start(n)
		r.until("it is served", 10*core.Second, func() bool { return n.gate && len(n.homes()) >= len(before) })
		r.produceTo(6)
		m := n.homes()
		for dir, home := range before {
			if offline := strings.HasPrefix(m[dir], "offline: it may be in a data directory that is not here"); offline != (home == "1") {
				t.Errorf("round %d: %s, which lived in %s: %s", round, dir, home, m[dir])
			}
		}
		if round == 1 {
			r.createTopic("new", 2, 3)
			r.run(core.Second)
		}
		if round > 1 && (m["new-0"] != "0" || m["new-1"] != "0") {
			t.Errorf("round %d: %v", round, m)
		}
		if round == 3 {
			r.createTopic("late", 2, 3)
			r.run(core.Second)
			if m := n.homes(); m["late-0"] != "0" || m["late-1"] != "0" {
				t.Errorf("born in an empty directory in the place of another: %v", m)
			}
		}
	}
	r.kill(n)
	n.move("@1/", "rest/")
	n.move("away/", "@1/")
	r.start(n)
	r.until("all is well", 10*core.Second, func() bool { m := n.homes(); return count(m, "1") == 3 && count(m, "0") == 8 })
	r.produceTo(6)
}

// A directory that was put back as it was before the newest start may have forgotten what it promised since.
func TestAnOldCopyOfADirectory(t *testing.T) {
	r := newRigOf(t, 1, 1, 2)
	n := r.nodes[0]
	r.createTopic("events", 2, 1)
	r.run(core.Second)
	r.kill(n)
	old := n.disk.copy()
	r.start(n)
	r.open()
	r.produceTo(2)
	r.kill(n)
	newer := n.disk.copy()
	for p, b := range old {
		if strings.HasPrefix(p, "@1/") {
			n.disk[p] = b
		}
	}
	r.start(n)
	r.until("it is known to be old", 5*core.Second, func() bool {
		return strings.Contains(n.homes()["events-1"], "/data1: it is an old copy: it took part in start 2 of the node, and says 1")
	})
	r.kill(n)
	n.disk = newer
	r.start(n)
	r.open()
	r.produceTo(2)
}

// A partition that the journals of two directories know: one of them is a copy, and nobody can say which is the
// newer. It stays offline at every start until the copy is gone; the others are served.
func TestAPartitionInTwoDirectories(t *testing.T) {
	r := newRigOf(t, 1, 2, 3)
	n := r.nodes[0]
	r.createTopic("events", 6, 1)
	r.run(core.Second)
	r.produceTo(6)
	before := n.homes()
	r.kill(n)
	well := n.disk.copy()
	for p, b := range well {
		if rest, ok := strings.CutPrefix(p, "@1/"); ok && rest != directoryPath {
			if strings.HasPrefix(rest, "journal/") {
				rest = strings.Replace(rest, "-0", "-9", 1)
			}
			n.disk["@2/"+rest] = slices.Clone(b)
		}
	}
	for round := range 3 {
		r.start(n)
		r.run(3 * core.Second)
		for dir, home := range n.homes() {
			twice := strings.HasPrefix(home, "offline: it lies in two data directories, /data1 and /data2")
			if twice != (before[dir] == "1") || !twice && home != before[dir] {
				t.Errorf("round %d: %s, which lived in %s: %s", round, dir, before[dir], home)
			}
		}
		r.kill(n)
	}
	n.disk = well
	r.start(n)
	r.open()
	r.same(n, before)
	r.produceTo(6)
}

const markSplitName = "volume: files of a partition lie in a directory that does not know it"

func hits(mark string) (n int64) {
	det.Marks(func(name string, k int64) {
		if name == mark {
			n = k
		}
	})
	return n
}

// Files of a partition in a directory whose journal does not know it are nobody's: the partition is served from
// where it lives, and they go when a partition of the name is born.
func TestStrayFilesInAnotherDirectory(t *testing.T) {
	r := newRigOf(t, 1, 1, 2)
	n := r.nodes[0]
	r.createTopic("events", 2, 1)
	r.run(core.Second)
	r.produceTo(2)
	before := n.homes()
	r.kill(n)
	const stray = "@1/events-0/00000000000000000000.log"
	n.disk[stray] = slices.Clone(n.disk[strings.TrimPrefix(stray, "@1/")])
	told := hits(markSplitName)
	r.start(n)
	r.open()
	r.same(n, before)
	r.produceTo(2)
	if _, there := n.disk[stray]; !there || hits(markSplitName) == told {
		t.Errorf("there %v, and nothing was said of it", there)
	}
	r.deleteTopic(n, "events")
	r.until("the topic is gone", 5*core.Second, func() bool { return n.shards[0].view.Topic("events") == nil })
	r.createTopic("events", 1, 1)
	r.run(core.Second)
	r.produceTo(1)
	if _, there := n.disk[stray]; there && n.homes()["events-0"] == "0" {
		t.Error("files of nobody outlive a birth under their name")
	}
}

// A first start, or the first with another directory, may end at any moment: the next one takes the directory in.
func TestEnrollingIsInterrupted(t *testing.T) {
	for _, before := range []int{0, 1} { // directories that the node had before
		for turns := range 12 {
			r := &rig{t: t}
			n := &rigNode{id: 1, disk: rigDisk{}, dirs: 1, shards: make([]*Shard, 1)}
			r.nodes = append(r.nodes, n)
			if before > 0 {
				r.start(n)
				r.open()
				r.kill(n)
			}
			n.dirs = 2
			r.start(n)
			for range turns {
				r.turn()
			}
			r.kill(n)
			r.start(n)
			r.open()
			if why := n.shards[0].dirs[1].failed; why != "" {
				t.Errorf("%d directories before, %d turns: %s", before, turns, why)
			}
			r.createTopic("events", 2, 1)
			r.run(core.Second)
			if m := n.homes(); m["events-0"] != "0" || m["events-1"] != "1" {
				t.Errorf("%d directories before, %d turns: %v", before, turns, m)
			}
			if k := len(n.shards[0].home.s.id.Dirs); k != 1 {
				t.Errorf("%d directories before, %d turns: %d are known", before, turns, k)
			}
		}
	}
}

// A node that is alone leads, and makes topics, before its file "node" names a directory that is new. Until it does
// no partition begins anywhere: nobody would miss the directory.
func TestNothingIsBornInADirectoryThatIsNotNamed(t *testing.T) {
	r := newRig(t, 1, 2)
	r.open()
	n := r.nodes[0]
	r.kill(n)
	n.dirs, n.holds = 2, true
	r.start(n)
	r.open()
	made := false
	n.post(0, core.Event{Kind: core.MailIn, Mail: letter(func(s *Shard) {
		s.Admin(&meta.CreateTopic{Name: "events", ID: s.DrawID(), Partitions: 4, Replication: 1}, 5000,
			func(meta.Result, api.AdminErr) { made = true })
	})})
	r.until("the topic is made", 5*core.Second, func() bool { return made })
	r.run(core.Second)
	if m := n.homes(); len(m) != 1 {
		t.Errorf("%v", m)
	}
	for !n.shards[0].home.member {
		if len(n.held) > 0 {
			f := n.held[0]
			n.held = n.held[1:]
			f()
		}
		r.turn()
		if m := n.homes(); len(m) != 1 && !n.shards[0].home.member {
			t.Fatalf("%v", m)
		}
	}
	r.run(core.Second)
	if m := n.homes(); len(m) != 5 || count(m, "1") != 2 {
		t.Errorf("%v", m)
	}
}

// A node with one directory writes what a build before this one reads.
func TestOneDirectoryIsTheOldFormat(t *testing.T) {
	r := newRig(t, 1, 1)
	r.open()
	for path := range r.nodes[0].disk {
		if path == directoryPath {
			t.Error("it has a file \"directory\"")
		}
	}
	if v := r.nodes[0].disk[identityPath][len(identityMagic)]; v != 2 && v != 0 {
		t.Errorf("version %d", v)
	}
	id := Identity{Cluster: "c", Node: 3, Incarnation: 1, Start: 9, Past: []Past{{9, 1}}, Dirs: []Volume{{7, 8}, {9, 9}}}
	got, _, ok := decodeIdentity(id.encode())
	if !ok || !slices.Equal(got.Dirs, id.Dirs) {
		t.Errorf("%+v", got)
	}
	d := directory{"c", 3, 1, Volume{7, 8}}
	if got, _, ok := decodeDirectory(d.encode()); !ok || got != d {
		t.Errorf("%+v", got)
	}
	b := d.encode()
	for i := range b {
		b[i] ^= 4
		if _, _, ok := decodeDirectory(b); ok {
			t.Errorf("byte %d of %d may flip", i, len(b))
		}
		b[i] ^= 4
	}
}
