package demo

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// compareSegments says how many bytes of the topic's segment files are the same on every node, up to
// the high watermarks. Followers may be some milliseconds behind with files, so it looks again.
func compareSegments(ctx context.Context, dirs []string, ends [partitions]int64) (total int64, err error) {
	for deadline := time.Now().Add(10 * time.Second); ; {
		total, err = compareOnce(dirs, ends)
		if err == nil || time.Now().After(deadline) {
			return total, err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func compareOnce(dirs []string, ends [partitions]int64) (total int64, err error) {
	for p, end := range ends {
		var names []string
		for i, dir := range dirs {
			found, err := segmentNames(dir, p)
			if err != nil {
				return 0, err
			}
			if i > 0 && !slices.Equal(found, names) {
				return 0, fmt.Errorf("partition %d: other files in %s", p, dir)
			}
			names = found
		}
		at := int64(0)
		for _, name := range names {
			n, next, err := compareFile(dirs, p, name, at, end)
			if err != nil {
				return 0, err
			}
			total, at = total+n, next
		}
		if at < end {
			return 0, fmt.Errorf("partition %d: files end at offset %d, the high watermark is %d", p, at, end)
		}
	}
	return total, nil
}

func segmentNames(dir string, p int) ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(dir, fmt.Sprintf("%s-%d", topic, p), "*.log"))
	for i := range paths {
		paths[i] = filepath.Base(paths[i])
	}
	slices.Sort(paths)
	return paths, err
}

// compareFile compares one segment on all nodes up to the batch that reaches end. It gives the bytes
// compared and the offset after them.
func compareFile(dirs []string, p int, name string, at, end int64) (n, next int64, err error) {
	var first []byte
	for i, dir := range dirs {
		path := filepath.Join(dir, fmt.Sprintf("%s-%d", topic, p), name)
		if i == 0 {
			if first, next, err = readUpTo(path, at, end); err != nil {
				return 0, at, err
			}
			continue
		}
		f, err := os.Open(path)
		if err != nil {
			return 0, at, err
		}
		err = sameBytes(f, first)
		f.Close()
		if err != nil {
			return 0, at, fmt.Errorf("partition %d: %s differs in %s: %w", p, name, dir, err)
		}
	}
	return int64(len(first)), next, nil
}

// readUpTo reads whole batches, which must follow each other, until one reaches end.
func readUpTo(path string, at, end int64) ([]byte, int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, at, err
	}
	const batchHeader = 61
	pos := 0
	for at < end && len(b)-pos >= batchHeader {
		base := int64(binary.BigEndian.Uint64(b[pos:]))
		length := int(binary.BigEndian.Uint32(b[pos+8:])) + 12
		if length < batchHeader || length > len(b)-pos {
			break // not yet written to its end
		}
		if base != at {
			return nil, at, fmt.Errorf("%s: a batch at offset %d where %d is due", path, base, at)
		}
		at = base + int64(binary.BigEndian.Uint32(b[pos+23:])) + 1
		pos += length
	}
	return b[:pos], at, nil
}

func sameBytes(f io.Reader, want []byte) error {
	buf := make([]byte, 256<<10)
	for pos := 0; pos < len(want); {
		k, err := f.Read(buf[:min(len(buf), len(want)-pos)])
		if err != nil {
			return errors.Join(fmt.Errorf("only %d of %d bytes", pos, len(want)), err)
		}
		if string(buf[:k]) != string(want[pos:pos+k]) {
			return fmt.Errorf("between byte %d and %d", pos, pos+k)
		}
		pos += k
	}
	return nil
}
