package coord

import (
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/karst-stream/karst/core"
)

// A refusal has the shape of its request: a handler can send it as it is.
func TestRefuseKnowsEveryRequest(t *testing.T) {
	commit := &OffsetCommitRequest{Topics: []CommitTopic{
		{Topic: "t", TopicID: TopicID{1}, Partitions: []CommitPartition{{Partition: 4}}}}}
	for req, want := range map[any]any{
		&JoinRequest{Member: "m"}:    &JoinResponse{Err: 14, Generation: -1, Member: "m"},
		&SyncRequest{}:               &SyncResponse{Err: 14},
		&HeartbeatRequest{}:          &HeartbeatResponse{Err: 0},
		&LeaveRequest{}:              &LeaveResponse{Err: 14},
		&OffsetFetchRequest{}:        &OffsetFetchResponse{Err: 14},
		&DescribeRequest{Group: "g"}: &DescribeResponse{Err: 14, Group: "g"},
		&ListRequest{}:               &ListResponse{Err: 14},
		&DeleteGroupRequest{}:        &DeleteGroupResponse{Err: 14},
		&OffsetDeleteRequest{}:       &OffsetDeleteResponse{Err: 14},
		commit: &OffsetCommitResponse{Topics: []TopicResult{
			{Topic: "t", TopicID: TopicID{1}, Partitions: []PartitionResult{{Partition: 4, Err: 14}}}}},
	} {
		if got := Refuse(req, errLoadInProgress); !reflect.DeepEqual(got, want) {
			t.Errorf("%T: %+v, want %+v", req, got, want)
		}
	}
	if got := Refuse("no request", 14); got != nil {
		t.Errorf("%+v", got)
	}
	if got := Refuse(&HeartbeatRequest{}, errNotCoordinator); got.(*HeartbeatResponse).Err != 16 {
		t.Error("a heartbeat is excused during a replay only")
	}
}

// instant commits every append at once.
func instant() *Coordinator {
	var c *Coordinator
	c = testCoordinator(func(recs []KeyValue, settled func(core.Now, Outcome)) {
		for _, r := range recs {
			c.fold(r.Key, r.Value)
		}
		settled(core.Now{}, Committed)
	})
	c.Lead(core.Now{}, 1)
	return c
}

func ask[T any](t *testing.T, c *Coordinator, req any) T {
	t.Helper()
	var got []any
	c.Handle(core.Now{}, req, func(resp any) { got = append(got, resp) })
	if len(got) != 1 {
		t.Fatalf("%T: %d answers", req, len(got))
	}
	return got[0].(T)
}

// Strings that Kafka's record formats cannot hold are refused before they could break a record.
func TestNothingUnstorableIsAccepted(t *testing.T) {
	c, long := instant(), strings.Repeat("x", 1<<15)
	join := func(change func(*JoinRequest)) int16 {
		r := &JoinRequest{Group: "g", SessionMillis: 5000, ProtocolType: "consumer", ClientID: "c",
			RequireKnownMember: true, Protocols: []Protocol{{Name: "range"}}}
		change(r)
		return ask[*JoinResponse](t, c, r).Err
	}
	for name, got := range map[string]int16{
		"group":         join(func(r *JoinRequest) { r.Group = long }) - errInvalidGroupID,
		"client id":     join(func(r *JoinRequest) { r.ClientID = long[:1<<15-1] }) - errInvalidRequest,
		"host":          join(func(r *JoinRequest) { r.ClientHost = long }) - errInvalidRequest,
		"instance":      join(func(r *JoinRequest) { r.Instance = &long }) - errInvalidRequest,
		"protocol type": join(func(r *JoinRequest) { r.ProtocolType = long }) - errInvalidRequest,
		"protocol":      join(func(r *JoinRequest) { r.Protocols[0].Name = long }) - errInvalidRequest,
	} {
		if got != 0 {
			t.Errorf("%s: off by %d", name, got)
		}
	}
	commit := func(group, topic, meta string) int16 {
		resp := ask[*OffsetCommitResponse](t, c, &OffsetCommitRequest{Group: group, Generation: -1,
			RetentionMillis: -1,
			Topics:          []CommitTopic{{Topic: topic, Partitions: []CommitPartition{{Metadata: meta}}}}})
		return resp.Topics[0].Partitions[0].Err
	}
	if got := commit(long, "t", ""); got != errInvalidGroupID {
		t.Errorf("commit to a long group: %d", got)
	}
	if got := commit("g", long, ""); got != errInvalidRequest {
		t.Errorf("commit to a long topic: %d", got)
	}
	// 100 is the limit; it counts UTF-16 units, of which U+1F600 takes two.
	if got := commit("g", "t", strings.Repeat("é", 100)); got != errNone {
		t.Errorf("100 characters: %d", got)
	}
	if got := commit("g", "t", strings.Repeat("\U0001F600", 51)); got != errOffsetMetadataTooLarge {
		t.Errorf("102 units: %d", got)
	}
}

// Member ids look like Kafka's, and two leaders with one seed draw different ones.
func TestMemberIDs(t *testing.T) {
	shape := regexp.MustCompile(`^cli-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := map[string]bool{}
	for term := range core.Term(50) {
		c := testCoordinator(nil)
		c.Lead(core.Now{}, term+1)
		for range 20 {
			id := c.newMemberID("cli")
			if !shape.MatchString(id) || seen[id] {
				t.Fatalf("term %d: %q", term+1, id)
			}
			seen[id] = true
		}
	}
}

// A group whose members offer a protocol twice, or none that all share, never loses its common one.
func TestProtocolsOfferedTwice(t *testing.T) {
	c := instant()
	r := &JoinRequest{Group: "g", SessionMillis: 5000, RebalanceMillis: 5000, ProtocolType: "consumer",
		Protocols: []Protocol{{Name: "a", Metadata: []byte("1")}, {Name: "a", Metadata: []byte("2")}, {Name: ""}}}
	var resp *JoinResponse
	c.Handle(core.Now{}, r, func(got any) { resp = got.(*JoinResponse) })
	c.Tick(core.Now{Mono: core.Second})
	if resp == nil || resp.Err != errNone || *resp.Protocol != "a" || string(resp.Members[0].Metadata) != "1" {
		t.Fatalf("%+v", resp)
	}
	for _, name := range []string{"b", "a"} {
		other := *r
		other.Protocols = []Protocol{{Name: name}}
		var err int16 = -2
		c.Handle(core.Now{Mono: core.Second}, &other, func(got any) { err = got.(*JoinResponse).Err })
		if name == "b" && err != errInconsistentProtocol || name == "a" && err != -2 {
			t.Errorf("protocol %q: %d", name, err)
		}
	}
	c.Resign()
}
