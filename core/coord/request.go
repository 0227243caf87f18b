package coord

// Requests carry what the wire messages of all versions have in common; where versions differ, a
// flag says what the client's version expects. Byte slices are copied when they are kept. A nil
// pointer is the wire's null.

// Protocol is one way of assigning partitions that a member offers, with its subscription.
type Protocol struct {
	Name     string
	Metadata []byte
}

// JoinRequest is JoinGroup (key 11).
type JoinRequest struct {
	Group              string
	Member             string  // empty: asks for an id
	Instance           *string // group.instance.id: a static member (KIP-345)
	ClientID           string
	ClientHost         string // as Kafka shows it: "/127.0.0.1"
	SessionMillis      int32
	RebalanceMillis    int32 // negative (v0 has none): the session timeout
	ProtocolType       string
	Protocols          []Protocol // in the member's order of preference
	RequireKnownMember bool       // v4+: a new dynamic member is told its id first (KIP-394)
	MaySkipAssignment  bool       // v9+: a returning static leader may be told to skip it (KIP-814)
}

// JoinMember is a member as the leader of the group sees it.
type JoinMember struct {
	Member   string
	Instance *string
	Metadata []byte
}

// JoinResponse answers a JoinRequest.
type JoinResponse struct {
	Err            int16
	Generation     int32
	ProtocolType   *string
	Protocol       *string
	Leader         string
	SkipAssignment bool
	Member         string
	Members        []JoinMember // for the leader only, sorted by member id
}

// Assignment is what the leader of a group gives to one member.
type Assignment struct {
	Member string
	Bytes  []byte
}

// SyncRequest is SyncGroup (key 14).
type SyncRequest struct {
	Group           string
	Member          string
	Instance        *string
	Generation      int32
	ProtocolType    *string
	Protocol        *string
	RequireProtocol bool // v5+: type and name must be given
	Assignments     []Assignment
}

// SyncResponse answers a SyncRequest.
type SyncResponse struct {
	Err          int16
	ProtocolType *string
	Protocol     *string
	Assignment   []byte
}

// HeartbeatRequest is Heartbeat (key 12).
type HeartbeatRequest struct {
	Group      string
	Member     string
	Instance   *string
	Generation int32
}

// HeartbeatResponse answers a HeartbeatRequest.
type HeartbeatResponse struct{ Err int16 }

// LeaveMember names a member that leaves: by its id, or by its instance id when Member is empty.
type LeaveMember struct {
	Member   string
	Instance *string
}

// LeaveRequest is LeaveGroup (key 13). Below v3 it has one member, whose error is the answer's.
type LeaveRequest struct {
	Group   string
	Members []LeaveMember
}

// LeaveResult says how it went for one member of a LeaveRequest.
type LeaveResult struct {
	Member   string
	Instance *string
	Err      int16
}

// LeaveResponse answers a LeaveRequest, its members in the order of the request.
type LeaveResponse struct {
	Err     int16
	Members []LeaveResult
}

// TopicID is Kafka's; the zero value is "not given".
type TopicID = [16]byte

// CommitPartition is one offset of an OffsetCommitRequest.
type CommitPartition struct {
	Partition   int32
	Offset      int64
	LeaderEpoch int32  // -1: not given
	Metadata    string // the wire's null is ""
}

// CommitTopic is one topic of an OffsetCommitRequest.
type CommitTopic struct {
	Topic      string
	TopicID    TopicID
	Partitions []CommitPartition
}

// OffsetCommitRequest is OffsetCommit (key 8). The caller has checked that the partitions exist, as far as
// it knows; the coordinator looks at the topics again.
type OffsetCommitRequest struct {
	Group            string
	Member           string
	Instance         *string
	Generation       int32
	RetentionMillis  int64 // v2-v4; not positive: the broker's
	NameUnknownGroup bool  // v9+: GROUP_ID_NOT_FOUND where older clients get ILLEGAL_GENERATION
	Topics           []CommitTopic
}

// PartitionResult is the outcome for one partition.
type PartitionResult struct {
	Partition int32
	Err       int16
}

// TopicResult is the outcome for one topic, partitions in the order of the request.
type TopicResult struct {
	Topic      string
	TopicID    TopicID
	Partitions []PartitionResult
}

// OffsetCommitResponse answers an OffsetCommitRequest, topics in the order of the request.
type OffsetCommitResponse struct{ Topics []TopicResult }

// FetchTopic is one topic of an OffsetFetchRequest.
type FetchTopic struct {
	Topic      string
	TopicID    TopicID
	Partitions []int32
}

// OffsetFetchRequest is one group of an OffsetFetch (key 9).
type OffsetFetchRequest struct {
	Group         string
	Topics        []FetchTopic // nil: every topic that has an offset
	RequireStable bool         // the answer waits for commits of the group that are under way (KIP-447)
}

// FetchedPartition is the committed offset of one partition, -1 when there is none.
type FetchedPartition struct {
	Partition   int32
	Offset      int64
	LeaderEpoch int32
	Metadata    string
	Err         int16
}

// FetchedTopic is one topic of an OffsetFetchResponse.
type FetchedTopic struct {
	Topic      string
	TopicID    TopicID
	Partitions []FetchedPartition
}

// OffsetFetchResponse answers an OffsetFetchRequest.
type OffsetFetchResponse struct {
	Err    int16
	Topics []FetchedTopic
}

// DescribeRequest is one group of a DescribeGroups (key 15).
type DescribeRequest struct {
	Group       string
	NameUnknown bool // v6+: GROUP_ID_NOT_FOUND for a group that does not exist, before: "Dead"
}

// DescribedMember is one member of a DescribeResponse.
type DescribedMember struct {
	Member     string
	Instance   *string
	ClientID   string
	ClientHost string
	Metadata   []byte // of the chosen protocol, when the group is stable
	Assignment []byte
}

// DescribeResponse answers a DescribeRequest.
type DescribeResponse struct {
	Err          int16
	Message      *string
	Group        string
	State        string
	ProtocolType string
	Protocol     string
	Members      []DescribedMember // sorted by member id
}

// ListRequest is ListGroups (key 16), for the groups of this partition. Empty filters let all pass;
// case does not matter.
type ListRequest struct {
	States []string
	Types  []string
}

// ListedGroup is one group of a ListResponse.
type ListedGroup struct {
	Group        string
	ProtocolType string
	State        string
	Type         string
}

// ListResponse answers a ListRequest, sorted by group.
type ListResponse struct {
	Err    int16
	Groups []ListedGroup
}

// DeleteGroupRequest is one group of a DeleteGroups (key 42).
type DeleteGroupRequest struct{ Group string }

// DeleteGroupResponse answers a DeleteGroupRequest.
type DeleteGroupResponse struct{ Err int16 }

// OffsetDeleteRequest is OffsetDelete (key 47, KIP-496).
type OffsetDeleteRequest struct {
	Group  string
	Topics []FetchTopic
}

// OffsetDeleteResponse answers an OffsetDeleteRequest, topics in the order of the request.
type OffsetDeleteResponse struct {
	Err    int16
	Topics []TopicResult
}

// Refuse is the response of req's kind that says code and nothing else. A shard uses it while the
// log is being replayed (COORDINATOR_LOAD_IN_PROGRESS) and where no coordinator is. A heartbeat
// during the replay is not refused but taken as one (GroupCoordinatorService.heartbeat). It returns
// nil for a type that is no request of this package.
func Refuse(req any, code int16) any {
	switch r := req.(type) {
	case *JoinRequest:
		return &JoinResponse{Err: code, Generation: -1, Member: r.Member}
	case *SyncRequest:
		return &SyncResponse{Err: code}
	case *HeartbeatRequest:
		if code == errLoadInProgress {
			code = errNone
		}
		return &HeartbeatResponse{Err: code}
	case *LeaveRequest:
		return &LeaveResponse{Err: code}
	case *OffsetCommitRequest:
		return refuseCommit(r, code)
	case *OffsetFetchRequest:
		return &OffsetFetchResponse{Err: code}
	case *DescribeRequest:
		return &DescribeResponse{Err: code, Group: r.Group}
	case *ListRequest:
		return &ListResponse{Err: code}
	case *DeleteGroupRequest:
		return &DeleteGroupResponse{Err: code}
	case *OffsetDeleteRequest:
		return &OffsetDeleteResponse{Err: code}
	}
	return nil
}

// refuseCommit gives every partition the same error: the message has no other place for it.
func refuseCommit(r *OffsetCommitRequest, code int16) *OffsetCommitResponse {
	resp := &OffsetCommitResponse{}
	for _, t := range r.Topics {
		tr := TopicResult{Topic: t.Topic, TopicID: t.TopicID}
		for _, p := range t.Partitions {
			tr.Partitions = append(tr.Partitions, PartitionResult{Partition: p.Partition, Err: code})
		}
		resp.Topics = append(resp.Topics, tr)
	}
	return resp
}
