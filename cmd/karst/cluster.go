package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"runtime/debug"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/karst-stream/karst/cmd/karst/link"
)

func newCluster() *cobra.Command {
	return parent("cluster", "Look at a cluster", newClusterInfo())
}

type shownBroker struct {
	Node       int32  `json:"node"`
	Address    string `json:"address"`
	Rack       string `json:"rack,omitempty"`
	Controller bool   `json:"controller"`
	Leads      int    `json:"leads"`
	Holds      int    `json:"holds"`
}

type shownCluster struct {
	Cluster         string        `json:"cluster_id"`
	Controller      int32         `json:"controller"`
	Brokers         []shownBroker `json:"brokers"`
	Topics          int           `json:"topics"`
	Partitions      int           `json:"partitions"`
	UnderReplicated int           `json:"under_replicated"`
	Leaderless      int           `json:"leaderless"`
}

func newClusterInfo() *cobra.Command {
	var q question
	c := &cobra.Command{
		Use:   "info",
		Short: "Show the brokers that are alive, and the health of partitions",
		Args:  nothing,
		RunE: func(c *cobra.Command, _ []string) error {
			return q.ask(c, func(ctx context.Context, adm *kadm.Client) error {
				md, err := adm.Metadata(ctx)
				if err != nil {
					return link.Explain(err, "", "look at the cluster")
				}
				s := shownCluster{Cluster: md.Cluster, Controller: md.Controller, Topics: len(md.Topics)}
				leads, holds := map[int32]int{}, map[int32]int{}
				for _, topic := range md.Topics {
					for _, p := range topic.Partitions {
						s.Partitions++
						leads[p.Leader]++
						for _, r := range p.Replicas {
							holds[r]++
						}
						if len(p.ISR) < len(p.Replicas) {
							s.UnderReplicated++
						}
						if p.Leader < 0 {
							s.Leaderless++
						}
					}
				}
				for _, b := range md.Brokers {
					sb := shownBroker{Node: b.NodeID, Address: net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port))),
						Controller: b.NodeID == md.Controller, Leads: leads[b.NodeID], Holds: holds[b.NodeID]}
					if b.Rack != nil {
						sb.Rack = *b.Rack
					}
					s.Brokers = append(s.Brokers, sb)
				}
				return q.print(c, s, s.write)
			})
		},
	}
	q.register(c)
	return c
}

func (s shownCluster) write(w io.Writer) {
	fmt.Fprintf(w, "cluster %s: %s, %s, %s", s.Cluster, count(len(s.Brokers), "broker"),
		count(s.Topics, "topic"), count(s.Partitions, "partition"))
	switch {
	case s.Leaderless > 0:
		fmt.Fprintf(w, ", %d without a leader", s.Leaderless)
	case s.UnderReplicated > 0:
		fmt.Fprintf(w, ", %d with a copy missing", s.UnderReplicated)
	default:
		fmt.Fprint(w, ", every copy in place")
	}
	fmt.Fprintln(w)
	var tb table
	tb.row("NODE", "ADDRESS", "LEADS", "HOLDS", "")
	for _, b := range s.Brokers {
		mark := ""
		if b.Controller {
			mark = "controller"
		}
		tb.row(b.Node, b.Address, b.Leads, b.Holds, mark)
	}
	tb.write(w)
}

// release is the version of this build; a release build sets it.
var release = "0.1.0-dev"

func newVersion() *cobra.Command {
	var out output
	c := &cobra.Command{
		Use:   "version",
		Short: "Show the version of this binary",
		Args:  nothing,
		RunE: func(c *cobra.Command, _ []string) error {
			type version struct {
				Version  string `json:"version"`
				Revision string `json:"revision,omitempty"`
				Modified bool   `json:"modified,omitempty"`
				Go       string `json:"go"`
				Platform string `json:"platform"`
			}
			v := version{Version: release, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, s := range info.Settings {
					switch s.Key {
					case "vcs.revision":
						v.Revision = s.Value
					case "vcs.modified":
						v.Modified = s.Value == "true"
					}
				}
			}
			return out.print(c, v, func(w io.Writer) {
				rev := ""
				if len(v.Revision) >= 12 {
					rev = " (" + v.Revision[:12] + ")"
				}
				fmt.Fprintf(w, "karst %s%s %s %s\n", v.Version, rev, v.Go, v.Platform)
			})
		},
	}
	out.register(c)
	return c
}
