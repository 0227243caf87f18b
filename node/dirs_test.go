package node

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/karst-stream/karst/diskio/posix"
)

// several is a cluster of nodes with two data directories each, whose disks are hostile one by one.
type several struct {
	*rough
	second []*hostile // disks of the second directories
}

func newSeveral(t *testing.T, size int, change func(*Options)) *several {
	t.Helper()
	r := &several{}
	r.rough = newRough(t, size, func(o *Options) {
		o.MoreDirs = []string{filepath.Join(t.TempDir(), "second")}
		first, second := o.Fault, newHostile(o.MoreDirs[0])
		r.second = append(r.second, second)
		o.Fault = func(c posix.Call) (int64, error) {
			if c.Dir == second.dir {
				return second.fault(c)
			}
			return first(c)
		}
		if change != nil {
			change(o)
		}
	})
	return r
}

// where lists the partitions of numbers in a data directory.
func where(t *testing.T, dir string) (list []int32) {
	t.Helper()
	for p := range int32(4) {
		if _, err := os.Stat(filepath.Join(dir, "numbers-"+string(rune('0'+p)))); err == nil {
			list = append(list, p)
		}
	}
	return list
}

// logDirs is what the node says of its directories.
func (r *several) logDirs(t *testing.T, i int) (first, second kadm.DescribedLogDir) {
	t.Helper()
	adm := kadm.NewClient(dial(t, r.seeds))
	all, err := adm.DescribeAllLogDirs(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	o := &r.all[i].o
	return all[int32(i)][o.Dir], all[int32(i)][o.MoreDirs[0]]
}

// Partitions are spread over the directories, each is in one, and after a loss of power as after a stop all of
// them are found where they are.
func TestTwoDataDirectories(t *testing.T) {
	t.Parallel()
	r := newSeveral(t, 1, func(o *Options) { o.PowerSwitch, o.kill = true, func() {} })
	produce(t, r.seeds, 0, 500)
	m := r.all[0]
	one, two := where(t, m.o.Dir), where(t, m.o.MoreDirs[0])
	if len(one) != 2 || len(two) != 2 || slices.Equal(one, two) {
		t.Fatalf("the first directory has partitions %v, the second %v", one, two)
	}
	if _, err := os.Stat(filepath.Join(m.o.MoreDirs[0], "__cluster_metadata-0")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the metadata log in the second directory: %v", err)
	}
	first, second := r.logDirs(t, 0)
	for p := range int32(4) {
		_, in1 := first.Topics.Lookup("numbers", p)
		_, in2 := second.Topics.Lookup("numbers", p)
		if in1 != slices.Contains(one, p) || in2 != slices.Contains(two, p) {
			t.Errorf("partition %d: told in the first %v, in the second %v", p, in1, in2)
		}
	}
	for k := range 2 {
		if k == 0 {
			m.n.powerCut()
			m.stop()
			<-m.done
		} else {
			r.end(t, 0)
		}
		m.start(t)
		m.up(t)
		consume(t, r.seeds, 500*(k+1))
		produce(t, r.seeds, 500*(k+1), 500*(k+2))
	}
	if a, b := where(t, m.o.Dir), where(t, m.o.MoreDirs[0]); !slices.Equal(a, one) || !slices.Equal(b, two) {
		t.Errorf("moved: %v and %v, before %v and %v", a, b, one, two)
	}
}

// A sync of a journal that fails takes its directory offline and nothing else: clients are told
// KAFKA_STORAGE_ERROR, the other directory serves. The next start on a disk that is well brings it back.
func TestADirectoryFails(t *testing.T) {
	t.Parallel()
	r := newSeveral(t, 1, nil)
	produce(t, r.seeds, 0, 400)
	one, two := where(t, r.all[0].o.Dir), where(t, r.second[0].dir)
	r.second[0].set(func(c posix.Call) (int64, error) {
		if c.Kind == posix.SyncData && strings.HasPrefix(c.Path, "journal/") {
			return 0, syscall.EIO
		}
		return c.N, nil
	})
	for _, p := range two {
		if err := once(t, r.seeds, "numbers", p, "lost"); err == nil {
			t.Errorf("partition %d: a record is acknowledged whose sync failed", p)
		}
	}
	r.logs[0].line(t, "level=ERROR", "a data directory failed", "dir="+r.second[0].dir, "restart the node")
	for _, p := range one {
		if err := once(t, r.seeds, "numbers", p, "small"); err != nil {
			t.Errorf("partition %d, whose directory is well: %v", p, err)
		}
	}
	first, second := r.logDirs(t, 0)
	if first.Err != nil || !errors.Is(second.Err, kerr.KafkaStorageError) {
		t.Errorf("the directories are described as %v and %v", first.Err, second.Err)
	}
	for _, p := range two {
		if err := once(t, r.seeds, "numbers", p, "still"); err == nil {
			t.Errorf("partition %d works in a directory that failed", p)
		}
	}
	r.alive(t, 0)
	r.second[0].set(nil)
	r.restart(t, 0, nil)
	for p := range int32(4) {
		if err := once(t, r.seeds, "numbers", p, "well"); err != nil {
			t.Errorf("partition %d after the restart: %v", p, err)
		}
	}
	atLeast(t, r.seeds, 406)
}

// A directory without room makes its own partitions read-only, on leaders and followers, and no others.
func TestADirectoryIsFull(t *testing.T) {
	t.Parallel()
	r := newSeveral(t, 1, nil)
	produce(t, r.seeds, 0, 400)
	one, two := where(t, r.all[0].o.Dir), where(t, r.second[0].dir)
	r.second[0].set(r.second[0].full)
	if err := once(t, r.seeds, "numbers", two[0], large); err == nil {
		t.Error("a full directory takes a large record")
	}
	r.logs[0].line(t, "level=ERROR", "the partitions of this directory are read-only", "dir="+r.second[0].dir)
	if err := once(t, r.seeds, "numbers", two[1], "small"); err == nil {
		t.Error("a full directory takes a small record")
	}
	for _, p := range one {
		if err := once(t, r.seeds, "numbers", p, large); err != nil {
			t.Errorf("partition %d, whose directory has room: %v", p, err)
		}
	}
	r.alive(t, 0)
	r.second[0].set(nil)
	r.logs[0].line(t, "the disk has room again", "dir="+r.second[0].dir)
	produce(t, r.seeds, 400, 500)
	r.restart(t, 0, nil)
	atLeast(t, r.seeds, 502)
}

// A start without a directory serves the rest. What was in it is neither served nor born again, also not in an
// empty directory in its place; and it is all there when the directory is.
func TestADirectoryIsNotThere(t *testing.T) {
	t.Parallel()
	r := newSeveral(t, 1, func(o *Options) { o.Topics = append(o.Topics, TopicSpec{"others", 1}) })
	m, dir := r.all[0], r.second[0].dir
	produce(t, r.seeds, 0, 400)
	one, two := where(t, m.o.Dir), where(t, dir)
	r.end(t, 0)
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	m.o.Topics = nil // they have no leaders now
	for _, empty := range []bool{false, true} {
		if !empty { // nothing can be made in its place, either
			if err := os.WriteFile(dir, nil, 0o644); err != nil {
				t.Fatal(err)
			}
		} else if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		m.start(t)
		m.up(t)
		r.logs[0].line(t, "level=ERROR", "a data directory cannot be used", "dir="+dir)
		for p := range int32(4) {
			if err := once(t, r.seeds, "numbers", p, "small"); (err == nil) != slices.Contains(one, p) {
				t.Errorf("empty %v: partition %d of %v in the directory that is there: %v", empty, p, one, err)
			}
		}
		if _, second := r.logDirs(t, 0); !errors.Is(second.Err, kerr.KafkaStorageError) {
			t.Errorf("empty %v: the directory is described as %v", empty, second.Err)
		}
		if list := where(t, dir); len(list) > 0 {
			t.Errorf("empty %v: partitions %v were made again", empty, list)
		}
		r.end(t, 0)
	}
	if err := errors.Join(os.RemoveAll(dir), os.Rename(dir+".away", dir)); err != nil {
		t.Fatal(err)
	}
	m.start(t)
	m.up(t)
	for _, p := range two {
		if err := once(t, r.seeds, "numbers", p, "small"); err != nil {
			t.Errorf("partition %d, whose directory is back: %v", p, err)
		}
	}
	atLeast(t, r.seeds, 400+4+2)
}

// Directories of another node, of another cluster, and in another order are refused.
func TestAForeignDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	r, other := newSeveral(t, 1, nil), newSeveral(t, 1, nil)
	r.end(t, 0)
	other.end(t, 0)
	o := &r.all[0].o
	own := o.MoreDirs[0]
	for _, c := range []struct {
		first, second string
		words         []string
	}{
		{o.Dir, other.second[0].dir, []string{"belongs to node 0 of cluster", "leave it out"}},
		{own, o.Dir, []string{"not the first one of node 0", "\"node\" first"}},
		{o.Dir, other.all[0].o.Dir, []string{"must be named first"}},
		{t.TempDir(), own, []string{"the first one is empty", "--rejoin"}},
	} {
		o.Dir, o.MoreDirs = c.first, []string{c.second}
		err := r.briefly(t, 0)
		for _, w := range c.words {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%s, %s: %v lacks %q", c.first, c.second, err, w)
			}
		}
	}
}
