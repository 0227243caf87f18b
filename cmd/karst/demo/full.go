package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"golang.org/x/sys/unix"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
)

// A demo whose disk is full stops and says so. The same command carries on in the directory once there is room: the same
// cluster starts, what was promised before must be there, and the stream begins anew in an empty topic. What it needs for
// that stands in a file that is made, with its blocks, before anything else: on a full disk none can be.

const (
	underwayName = "demo.json"
	underwaySize = 4096
	scant        = 256 << 20       // bytes free below which a standstill is blamed on the disk
	stillFor     = 8 * time.Second // without a row stored or read
)

// underway is what the file says.
type underway struct {
	Ends  [partitions]int64 `json:"promised"`
	Tries int               `json:"tries"` // that went before
}

func (r *run) underwayFile() string { return filepath.Join(r.Dir, underwayName) }

// note writes the file, always as long as it was at first.
func (u underway) note(name string) error {
	b, err := json.Marshal(u)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, bytes.Repeat([]byte(" "), underwaySize-len(b))...))
	return errors.Join(err, f.Close())
}

// left reads the file of an earlier demo; false: there is none.
func (r *run) left() (u underway, ok bool) {
	b, err := os.ReadFile(r.underwayFile())
	return u, err == nil && json.Unmarshal(b, &u) == nil
}

// free is how many bytes the file system of the demo's directory has left, and is large when it does not tell.
func (r *run) free() int64 {
	var st unix.Statfs_t
	if unix.Statfs(r.Dir, &st) != nil {
		return 1 << 60
	}
	return int64(st.Bavail) * int64(st.Bsize)
}

// blame says of an error that the disk is full, when it is, and notes what was promised until then.
func (r *run) blame(err error) error {
	free := r.free()
	if free >= scant {
		return err
	}
	if r.load != nil {
		_ = underway{Ends: r.load.promises().ends, Tries: r.tries()}.note(r.underwayFile()) // else the older one stays, which promises less
	}
	return catalogue.DiskFull.New("the demo stops: the disk of %s is full (%d MiB free)", r.Dir, free>>20).Wrap(err).
		Because(err.Error()).Try("free some space, then the same command again: it carries on in "+r.Dir, "df -h "+r.Dir)
}

var errStill = errors.New("nothing was stored or read any more")

// guard ends the demo when nothing moves and the disk is full.
func (r *run) guard(ctx context.Context, stop context.CancelCauseFunc) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	var seen int64 = -1
	since := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if done := r.moved.Load(); done != seen || r.free() >= scant {
			seen, since = done, time.Now()
		} else if time.Since(since) > stillFor {
			stop(errStill)
			return
		}
	}
}

// tries is how many demos ended in this directory before.
func (r *run) tries() int {
	if r.earlier == nil {
		return 0
	}
	return r.earlier.Tries + 1
}

// group is of each try its own: members of an earlier one may still be waited for, and had read other rows.
func (r *run) group() string {
	if n := r.tries(); n > 0 {
		return fmt.Sprintf("%s-%d", group, n+1)
	}
	return group
}

// carryOn takes up the cluster of an earlier demo: what that was promised must be there. The stream begins in an empty topic.
func (r *run) carryOn(ctx context.Context, u underway) error {
	lost, err := r.cluster.missing(ctx, u.Ends)
	if err != nil {
		return err
	}
	r.say("an earlier demo ended here on a full disk; rows promised then and missing now: %s", r.judged(lost == 0, thousands(lost)))
	if lost > 0 {
		r.bad = append(r.bad, "rows that were promised before the disk was full are missing")
	}
	// From here on nothing is promised but what this demo writes.
	if err := (underway{Tries: u.Tries + 1}).note(r.underwayFile()); err != nil {
		return catalogue.BadFile.New("cannot write into %s: %v", r.Dir, err).Wrap(err)
	}
	if _, err := r.cluster.adm.DeleteTopics(ctx, topic); err != nil {
		return catalogue.DemoFailed.New("cannot remove the earlier rows: %v", err).Wrap(err)
	}
	for {
		_, err := r.cluster.adm.CreateTopic(ctx, partitions, int16(min(3, r.Nodes)), nil, topic)
		if !errors.Is(err, kerr.TopicAlreadyExists) {
			if err == nil {
				return r.cluster.whole(ctx, 30*time.Second)
			}
			return catalogue.DemoFailed.New("cannot make the topic again: %v", err).Wrap(err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
