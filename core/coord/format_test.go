package coord

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/karst-stream/karst/core/det"
	"github.com/karst-stream/karst/core/record"
)

func ptr(s string) *string { return &s }

func someGroup() *groupMeta {
	return &groupMeta{
		protocolType: "consumer", generation: 7, protocol: ptr("range"), leader: ptr("m-1"), since: 99,
		members: []memberMeta{
			{id: "m-1", clientID: "c", clientHost: "/10.0.0.1", rebalance: 60000, session: 10000,
				meta: []byte{1, 2}, assignment: []byte{}},
			{id: "m-2", instance: ptr("i"), rebalance: 1, session: 2, meta: []byte{}, assignment: []byte("xy")},
		},
	}
}

// What is written is byte for byte what franz-go writes for the same record.
func TestRecordsAreKafkas(t *testing.T) {
	key := kmsg.OffsetCommitKey{Version: 1, Group: "g", Topic: "topic", Partition: 3}
	if got := encodeOffsetKey("g", "topic", 3); !bytes.Equal(got, key.AppendTo(nil)) {
		t.Errorf("offset key %x, want %x", got, key.AppendTo(nil))
	}
	group := kmsg.GroupMetadataKey{Version: 2, Group: "g"}
	if got := encodeGroupKey("g"); !bytes.Equal(got, group.AppendTo(nil)) {
		t.Errorf("group key %x, want %x", got, group.AppendTo(nil))
	}
	for _, c := range []commit{
		{offset: 1 << 40, epoch: 5, meta: "mé", at: 1234, expires: -1},
		{offset: 0, epoch: -1, meta: "", at: 1, expires: -1, topicID: TopicID{1, 2, 15: 9}},
		{offset: 3, epoch: -1, meta: "x", at: 1, expires: 77},
	} {
		v := kmsg.NewOffsetCommitValue()
		v.Offset, v.LeaderEpoch, v.Metadata, v.CommitTimestamp = c.offset, c.epoch, c.meta, c.at
		v.ExpireTimestamp, v.TopicID, v.Version = c.expires, c.topicID, 3
		switch {
		case c.expires >= 0:
			v.Version = 1
		case c.topicID != TopicID{}:
			v.Version = 4
		}
		if got := encodeCommit(c); !bytes.Equal(got, v.AppendTo(nil)) {
			t.Errorf("commit %x, want %x", got, v.AppendTo(nil))
		}
	}
	for _, g := range []*groupMeta{someGroup(), {since: -1, generation: 1, protocolType: "consumer"}} {
		if got, want := encodeGroup(g), kmsgGroup(g, 3); !bytes.Equal(got, want) {
			t.Errorf("group %x, want %x", got, want)
		}
	}
}

func kmsgGroup(g *groupMeta, version int16) []byte {
	v := kmsg.NewGroupMetadataValue()
	v.Version, v.ProtocolType, v.Generation = version, g.protocolType, g.generation
	v.Protocol, v.Leader, v.CurrentStateTimestamp = g.protocol, g.leader, g.since
	for _, m := range g.members {
		k := kmsg.NewGroupMetadataValueMember()
		k.MemberID, k.InstanceID, k.ClientID, k.ClientHost = m.id, m.instance, m.clientID, m.clientHost
		k.RebalanceTimeoutMillis, k.SessionTimeoutMillis = m.rebalance, m.session
		k.Subscription, k.Assignment = m.meta, m.assignment
		v.Members = append(v.Members, k)
	}
	return v.AppendTo(nil)
}

// Every version that any Kafka wrote is read; fields that a version lacks have their defaults.
func TestEveryVersionIsRead(t *testing.T) {
	for version := range int16(valueVersionMax + 1) {
		v := kmsg.NewOffsetCommitValue()
		v.Version, v.Offset, v.LeaderEpoch, v.Metadata = version, 8, 6, "meta"
		v.CommitTimestamp, v.ExpireTimestamp, v.TopicID = 55, 66, TopicID{3}
		v.UnknownTags.Set(9, []byte("later"))
		want := commit{offset: 8, epoch: -1, meta: "meta", at: 55, expires: -1}
		switch version {
		case 1:
			want.expires = 66
		case 4:
			want.topicID = v.TopicID
		}
		if version >= 3 {
			want.epoch = 6
		}
		if got, err := decodeCommit(v.AppendTo(nil)); err != nil || got != want {
			t.Errorf("commit v%d: %+v %v", version, got, err)
		}

		group := someGroup()
		got, err := decodeGroup(kmsgGroup(group, version))
		if version < 3 {
			group.members[1].instance = nil
		}
		if version < 2 {
			group.since = -1
		}
		if version < 1 {
			group.members[0].rebalance, group.members[1].rebalance = -1, -1
		}
		if err != nil || !reflect.DeepEqual(got, group) {
			t.Errorf("group v%d: %+v %v", version, got, err)
		}
	}
	for version := range int16(2) {
		k := kmsg.OffsetCommitKey{Version: version, Group: "g", Topic: "t", Partition: 2}
		want := recordKey{group: "g", topic: "t", partition: 2}
		if got, err := decodeKey(k.AppendTo(nil)); err != nil || got != want {
			t.Errorf("key v%d: %+v %v", version, got, err)
		}
	}
	k := kmsg.GroupMetadataKey{Version: 2, Group: "g"}
	if got, err := decodeKey(k.AppendTo(nil)); err != nil || got != (recordKey{isGroup: true, group: "g"}) {
		t.Errorf("group key: %+v %v", got, err)
	}
}

// What is not ours is passed over, cut records are found out, and nothing panics.
func TestHostileRecords(t *testing.T) {
	for _, version := range []byte{3, 4, 5, 200} {
		if _, err := decodeKey([]byte{0, version, 0, 1, 'g'}); !errors.Is(err, errForeign) {
			t.Errorf("key version %d: %v", version, err)
		}
	}
	if _, err := decodeCommit([]byte{0, 5, 1}); !errors.Is(err, errForeign) {
		t.Errorf("a later value: %v", err)
	}
	whole := [][]byte{encodeGroup(someGroup()), kmsgGroup(someGroup(), 0), kmsgGroup(someGroup(), 4)}
	for _, b := range whole {
		for n := range b {
			if _, err := decodeGroup(b[:n]); err == nil {
				t.Errorf("group cut at %d of %d is read", n, len(b))
			}
		}
		if _, err := decodeGroup(append(b[:len(b):len(b)], 0)); err == nil {
			t.Error("a group with something behind it is read")
		}
	}
	for _, c := range []commit{{expires: -1, meta: "m"}, {expires: -1, topicID: TopicID{1}}, {expires: 1}} {
		b := encodeCommit(c)
		for n := range b {
			if _, err := decodeCommit(b[:n]); err == nil {
				t.Errorf("commit v%d cut at %d of %d is read", b[1], n, len(b))
			}
		}
	}
	r := det.New(1, "hostile")
	for range 20_000 {
		b := append([]byte(nil), whole[r.N(3)]...)
		for range r.Between(1, 4) {
			b[r.N(int64(len(b)))] = byte(r.Uint64())
		}
		c := testCoordinator(nil)
		c.fold(encodeGroupKey("g"), b)
		c.fold(encodeOffsetKey("g", "t", 1), b)
		c.fold(b, b)
		leadBriefly(c)
	}
}

// Rubbish in the topic is counted and the good records around it count.
func TestApplyPassesOverRubbish(t *testing.T) {
	var b record.Builder
	b.Append(record.Record{Key: nil, Value: []byte("x")})
	b.Append(record.Record{Key: []byte{0, 9, 1, 2}, Value: []byte("x")})
	b.Append(record.Record{Key: encodeOffsetKey("g", "t", 1), Value: []byte{0, 3}})
	b.Append(record.Record{Key: encodeOffsetKey("g", "t", 2), Value: encodeCommit(commit{offset: 4, expires: -1})})
	b.Append(record.Record{Key: encodeGroupKey("nobody"), Value: nil})
	c := testCoordinator(nil)
	c.Apply(0, b.Build())
	if c.Skipped() != 3 || c.Applied() != 5 {
		t.Errorf("skipped %d, applied %d", c.Skipped(), c.Applied())
	}
	if got, ok := c.stored.At("g").commit("t", 2); !ok || got.offset != 4 {
		t.Errorf("the good record: %+v %v", got, ok)
	}
	c.Apply(5, []byte("not a batch"))
	if c.Skipped() != 4 || c.Applied() != 5 {
		t.Errorf("skipped %d, applied %d", c.Skipped(), c.Applied())
	}

	b.Reset()
	b.At(5, 1)
	b.Transactional()
	b.Append(record.Record{Key: encodeOffsetKey("g", "t", 2), Value: encodeCommit(commit{offset: 9, expires: -1})})
	c.Apply(5, b.Build())
	if got, _ := c.stored.At("g").commit("t", 2); got.offset != 4 || c.Skipped() != 5 || c.Applied() != 6 {
		t.Errorf("a transactional commit counts at once: %+v, skipped %d", got, c.Skipped())
	}
}
