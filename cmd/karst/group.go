package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
	"github.com/karst-stream/karst/cmd/karst/link"
)

func newGroup() *cobra.Command {
	return parent("group", "List, describe, seek and delete consumer groups",
		newGroupList(), newGroupDescribe(), newGroupSeek(), newGroupDelete())
}

var groups = noun{"group", completeGroups}

type listedGroup struct {
	Group       string `json:"group"`
	State       string `json:"state"`
	Protocol    string `json:"protocol_type"`
	Coordinator int32  `json:"coordinator"`
}

func newGroupList() *cobra.Command {
	var q question
	c := &cobra.Command{
		Use:   "list",
		Short: "List groups",
		Args:  nothing,
		RunE: func(c *cobra.Command, _ []string) error {
			return q.ask(c, func(ctx context.Context, adm *kadm.Client) error {
				all, err := adm.ListGroups(ctx)
				if err != nil {
					return link.Explain(err, "", "list groups")
				}
				list := []listedGroup{}
				for _, g := range all.Sorted() {
					list = append(list, listedGroup{g.Group, g.State, g.ProtocolType, g.Coordinator})
				}
				return q.print(c, list, func(w io.Writer) {
					var tb table
					tb.row("GROUP", "STATE", "TYPE", "COORDINATOR")
					for _, g := range list {
						tb.row(g.Group, g.State, dash(g.Protocol), g.Coordinator)
					}
					tb.write(w)
				})
			})
		},
	}
	q.register(c)
	return c
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

type shownMember struct {
	Member     string `json:"member_id"`
	Instance   string `json:"instance_id,omitempty"`
	Client     string `json:"client_id"`
	Host       string `json:"host"`
	Partitions int    `json:"partitions"`
}

type shownLag struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed int64  `json:"committed"` // -1: never
	End       int64  `json:"end"`
	Lag       int64  `json:"lag"` // -1: not known
	Member    string `json:"member_id,omitempty"`
	Error     string `json:"error,omitempty"`
}

type shownGroup struct {
	Group       string        `json:"group"`
	State       string        `json:"state"`
	Assignor    string        `json:"assignor"`
	Coordinator int32         `json:"coordinator"`
	Lag         int64         `json:"total_lag"`
	Members     []shownMember `json:"members"`
	Partitions  []shownLag    `json:"partitions"`
}

func newGroupDescribe() *cobra.Command {
	return newDescribe(groups, "Show members, offsets and lag of groups", showGroup)
}

// showGroup gathers what describe prints. Kafka describes a group that does not exist as Dead.
func showGroup(ctx context.Context, adm *kadm.Client, name string) (shownGroup, error) {
	lags, err := adm.Lag(ctx, name)
	if err != nil {
		return shownGroup{}, link.Explain(err, "", "describe group %q", name)
	}
	l := lags[name]
	if err := l.Error(); err != nil {
		return shownGroup{}, link.Explain(err, "", "describe group %q", name)
	}
	if l.State == "Dead" {
		return shownGroup{}, catalogue.GroupUnknown.New("there is no group %q", name)
	}
	g := shownGroup{Group: name, State: l.State, Assignor: l.Protocol, Coordinator: l.Coordinator.NodeID,
		Members: []shownMember{}, Partitions: []shownLag{}}
	owned := map[string]int{}
	for _, m := range l.Lag.Sorted() {
		s := shownLag{Topic: m.Topic, Partition: m.Partition, Committed: m.Commit.At, End: m.End.Offset, Lag: m.Lag}
		if m.Member != nil {
			s.Member = m.Member.MemberID
			owned[s.Member]++
		}
		if m.Err != nil {
			s.Error = m.Err.Error()
		}
		if m.Lag > 0 {
			g.Lag += m.Lag
		}
		g.Partitions = append(g.Partitions, s)
	}
	for _, m := range l.Members {
		sm := shownMember{Member: m.MemberID, Client: m.ClientID, Host: m.ClientHost, Partitions: owned[m.MemberID]}
		if m.InstanceID != nil {
			sm.Instance = *m.InstanceID
		}
		g.Members = append(g.Members, sm)
	}
	return g, nil
}

func (g shownGroup) write(w io.Writer) {
	fmt.Fprintf(w, "%s: %s, %s, lag %d, coordinator %d", g.Group, strings.ToLower(g.State),
		count(len(g.Members), "member"), g.Lag, g.Coordinator)
	if g.Assignor != "" {
		fmt.Fprintf(w, ", assignor %s", g.Assignor)
	}
	fmt.Fprintln(w)
	var tb table
	tb.row("TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "MEMBER")
	for _, p := range g.Partitions {
		committed, lag := "-", "-"
		if p.Committed >= 0 {
			committed = fmt.Sprint(p.Committed)
		}
		if p.Lag >= 0 {
			lag = fmt.Sprint(p.Lag)
		}
		tb.row(p.Topic, p.Partition, committed, p.End, lag, dash(p.Member))
	}
	tb.write(w)
}

func newGroupSeek() *cobra.Command {
	var q question
	var to string
	var topics []string
	var dry bool
	c := &cobra.Command{
		Use:   "seek NAME --to start|end|N|@time",
		Short: "Move the offsets of a group that has no members",
		Example: "  karst group seek payments --to start\n" +
			"  karst group seek payments --to @-1h --topic orders",
		Args: exactly(1, "one group name"),
		RunE: func(c *cobra.Command, args []string) error {
			at, err := parseWhere(to, time.Now())
			if err != nil {
				return err
			}
			return q.ask(c, func(ctx context.Context, adm *kadm.Client) error {
				moves, err := planSeek(ctx, adm, args[0], topics, at)
				if err != nil {
					return err
				}
				if !dry {
					os := kadm.Offsets{}
					for _, m := range moves {
						os.AddOffset(m.Topic, m.Partition, m.To, -1)
					}
					if err := adm.CommitAllOffsets(ctx, args[0], os); err != nil {
						return link.Explain(err, "", "move the offsets of group %q", args[0])
					}
				}
				return q.print(c, moves, func(w io.Writer) {
					var tb table
					tb.row("TOPIC", "PARTITION", "FROM", "TO")
					for _, m := range moves {
						from := "-"
						if m.From >= 0 {
							from = fmt.Sprint(m.From)
						}
						tb.row(m.Topic, m.Partition, from, m.To)
					}
					tb.write(w)
				})
			})
		},
		ValidArgsFunction: completeGroups,
	}
	c.Flags().StringVar(&to, "to", "", "start, end, N (negative: from the end) or @time")
	c.Flags().StringSliceVar(&topics, "topic", nil, "only these topics; default: all that the group has committed")
	c.Flags().BoolVar(&dry, "dry-run", false, "only show what would change")
	q.register(c)
	return c
}

type seekMove struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	From      int64  `json:"from"` // -1: nothing was committed
	To        int64  `json:"to"`
}

// planSeek decides the new offset of every partition, within what the logs hold.
func planSeek(ctx context.Context, adm *kadm.Client, group string, topics []string, at where) ([]seekMove, error) {
	described, err := adm.DescribeGroups(ctx, group)
	if err == nil {
		err = described[group].Err
	}
	if err != nil {
		return nil, link.Explain(err, "", "describe group %q", group)
	}
	if g := described[group]; len(g.Members) > 0 {
		return nil, catalogue.GroupBusy.New("group %q has %s", group, count(len(g.Members), "member"))
	}
	committed, err := adm.FetchOffsets(ctx, group)
	if err != nil {
		return nil, link.Explain(err, "", "read the offsets of group %q", group)
	}
	if len(topics) == 0 {
		if described[group].State == "Dead" {
			return nil, catalogue.GroupUnknown.New("there is no group %q", group).
				Try("name the topics with --topic to give it offsets before its first member comes")
		}
		for name := range committed {
			topics = append(topics, name)
		}
		slices.Sort(topics)
	}
	var moves []seekMove
	for _, name := range topics {
		if _, err := describeTopic(ctx, adm, name); err != nil {
			return nil, err
		}
		places, err := resolve(ctx, adm, name, at)
		if err != nil {
			return nil, err
		}
		for _, p := range sortedPartitions(places) {
			m := seekMove{name, p, -1, places[p]}
			if o, ok := committed.Lookup(name, p); ok && o.Err == nil {
				m.From = o.At
			}
			moves = append(moves, m)
		}
	}
	return moves, nil
}

func sortedPartitions(m map[int32]int64) []int32 {
	ps := make([]int32, 0, len(m))
	for p := range m {
		ps = append(ps, p)
	}
	slices.Sort(ps)
	return ps
}

// resolve turns a place into an offset of each partition, within what the log holds.
func resolve(ctx context.Context, adm *kadm.Client, topic string, at where) (map[int32]int64, error) {
	starts, err := adm.ListStartOffsets(ctx, topic)
	if err != nil {
		return nil, link.Explain(err, "", "find the start of %q", topic)
	}
	ends, err := adm.ListEndOffsets(ctx, topic)
	if err != nil {
		return nil, link.Explain(err, "", "find the end of %q", topic)
	}
	times := ends
	if at.kind == atTime {
		if times, err = adm.ListOffsetsAfterMilli(ctx, at.n, topic); err != nil {
			return nil, link.Explain(err, "", "find the time in %q", topic)
		}
	}
	out := map[int32]int64{}
	var failed error
	starts.Each(func(start kadm.ListedOffset) {
		end, _ := ends.Lookup(topic, start.Partition)
		then, _ := times.Lookup(topic, start.Partition)
		for _, o := range []kadm.ListedOffset{start, end, then} {
			if o.Err != nil && failed == nil {
				failed = link.Explain(o.Err, "", "find offsets of %s/%d", topic, start.Partition)
			}
		}
		n := start.Offset
		switch {
		case at.kind == atEnd:
			n = end.Offset
		case at.kind == atTime:
			n = then.Offset
		case at.kind == atNumber && at.n >= 0:
			n = at.n
		case at.kind == atNumber:
			n = end.Offset + at.n
		}
		if n < 0 && at.kind == atTime {
			n = end.Offset // nothing is that young
		}
		out[start.Partition] = min(max(n, start.Offset), end.Offset)
	})
	return out, failed
}

func newGroupDelete() *cobra.Command {
	type deleted struct {
		Group   string `json:"group"`
		Deleted bool   `json:"deleted"`
	}
	check := func(ctx context.Context, adm *kadm.Client, name string, dry bool) (err error) {
		if dry { // else the deletion says it
			_, err = showGroup(ctx, adm, name)
		}
		return err
	}
	remove := func(ctx context.Context, adm *kadm.Client, name string) error {
		if _, err := adm.DeleteGroup(ctx, name); err != nil {
			return link.Explain(err, "", "delete group %q", name)
		}
		return nil
	}
	return newDelete(groups, "Delete groups that have no members, and their offsets", check, remove,
		func(name string, gone bool) any { return deleted{name, gone} })
}
