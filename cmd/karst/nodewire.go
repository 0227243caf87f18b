package main

import (
	"context"
	"errors"
	"strings"
	"syscall"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/node"
)

// runNode runs the node until ctx ends.
func runNode(ctx context.Context, p *nodePlan) error {
	o := node.Options{
		NodeID:      core.NodeID(p.id),
		Dir:         p.dirs[0],
		MoreDirs:    p.dirs[1:],
		PeerListen:  p.peerListen,
		Shards:      p.shards,
		Admin:       p.admin,
		PowerSwitch: p.powerSwitch,
		Rejoin:      p.rejoin,
		Configs:     p.configs,
		Log:         p.log,
		Ready:       p.ready,
	}
	if p.control != nil {
		o.Control = p.control
	}
	for _, l := range p.listeners {
		o.Listeners = append(o.Listeners, node.Listener{Name: l.name, Host: l.host, Port: l.port,
			AdvertisedHost: l.advertisedHost, AdvertisedPort: l.advertisedPort})
	}
	for _, q := range p.peers {
		o.Peers = append(o.Peers, node.Peer{ID: core.NodeID(q.id), Addr: q.addr})
	}
	for _, t := range p.topics {
		o.Topics = append(o.Topics, node.TopicSpec{Name: t.name, Partitions: t.partitions})
	}
	if err := node.Run(ctx, o); err != nil {
		return nodeError(err)
	}
	return nil
}

// nodeError finds the entry for why a node did not start or had to end. The text names the remedy
// already; the entry adds the page.
func nodeError(err error) error {
	text := err.Error()
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return catalogue.PortTaken.New("%s", text).Wrap(err)
	case errors.Is(err, syscall.ENOSPC), strings.Contains(text, " is full ("):
		return catalogue.DiskFull.New("%s", text).Wrap(err)
	}
	return catalogue.NotStarted.New("%s", text).Wrap(err)
}
