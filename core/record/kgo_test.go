package record_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/karst-stream/karst/core/record"
)

// serve answers one kgo client over a pipe with as much of a broker as a producer needs: it hands
// every produced batch to got.
func serve(c net.Conn, got func([]byte)) {
	defer c.Close()
	for {
		var size [4]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		frame := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(c, frame); err != nil {
			return
		}
		key, version := int16(binary.BigEndian.Uint16(frame)), int16(binary.BigEndian.Uint16(frame[2:]))
		body := frame[10+max(0, int(int16(binary.BigEndian.Uint16(frame[8:])))):]
		req := kmsg.RequestForKey(key)
		req.SetVersion(version)
		if req.IsFlexible() {
			body = body[1:] // no header tags
		}
		if req.ReadFrom(body) != nil {
			return
		}
		resp := answer(req, got)
		out := append([]byte{0, 0, 0, 0}, frame[4:8]...)
		if req.IsFlexible() && key != 18 {
			out = append(out, 0)
		}
		out = resp.AppendTo(out)
		binary.BigEndian.PutUint32(out, uint32(len(out)-4))
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}

func answer(req kmsg.Request, got func([]byte)) kmsg.Response {
	resp := req.ResponseKind()
	switch r := resp.(type) {
	case *kmsg.ApiVersionsResponse:
		r.ApiKeys = []kmsg.ApiVersionsResponseApiKey{{ApiKey: 0, MinVersion: 3, MaxVersion: 9},
			{ApiKey: 3, MaxVersion: 8}, {ApiKey: 18, MaxVersion: 3}, {ApiKey: 22, MaxVersion: 2}}
	case *kmsg.MetadataResponse:
		topic := "t"
		r.Brokers = []kmsg.MetadataResponseBroker{{NodeID: 0, Host: "broker", Port: 9092}}
		r.Topics = []kmsg.MetadataResponseTopic{{Topic: &topic, Partitions: []kmsg.MetadataResponseTopicPartition{
			{Leader: 0, LeaderEpoch: 1, Replicas: []int32{0}, ISR: []int32{0}}}}}
	case *kmsg.InitProducerIDResponse:
		r.ProducerID = 4242
	case *kmsg.ProduceResponse:
		for _, topic := range req.(*kmsg.ProduceRequest).Topics {
			rt := kmsg.ProduceResponseTopic{Topic: topic.Topic}
			for _, p := range topic.Partitions {
				got(p.Records)
				rt.Partitions = append(rt.Partitions, kmsg.ProduceResponseTopicPartition{Partition: p.Partition})
			}
			r.Topics = append(r.Topics, rt)
		}
	}
	return resp
}

func TestCheckAcceptsWhatFranzGoProduces(t *testing.T) {
	codecs := []struct {
		kgo  kgo.CompressionCodec
		want record.Codec
	}{{kgo.NoCompression(), record.None}, {kgo.GzipCompression(), record.Gzip}, {kgo.SnappyCompression(), record.Snappy},
		{kgo.Lz4Compression(), record.LZ4}, {kgo.ZstdCompression(), record.Zstd}}
	for _, codec := range codecs {
		batches := make(chan []byte, 10)
		client, err := kgo.NewClient(kgo.SeedBrokers("broker:9092"), kgo.ProducerBatchCompression(codec.kgo),
			kgo.Dialer(func(context.Context, string, string) (net.Conn, error) {
				ours, theirs := net.Pipe()
				go serve(ours, func(b []byte) { batches <- bytes.Clone(b) })
				return theirs, nil
			}))
		if err != nil {
			t.Fatal(err)
		}
		want := &kgo.Record{Topic: "t", Key: []byte("key"), Value: bytes.Repeat([]byte("value"), 500),
			Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("x")}}}
		if err := client.ProduceSync(t.Context(), want).FirstErr(); err != nil {
			t.Fatal(err)
		}
		client.Close()
		b, rest, err := record.Next(<-batches)
		if err != nil || len(rest) != 0 {
			t.Fatalf("%v: %v, %d bytes left", codec.want, err, len(rest))
		}
		if p := b.Check(); p != record.Fine || b.Codec() != codec.want || b.Count() != 1 || b.ProducerID() != 4242 ||
			b.BaseSequence() != 0 || int64(b.MaxTimestamp()) != want.Timestamp.UnixMilli() {
			t.Errorf("%v: %v: %x", codec.want, p, b[:61])
		}
		plain := b.Payload()
		if codec.want != record.None {
			if plain, err = kgo.DefaultDecompressor().Decompress(plain, kgo.CompressionCodecType(codec.want)); err != nil {
				t.Fatal(err)
			}
		}
		var got []record.Record
		err = b.RecordsIn(plain, func(r record.Record) bool { got = append(got, r); return true })
		if err != nil || len(got) != 1 || string(got[0].Key) != "key" || !bytes.Equal(got[0].Value, want.Value) ||
			len(got[0].Headers) != 1 || got[0].Headers[0].Key != "h" {
			t.Errorf("%v: %v: %+v", codec.want, err, got)
		}
	}
}
