package api

import (
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/wire"
)

// A request may name as many topics and partitions as the limit says, and not one more.
func TestAsManyPartitionsAsAllowedAreTaken(t *testing.T) {
	for _, extra := range []int{0, 1} {
		half := maxPartitions/2 - 1
		rest := maxPartitions - 2 - half + extra // two topics count as well
		fetch := wire.NewFetchRequest()
		fetch.Topics = []wire.FetchRequestTopic{{Topic: "t", Partitions: make([]wire.FetchRequestPartition, half)},
			{Topic: "u", Partitions: make([]wire.FetchRequestPartition, rest)}}
		produce := &wire.ProduceRequest{TopicData: []wire.ProduceRequestTopic{
			{Name: "t", PartitionData: make([]wire.ProduceRequestPartition, half)},
			{Name: "u", PartitionData: make([]wire.ProduceRequestPartition, rest)}}}
		ref := core.RefOf(make([]byte, 10))
		for i := range produce.TopicData {
			for k := range produce.TopicData[i].PartitionData {
				produce.TopicData[i].PartitionData[k].Records = ref
			}
		}
		for _, x := range []struct {
			key  wire.Key
			v    int16
			body wire.Message
		}{{wire.KeyFetch, 12, &fetch}, {wire.KeyProduce, 9, produce}} {
			var e wire.Writer
			e.Request(wire.RequestHeader{ApiKey: x.key, ApiVersion: x.v}, x.body)
			vec := e.Vec(nil)
			frame := core.RefOf(vec[0].Bytes()[4:])
			releaseAll(vec)
			in := Intake(frame).(*intake)
			if in.body == nil {
				t.Fatalf("%v: the codec refused it before", x.key)
			}
			if in.refused != (extra > 0) {
				t.Errorf("%v of %d topics and partitions: refused %v", x.key, maxPartitions+extra, in.refused)
			}
			frame.Release()
		}
		ref.Release()
	}
}
