package demo

import (
	"bufio"
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
)

// sample holds the first 200,000 rows of the flights of 2001, and the header.
//
//go:embed flights-200k.csv.zst
var sample []byte

const header = "date,delay,distance,origin,destination"

// rows reads flights one by one. The rows are counted first, because the pace and the books depend
// on how many there are; counting three million takes a third of a second.
type rows struct {
	total int
	file  *os.File
	zr    *zstd.Decoder
	in    *bufio.Reader
	next  int
}

func openRows(path string) (*rows, error) {
	r := &rows{}
	src := func() io.Reader { return bytes.NewReader(sample) }
	if path != "" {
		f, err := os.Open(path)
		if err != nil {
			return nil, catalogue.BadFile.New("cannot read the flights: %v", err).Wrap(err).Try("karst demo        takes the sample")
		}
		r.file = f
		src = func() io.Reader {
			f.Seek(0, io.SeekStart)
			return f
		}
	}
	bad := func(err error) (*rows, error) {
		r.Close()
		return nil, catalogue.DemoFile.New("%s does not hold flights: %v", path, err).Wrap(err)
	}
	var err error
	if r.zr, err = zstd.NewReader(src(), zstd.WithDecoderConcurrency(1)); err != nil {
		return bad(err)
	}
	r.in = bufio.NewReaderSize(r.zr, 256<<10)
	first, err := r.in.ReadString('\n')
	if err != nil || first != header+"\n" {
		return bad(fmt.Errorf("the first line is not %q", header))
	}
	if r.total, err = countLines(r.in); err != nil {
		return bad(err)
	}
	if r.total == 0 {
		return bad(errors.New("no row after the header"))
	}
	if err = r.zr.Reset(src()); err != nil {
		return bad(err)
	}
	r.in.Reset(r.zr)
	if _, err = r.in.ReadString('\n'); err != nil {
		return bad(err)
	}
	return r, nil
}

func countLines(in *bufio.Reader) (n int, err error) {
	buf := make([]byte, 128<<10)
	for {
		k, err := in.Read(buf)
		n += bytes.Count(buf[:k], []byte{'\n'})
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// row is one flight: its number, its text and its origin within it. The bytes are its own.
type row struct {
	number int
	text   []byte
	origin []byte
}

// read gives the next row, or io.EOF.
func (r *rows) read() (row, error) {
	line, err := r.in.ReadSlice('\n')
	if errors.Is(err, io.EOF) && len(line) == 0 || r.next == r.total {
		return row{}, io.EOF
	}
	if err != nil {
		return row{}, err
	}
	text := bytes.Clone(line[:len(line)-1])
	origin, ok := field(text, 3)
	if !ok {
		return row{}, fmt.Errorf("row %d has no origin: %q", r.next, text)
	}
	out := row{r.next, text, origin}
	r.next++
	return out, nil
}

// field is the nth field of a line without quotes.
func field(line []byte, n int) ([]byte, bool) {
	for range n {
		i := bytes.IndexByte(line, ',')
		if i < 0 {
			return nil, false
		}
		line = line[i+1:]
	}
	if i := bytes.IndexByte(line, ','); i >= 0 {
		line = line[:i]
	}
	return line, true
}

func (r *rows) Close() {
	if r.zr != nil {
		r.zr.Close()
	}
	if r.file != nil {
		r.file.Close()
	}
}
