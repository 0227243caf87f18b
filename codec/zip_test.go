package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/karst-stream/karst/core"
	"github.com/karst-stream/karst/core/record"
)

var packers = []record.Codec{record.None, record.Gzip, record.Snappy, record.LZ4, record.Zstd}

func text(n int) []byte {
	var b []byte
	for i := 0; len(b) < n; i++ {
		b = fmt.Appendf(b, "record %d says %x; ", i, i*i*7919)
	}
	return b[:n]
}

func TestZipRoundTrip(t *testing.T) {
	levels := map[record.Codec][]int{record.None: {0}, record.Snappy: {0}, record.Gzip: {-1, 1, 5, 9},
		record.LZ4: {1, 2, 8, 9, 10, 17}, record.Zstd: {-131072, -1, 0, 1, 3, 9, 15, 22}}
	for _, c := range packers {
		for _, level := range levels[c] {
			for _, n := range []int{0, 1, 32 << 10, 32<<10 + 1, 64 << 10, 300_000} {
				plain := text(n)
				packed, err := Zip(nil, c, level, plain, n+1024)
				if err != nil {
					t.Fatalf("%v level %d: %d bytes: %v", c, level, n, err)
				}
				again, _ := Zip(nil, c, level, plain, n+1024)
				if !bytes.Equal(packed, again) {
					t.Errorf("%v level %d: %d bytes are packed in two ways", c, level, n)
				}
				if got, err := Unzip(c, packed); err != nil || !bytes.Equal(got, plain) {
					t.Errorf("%v level %d: %d bytes of %d: %v", c, level, len(got), n, err)
				}
			}
		}
	}
}

// Levels do something: better ones give fewer bytes.
func TestZipLevels(t *testing.T) {
	plain := text(500_000)
	for _, try := range []struct {
		codec         record.Codec
		worse, better int
	}{{record.Gzip, 1, 9}, {record.LZ4, 9, 17}, {record.LZ4, 9, 8}, {record.Zstd, 1, 19}} {
		worse, _ := Zip(nil, try.codec, try.worse, plain, len(plain))
		better, _ := Zip(nil, try.codec, try.better, plain, len(plain))
		if len(better) >= len(worse) {
			t.Errorf("%v: level %d gives %d bytes, level %d gives %d", try.codec, try.worse, len(worse), try.better, len(better))
		}
	}
}

// What Kafka's own readers insist on (Lz4BlockInputStream, SnappyInputStream).
func TestZipFraming(t *testing.T) {
	packed, _ := Zip(nil, record.LZ4, 9, text(1000), 2000)
	if len(packed) < 7 || !bytes.Equal(packed[:6], []byte{0x04, 0x22, 0x4d, 0x18, 0x60, 0x40}) {
		t.Errorf("lz4 begins with %x: version 1, independent blocks, no checksums, 64 KiB are wanted", packed[:7])
	}
	packed, _ = Zip(nil, record.Snappy, 0, text(40_000), 50_000)
	if !bytes.HasPrefix(packed, []byte("\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01")) {
		t.Errorf("snappy begins with %x", packed[:16])
	}
	blocks := 0
	for rest := packed[16:]; len(rest) > 0; rest = rest[4+binary.BigEndian.Uint32(rest):] {
		blocks++
	}
	if blocks != 2 {
		t.Errorf("40,000 bytes are in %d blocks of snappy", blocks)
	}
}

func TestZipKeepsToItsRoom(t *testing.T) {
	plain := text(200_000)
	for _, c := range packers {
		packed, err := Zip([]byte("head"), c, 3, plain, len(plain)+1024)
		if err != nil {
			t.Fatal(c, err)
		}
		room := len(packed) - 4
		if _, err := Zip([]byte("head"), c, 3, plain, room); err != nil {
			t.Errorf("%v: %d bytes have no room in %d: %v", c, room, room, err)
		}
		for _, less := range []int{0, 10, room / 2, room - 1} {
			if _, err := Zip([]byte("head"), c, 3, plain, less); !errors.Is(err, record.ErrNoRoom) {
				t.Errorf("%v: %d bytes found room in %d: %v", c, room, less, err)
			}
		}
		if after, err := Zip([]byte("head"), c, 3, plain, room); err != nil || !bytes.Equal(after, packed) {
			t.Errorf("%v: an encoder remembers that it had no room: %v", c, err)
		}
	}
	if _, err := Zip(nil, 7, 0, plain, len(plain)); !errors.Is(err, errCodec) {
		t.Errorf("an unknown codec: %v", err)
	}
}

// batch has records with everything that must survive.
func batch(pack record.Codec, t testing.TB) record.Batch {
	var w record.Builder
	w.At(7, 3)
	w.Producer(1<<40, 5, 77)
	w.Transactional()
	for i := range 50 {
		r := record.Record{Key: fmt.Appendf(nil, "key %d", i), Value: text(100 + i), Timestamp: core.Wall(1_700_000_000_000 - 13*i)}
		if i%7 == 3 {
			r.Value, r.Headers = nil, []record.Header{{Key: "h", Value: []byte("v")}, {Key: "null"}}
		}
		w.Append(r)
	}
	p := press(pack)
	got := record.ReadPressed(p.Do(w.Build()))
	if got.Verdict == record.Kept && pack == record.None {
		return w.Build()
	}
	if got.Verdict != record.Repacked {
		t.Fatalf("%v: verdict %d", pack, got.Verdict)
	}
	return record.Batch(bytes.Clone(got.Batch))
}

func press(to record.Codec) *record.Press {
	return &record.Press{Unzip: Unzip, Zip: Zip, Codec: to, Level: 3, Room: 1 << 20,
		Terms: record.Terms{Keyed: true, Now: 1_700_000_000_000, Before: 1 << 40, After: 1 << 40}}
}

func list(t testing.TB, b record.Batch) (out []record.Record) {
	plain, err := Unzip(b.Codec(), b.Payload())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.RecordsIn(plain, func(r record.Record) bool { out = append(out, r); return true }); err != nil {
		t.Fatal(err)
	}
	return out
}

// From every codec to every other, nothing but the codec, the length and the CRC changes.
func TestPressKeepsEverything(t *testing.T) {
	for _, from := range packers {
		b := batch(from, t)
		want := fmt.Sprintf("%+v", list(t, b))
		for _, to := range packers {
			before := bytes.Clone(b)
			got := record.ReadPressed(press(to).Do(b))
			if !bytes.Equal(b, before) {
				t.Fatalf("%v to %v: the batch itself has changed", from, to)
			}
			if got.Last != 1_700_000_000_000 {
				t.Errorf("%v to %v: the latest time is %d", from, to, got.Last)
			}
			if from == to {
				if got.Verdict != record.Kept || got.Batch != nil {
					t.Errorf("%v was not kept", from)
				}
				continue
			}
			x := record.Batch(got.Batch)
			if got.Verdict != record.Repacked || x.Check() != record.Fine || x.Codec() != to || x.Size() != int32(len(x)) {
				t.Errorf("%v to %v: verdict %d, %v", from, to, got.Verdict, x.Check())
				continue
			}
			head := bytes.Clone(x[:record.HeaderSize])
			copy(head[8:12], b[8:12])
			copy(head[17:21], b[17:21])
			head[22] = head[22]&^7 | byte(from)
			if !bytes.Equal(head, b[:record.HeaderSize]) {
				t.Errorf("%v to %v: header\n%x\n%x", from, to, x[:record.HeaderSize], b[:record.HeaderSize])
			}
			if now := fmt.Sprintf("%+v", list(t, x)); now != want {
				t.Errorf("%v to %v: records\n%s\n%s", from, to, now, want)
			}
		}
	}
}

func TestPressSaysWhatIsWrong(t *testing.T) {
	b := batch(record.Gzip, t)
	room := press(record.None)
	room.Room = 3000
	bomb := bytes.Clone(b[:record.HeaderSize])
	bomb = append(bomb, bombs(t, 65<<20)[record.Gzip]...)
	short := bytes.Clone(b)
	binary.BigEndian.PutUint32(short[57:], 49) // one record less than there are
	bytesLost := bytes.Clone(b[:len(b)-9])
	early := press(record.LZ4)
	early.Terms.Before = 13 * 47
	late := press(record.Gzip)
	late.Terms.Now, late.Terms.After = 1_700_000_000_000-13*2, 13
	tests := []struct {
		name string
		p    *record.Press
		b    record.Batch
		want record.Verdict
		bad  int
	}{{"no room", room, b, record.TooLarge, 0}, {"bomb", press(record.Zstd), bomb, record.Bomb, 0},
		{"count", press(record.Zstd), short, record.Garbled, 0}, {"cut", press(record.Zstd), bytesLost, record.Garbled, 0},
		{"early", early, b, record.Flawful, 2}, {"late, though nothing is recompressed", late, b, record.Flawful, 1}}
	for _, test := range tests {
		got := record.ReadPressed(test.p.Do(test.b))
		if got.Verdict != test.want || got.Flawed.Total != test.bad || len(got.Flawed.List) != test.bad || got.Flawed.Timed != (test.bad > 0) {
			t.Errorf("%s: %+v", test.name, got)
		}
	}
}

// FuzzPress gives any bytes as the records of a batch to every codec: no panic, bounded memory, and what is
// taken is a whole batch with the same records.
func FuzzPress(f *testing.F) {
	for _, c := range packers {
		b := batch(c, f)
		f.Add(byte(c), byte(record.Zstd), uint16(b.Count()), []byte(b.Payload()))
		f.Add(byte(c), byte(record.None), uint16(b.Count()), []byte(b.Payload()[:b.Size()/3]))
	}
	for c, bomb := range bombs(f, 9<<20) {
		f.Add(byte(c), byte(record.LZ4), uint16(1), bomb)
	}
	f.Fuzz(func(t *testing.T, from, to byte, count uint16, payload []byte) {
		if len(payload) > 1<<17 {
			return
		}
		source, target := packers[int(from)%len(packers)], packers[int(to)%len(packers)]
		var w record.Builder
		b := record.Batch(append(bytes.Clone(w.Build()), payload...))
		binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
		binary.BigEndian.PutUint32(b[23:], uint32(count)-1)
		binary.BigEndian.PutUint32(b[57:], uint32(count))
		b[22] = byte(source)
		before := allocated()
		p := press(target)
		p.Terms = record.Terms{AppendTime: true}
		out := p.Do(b)
		if used, most := allocated()-before, uint64(4*record.PlainLimit(len(payload))+16<<20); used > most {
			t.Fatalf("%d bytes of %v took %d bytes of memory", len(payload), source, used)
		}
		got := record.ReadPressed(out)
		if got.Verdict != record.Repacked {
			return
		}
		x := record.Batch(got.Batch)
		if !x.CRCValid() || x.Codec() != target || x.Count() != int32(count) || len(x) > p.Room {
			t.Fatalf("%v became %x", source, x[:record.HeaderSize])
		}
		was, _ := Unzip(source, payload)
		now, err := Unzip(target, x.Payload())
		if err != nil || !bytes.Equal(was, now) {
			t.Fatalf("%v to %v: %d bytes became %d: %v", source, target, len(was), len(now), err)
		}
	})
}
