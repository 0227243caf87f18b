package node

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/karst-stream/karst/codec"
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/api"
	"github.com/karst-stream/karst/core/config"
	"github.com/karst-stream/karst/core/meta"
	"github.com/karst-stream/karst/core/shard"
)

// wire makes the shards of a node from what its disk holds.
func wire(o *Options, boot core.Boot) (*engine, error) {
	static, err := config.ValidateStatic(sorted(o.Configs))
	if err != nil {
		return nil, err
	}
	rec, err := shard.Recover(boot, o.NodeID, o.others...)
	if err != nil {
		return nil, err
	}
	var seed [8]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return nil, fmt.Errorf("the system gives no random numbers: %w", err)
	}
	cfg := shard.Config{Node: o.NodeID, Shards: o.Shards, Seed: binary.LittleEndian.Uint64(seed[:]),
		Peers: []core.NodeID{o.NodeID}, Static: static, Unzip: codec.Unzip, Zip: codec.Zip, Rejoin: o.Rejoin}
	if cfg.DataDir, err = filepath.Abs(o.Dir); err != nil {
		return nil, err
	}
	for _, p := range o.Peers {
		if p.ID != o.NodeID {
			cfg.Peers = append(cfg.Peers, p.ID)
		}
	}
	slices.Sort(cfg.Peers)
	for _, l := range o.Listeners {
		cfg.Listeners = append(cfg.Listeners, meta.Listener{Name: l.Name, Host: l.AdvertisedHost, Port: uint16(l.AdvertisedPort)})
	}
	for _, t := range o.Topics {
		cfg.Topics = append(cfg.Topics, shard.Topic{Name: t.Name, Partitions: t.Partitions})
	}
	e := &engine{intake: api.Intake, route: func(b []byte) core.ShardID { return shard.Route(b, o.Shards) }}
	for s := range o.Shards {
		cfg.Shard = core.ShardID(s)
		e.shards = append(e.shards, teller{shard.New(cfg, rec)})
	}
	return e, nil
}

// teller shows a shard's gauges on /metrics.
type teller struct{ *shard.Shard }

func (t teller) Tell(visit func(name string, value int64)) {
	s := t.Stats()
	visit("partitions", int64(s.Partitions))
	visit("leaders", int64(s.Leaders))
	visit("partitions_awake", int64(s.Awake))
	visit("partitions_offline", int64(s.Offline))
	visit("window_bytes", s.WindowBytes)
	visit("window_entries", int64(s.WindowEntries))
	visit("journal_frames", int64(s.JournalFrames))
	visit("peers_suspect", int64(s.Suspects))
	visit("batches_stalled", int64(s.Stalled))
	visit("files_waiting_for_room", int64(s.NoRoom))
	visit("data_directories_failed", int64(s.DirsFailed))
}

func sorted(m map[string]string) (kvs []config.KV) {
	for k, v := range m {
		kvs = append(kvs, config.KV{Key: k, Value: v})
	}
	slices.SortFunc(kvs, func(a, b config.KV) int { return strings.Compare(a.Key, b.Key) })
	return kvs
}

// requestLimit is socket.request.max.bytes, 0 when it is not set.
func requestLimit(configs map[string]string) (int, error) {
	v, ok := configs["socket.request.max.bytes"]
	if !ok {
		return 0, nil
	}
	n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 32)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("socket.request.max.bytes is %q: give a number of bytes between 1 and %d", v, 1<<31-1)
	}
	return int(n), nil
}
