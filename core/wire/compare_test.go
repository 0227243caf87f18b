package wire

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/det"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// rounds is how many random values each key and version is compared on.
const rounds = 25

var refType = reflect.TypeFor[core.Ref]()

// filler draws values for the fields of our structs and of kmsg's alike. Refs that it makes are in refs.
type filler struct {
	*det.Rand
	refs []core.Ref
}

func (f *filler) fill(v reflect.Value) {
	if v.Type() == refType {
		v.Set(reflect.ValueOf(f.records()))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := 0; i < v.NumField(); i++ {
			if name := v.Type().Field(i).Name; name != "Version" && name != "UnknownTags" {
				f.fill(v.Field(i))
			}
		}
	case reflect.Pointer:
		if f.Chance(1, 4) {
			v.SetZero()
			return
		}
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem())
	case reflect.Slice:
		if f.Chance(1, 6) {
			v.SetZero()
			return
		}
		n := int(f.N(4))
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := 0; i < n; i++ {
			f.fill(v.Index(i))
		}
	case reflect.Array:
		for i := 0; i < v.Len(); i++ {
			v.Index(i).SetUint(uint64(f.N(256)))
		}
	case reflect.String:
		v.SetString(strings.Repeat("ab·", int(f.N(3))) + fmt.Sprint(f.N(1000)))
	case reflect.Bool:
		v.SetBool(f.Chance(1, 2))
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(f.Uint64()) >> (64 - v.Type().Bits()))
	case reflect.Uint8, reflect.Uint16:
		v.SetUint(f.Uint64() >> (64 - v.Type().Bits()))
	default:
		panic("no values for " + v.Type().String())
	}
}

// records are null, empty, short enough to be copied, or long enough to be named.
func (f *filler) records() core.Ref {
	n := []int{-1, 0, 40, 2 * inlined}[f.N(4)]
	if n < 0 {
		return core.Ref{}
	}
	r := core.NewRef(n)
	for i := range r.Bytes() {
		r.Bytes()[i] = byte(f.Uint64())
	}
	f.refs = append(f.refs, r)
	return r
}

func (f *filler) release() {
	for _, r := range f.refs {
		r.Release()
	}
	f.refs = nil
}

// written is a message of ours as bytes, through the vector that a socket would get.
func written(m Message, v int16) []byte {
	var w Writer
	m.Encode(&w, v)
	return joined(w.Vec(nil))
}

func joined(vec []core.Ref) []byte {
	var out []byte
	for _, r := range vec {
		out = append(out, r.Bytes()...)
		r.Release()
	}
	return out
}

// read decodes b, all of it, from a frame that the test releases.
func read(t *testing.T, m Message, v int16, b []byte) {
	t.Helper()
	frame := core.RefOf(b)
	t.Cleanup(frame.Release)
	r := NewReader(frame)
	r.SetBudget(1 << 30)
	m.Decode(r, v)
	if err := r.Finish(); err != nil {
		t.Fatalf("%T version %d: %v in %x", m, v, err, b)
	}
}

// opinion is kmsg's side of a comparison.
type opinion interface {
	SetVersion(int16)
	AppendTo([]byte) []byte
	ReadFrom([]byte) error
}

// TestAgainstKmsg writes random values with one codec and reads them with the other, for every key and
// version, both ways: bytes must be equal, and so must every field by its name.
func TestAgainstKmsg(t *testing.T) {
	live := core.Live.Load()
	t.Run("all", func(t *testing.T) {
		for i := range APIs {
			a := &APIs[i]
			t.Run(a.Name, func(t *testing.T) {
				for v := a.Min; v <= a.Max; v++ {
					compare(t, v, a.NewRequest, func() opinion { return kmsg.RequestForKey(int16(a.Key)) })
					compare(t, v, a.NewResponse, func() opinion { return kmsg.ResponseForKey(int16(a.Key)) })
				}
			})
		}
	})
	if n := core.Live.Load() - live; n != 0 {
		t.Errorf("%d buffers were not released", n)
	}
}

func compare(t *testing.T, v int16, ours func() Message, theirs func() opinion) {
	t.Helper()
	f := &filler{Rand: det.New(uint64(v), fmt.Sprintf("%T", ours()))}
	defer f.release()
	for range rounds {
		m, k := ours(), theirs()
		f.fill(reflect.ValueOf(m).Elem())
		k.SetVersion(v)
		a := written(m, v)
		if err := k.ReadFrom(a); err != nil {
			t.Fatalf("kmsg cannot read %T version %d: %v in %x", m, v, err, a)
		}
		if b := k.AppendTo(nil); !bytes.Equal(a, b) && !nullRecords(m) {
			t.Fatalf("%T version %d\nwe write   %x\nkmsg writes %x", m, v, a, b)
		}
		back := ours()
		read(t, back, v, a)
		same(t, reflect.TypeOf(m).Elem().Name(), reflect.ValueOf(back).Elem(), reflect.ValueOf(k).Elem())

		k = theirs()
		f.fill(reflect.ValueOf(k).Elem())
		k.SetVersion(v)
		trim(k, v)
		b := k.AppendTo(nil)
		back = ours()
		read(t, back, v, b)
		if a := written(back, v); !bytes.Equal(a, b) && !nullRecords(back) {
			t.Fatalf("%T version %d\nkmsg writes %x\nwe write   %x", m, v, b, a)
		}
		k = theirs()
		k.SetVersion(v)
		if err := k.ReadFrom(b); err != nil {
			t.Fatalf("kmsg cannot read what it wrote: %v", err)
		}
		same(t, reflect.TypeOf(m).Elem().Name(), reflect.ValueOf(back).Elem(), reflect.ValueOf(k).Elem())
	}
}

// nullRecords says whether m is a FetchResponse with null records: we write those as empty, as Kafka's
// broker does.
func nullRecords(m Message) bool {
	fetch, ok := m.(*FetchResponse)
	if !ok {
		return false
	}
	for _, topic := range fetch.Responses {
		for _, p := range topic.Partitions {
			if p.Records == (core.Ref{}) {
				return true
			}
		}
	}
	return false
}

// same compares a value of ours with kmsg's, field by field.
func same(t *testing.T, path string, ours, theirs reflect.Value) {
	t.Helper()
	switch {
	case ownDefaults[path] != "" && ownDefaults[path] == fmt.Sprint(ours, theirs):
	case ours.Type() == refType:
		if !bytes.Equal(ours.Interface().(core.Ref).Bytes(), theirs.Bytes()) {
			t.Fatalf("%s: records differ", path)
		}
	case ours.Kind() == reflect.Pointer && theirs.Kind() == reflect.Struct: // a tagged structure
		if ours.IsNil() {
			none := reflect.New(theirs.Type())
			none.MethodByName("Default").Call(nil)
			if !reflect.DeepEqual(none.Elem().Interface(), theirs.Interface()) {
				t.Fatalf("%s: absent, but kmsg has %v", path, theirs)
			}
			return
		}
		same(t, path, ours.Elem(), theirs)
	case ours.Kind() == reflect.Pointer:
		if ours.IsNil() != theirs.IsNil() {
			t.Fatalf("%s: null here %v, there %v", path, ours.IsNil(), theirs.IsNil())
		}
		if !ours.IsNil() {
			same(t, path, ours.Elem(), theirs.Elem())
		}
	case ours.Kind() == reflect.String && theirs.Kind() == reflect.Pointer: // nullable in kmsg only
		same(t, path, ours, theirs.Elem())
	case ours.Kind() == reflect.Slice:
		if ours.Len() != theirs.Len() {
			t.Fatalf("%s: %d elements here, %d there", path, ours.Len(), theirs.Len())
		}
		for i := 0; i < ours.Len(); i++ {
			same(t, path, ours.Index(i), theirs.Index(i))
		}
	case ours.Kind() == reflect.Struct:
		sameFields(t, path, ours, theirs)
	case ours.Kind() == reflect.Array:
		if !reflect.DeepEqual(ours.Convert(theirs.Type()).Interface(), theirs.Interface()) {
			t.Fatalf("%s: %v here, %v there", path, ours, theirs)
		}
	case ours.CanInt():
		if ours.Int() != theirs.Int() {
			t.Fatalf("%s: %d here, %d there", path, ours.Int(), theirs.Int())
		}
	default:
		if fmt.Sprint(ours.Interface()) != fmt.Sprint(theirs.Interface()) {
			t.Fatalf("%s: %v here, %v there", path, ours, theirs)
		}
	}
}

func sameFields(t *testing.T, path string, ours, theirs reflect.Value) {
	t.Helper()
	taken := map[string]bool{}
	for i := 0; i < ours.NumField(); i++ {
		name := ours.Type().Field(i).Name
		there, ok := counterpart(theirs.Type(), name)
		if !ok || taken[there] {
			t.Fatalf("%s.%s is nowhere in kmsg's %s", ours.Type(), name, theirs.Type())
		}
		taken[there] = true
		same(t, path+"."+name, ours.Field(i), theirs.FieldByName(there))
	}
}

// ownDefaults are where kmsg's default, behind ours, is not Kafka's; it shows in versions without the
// field.
var ownDefaults = map[string]string{
	"ListOffsetsRequest.TimeoutMs":           "0 30000",
	"MetadataRequest.AllowAutoTopicCreation": "true false",
	"OffsetCommitValue.LeaderEpoch":          "-1 0",
	"OffsetCommitValue.ExpireTimestamp":      "-1 0",
}

// trim takes out of k what kmsg writes in every flexible version although it came later.
func trim(k opinion, v int16) {
	switch k := k.(type) {
	case *kmsg.ProduceResponse:
		if v < 10 {
			k.Brokers = nil
			for i := range k.Topics {
				for j := range k.Topics[i].Partitions {
					k.Topics[i].Partitions[j].CurrentLeader.Default()
				}
			}
		}
	case *kmsg.FetchRequest:
		if v < 15 {
			k.ReplicaState.Default()
		}
		for i := range k.Topics {
			for j := range k.Topics[i].Partitions {
				p := &k.Topics[i].Partitions[j]
				if v < 17 {
					p.ReplicaDirectoryID = [16]byte{}
				}
				if v < 18 {
					p.HighWatermark = 1<<63 - 1
				}
			}
		}
	case *kmsg.FetchResponse:
		if v < 16 {
			k.Brokers = nil
		}
	}
}

// counterpart finds the field of kmsg's struct that means what ours of that name does.
func counterpart(theirs reflect.Type, name string) (string, bool) {
	for _, candidate := range append([]string{name}, aliases[name]...) {
		match := func(s string) bool { return strings.EqualFold(s, candidate) }
		if f, ok := theirs.FieldByNameFunc(match); ok {
			return f.Name, true
		}
	}
	return "", false
}

// aliases are kmsg's names for Kafka's, the likeliest first.
var aliases = map[string][]string{
	"Assignment":                  {"MemberAssignment"},
	"Assignments":                 {"GroupAssignment", "ReplicaAssignment", "Assignment"},
	"AssignedPartitions":          {"Topics"},
	"BrokerIds":                   {"Replicas"},
	"BrokerId":                    {"NodeID"},
	"ClusterAuthorizedOperations": {"AuthorizedOperations"},
	"CommittedLeaderEpoch":        {"LeaderEpoch"},
	"CommittedMetadata":           {"Metadata"},
	"CommittedOffset":             {"Offset"},
	"ConfigOperation":             {"Op"},
	"ConfigSource":                {"Source"},
	"ConfigurationKeys":           {"ConfigNames"},
	"ForgottenTopicsData":         {"ForgottenTopics"},
	"GenerationId":                {"Generation"},
	"GenerationIdOrMemberEpoch":   {"Generation"},
	"GroupId":                     {"Group"},
	"GroupInstanceId":             {"InstanceID"},
	"GroupState":                  {"State"},
	"GroupsNames":                 {"Groups"},
	"HostFilter":                  {"Host"},
	"Index":                       {"Partition"},
	"IsFutureKey":                 {"IsFuture"},
	"IsrNodes":                    {"ISR"},
	"Key":                         {"CoordinatorKey"},
	"KeyType":                     {"CoordinatorType"},
	"Leader":                      {"LeaderID"},
	"LeaderId":                    {"Leader"},
	"LogAppendTimeMs":             {"LogAppendTime"},
	"LogDir":                      {"Dir"},
	"MaxWaitMs":                   {"MaxWaitMillis"},
	"MemberMetadata":              {"ProtocolMetadata"},
	"Metadata":                    {"ProtocolMetadata"},
	"Name":                        {"Topic"},
	"NodeEndpoints":               {"Brokers"},
	"PartitionData":               {"Partitions"},
	"PartitionId":                 {"Partition"},
	"PartitionIndex":              {"Partition"},
	"PartitionIndexes":            {"Partitions"},
	"PartitionResponses":          {"Partitions"},
	"PartitionResult":             {"Partitions"},
	"PartitionSize":               {"Size"},
	"PatternType":                 {"ResourcePatternType"},
	"PatternTypeFilter":           {"ResourcePatternType"},
	"PrincipalFilter":             {"Principal"},
	"ProtocolData":                {"Protocol"},
	"ProtocolName":                {"Protocol"},
	"RackId":                      {"Rack"},
	"RebalanceTimeout":            {"RebalanceTimeoutMillis"},
	"RebalanceTimeoutMs":          {"RebalanceTimeoutMillis"},
	"RecordErrors":                {"ErrorRecords"},
	"Records":                     {"RecordBatches"},
	"ReplicaElectionResults":      {"Topics"},
	"ReplicaEpoch":                {"Epoch"},
	"ReplicaId":                   {"ID"},
	"ReplicaNodes":                {"Replicas"},
	"ResourceNameFilter":          {"ResourceName"},
	"ResourceTypeFilter":          {"ResourceType"},
	"Responses":                   {"Topics", "Resources"},
	"Results":                     {"Resources", "Dirs", "Topics", "Groups"},
	"RetentionTimeMs":             {"RetentionTimeMillis"},
	"SessionTimeout":              {"SessionTimeoutMillis"},
	"SessionTimeoutMs":            {"SessionTimeoutMillis"},
	"Synonyms":                    {"ConfigSynonyms"},
	"ThrottleTimeMs":              {"ThrottleMillis"},
	"TimeoutMs":                   {"TimeoutMillis"},
	"TopicAuthorizedOperations":   {"AuthorizedOperations"},
	"TopicConfigErrorCode":        {"ConfigErrorCode"},
	"TopicData":                   {"Topics"},
	"TopicName":                   {"Topic"},
	"TopicPartitions":             {"Topics"},
	"TransactionTimeoutMs":        {"TransactionTimeoutMillis"},
	"TransactionalId":             {"TransactionID"},
	"BatchIndex":                  {"RelativeOffset"},
	"BatchIndexErrorMessage":      {"ErrorMessage"},
}
