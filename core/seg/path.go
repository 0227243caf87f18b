// Package seg owns the arithmetic of segment files: their names, the offset and the time index beside
// them, walks over the batch headers in parts of them, and the scan that says how far a file is valid. A
// segment holds Kafka batches and nothing else, byte-equal on every replica; its indexes are Kafka's, a
// function of its batches, and made again by a scan. The package refuses to read or write: bytes come in,
// bytes and positions go out; and to believe an index file whose sum it does not know.
package seg

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/karst-stream/karst/core"
)

const (
	suffix   = ".log"
	digits   = 20  // of a base offset in a file's name, as Kafka pads it
	maxTopic = 249 // Topic.java: with "-", the partition and Kafka's ".delete" it fits 255
)

// ValidTopic is Kafka's rule for topic names (Topic.java): 1 to 249 of [a-zA-Z0-9._-], neither "."
// nor "..". The error is fit for a client: INVALID_TOPIC_EXCEPTION.
func ValidTopic(name string) error {
	switch {
	case name == "":
		return errors.New("topic name is empty")
	case name == "." || name == "..":
		return fmt.Errorf("topic name is %q: neither \".\" nor \"..\" is allowed", name)
	case len(name) > maxTopic:
		return fmt.Errorf("topic name has %d characters: at most %d are allowed", len(name), maxTopic)
	}
	for i := range len(name) {
		c := name[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("._-", c) >= 0) {
			return fmt.Errorf("topic name %q has a character other than ASCII letters, digits, '.', '_' and '-'", name)
		}
	}
	return nil
}

// Collides says that two different topics differ only in '.' and '_', which Kafka refuses to create,
// because their metrics have the same name (Topic.hasCollision).
func Collides(a, b string) bool {
	return a != b && strings.ReplaceAll(a, ".", "_") == strings.ReplaceAll(b, ".", "_")
}

// Dir is the directory of a partition below the data directory.
func Dir(topic string, partition int32) string {
	return topic + "-" + strconv.Itoa(int(partition))
}

// ParseDir is the inverse of Dir; a topic may itself hold dashes and digits, so the last dash parts.
func ParseDir(dir string) (topic string, partition int32, ok bool) {
	i := strings.LastIndexByte(dir, '-')
	if i < 0 {
		return "", 0, false
	}
	p, err := strconv.ParseUint(dir[i+1:], 10, 31)
	if err != nil || ValidTopic(dir[:i]) != nil || Dir(dir[:i], int32(p)) != dir {
		return "", 0, false
	}
	return dir[:i], int32(p), true
}

// Path is the file of the segment that begins at base.
func Path(dir string, base core.Offset) string {
	return fmt.Sprintf("%s/%0*d%s", dir, digits, base, suffix)
}

// PathOf is the file of a segment of a generation: the index of the decision that compaction wrote it for, 0 for one
// that holds what was appended. The base comes first and ends at a dot, as Kafka's tools expect it.
func PathOf(dir string, base core.Offset, gen uint64) string {
	return fmt.Sprintf("%s/%0*d%s%s", dir, digits, base, generation(gen), suffix)
}

// IndexPathOf is an index file of such a segment.
func IndexPathOf(dir string, base core.Offset, gen uint64, k Kind) string {
	return fmt.Sprintf("%s/%0*d%s%s", dir, digits, base, generation(gen), suffixes[k])
}

func generation(gen uint64) string {
	if gen == 0 {
		return ""
	}
	return fmt.Sprintf(".%0*d", digits, gen)
}

// Generation is that of a file whose path ParsePath or ParseIndexPath takes.
func Generation(path string) uint64 {
	_, name, _ := strings.Cut(path, "/")
	if len(name) < 2*digits+2 || name[2*digits+1] != '.' {
		return 0
	}
	gen, err := strconv.ParseUint(name[digits+1:2*digits+1], 10, 64)
	if err != nil {
		return 0
	}
	return gen
}

// suffixes of index files, as Kafka's (LogFileUtils.java).
var suffixes = [Kinds]string{".index", ".timeindex"}

// IndexPath is an index file of the segment that begins at base.
func IndexPath(dir string, base core.Offset, k Kind) string {
	return fmt.Sprintf("%s/%0*d%s", dir, digits, base, suffixes[k])
}

// txnSuffix is that of transaction indexes (LogFileUtils.java).
const txnSuffix = ".txnindex"

// TxnPath is the transaction index of the segment that begins at base.
func TxnPath(dir string, base core.Offset) string {
	return fmt.Sprintf("%s/%0*d%s", dir, digits, base, txnSuffix)
}

// ParseTxnPath is the inverse of TxnPath.
func ParseTxnPath(path string) (dir string, base core.Offset, ok bool) { return parse(path, txnSuffix) }

// ParsePath is the inverse of Path and, with Generation, of PathOf; false for every path that these and Dir do not make.
func ParsePath(path string) (dir string, base core.Offset, ok bool) {
	return parse(path, suffix)
}

// ParseIndexPath is the inverse of IndexPath.
func ParseIndexPath(path string) (dir string, base core.Offset, k Kind, ok bool) {
	for k := range Kinds {
		if dir, base, ok := parse(path, suffixes[k]); ok {
			return dir, base, k, true
		}
	}
	return "", 0, 0, false
}

func parse(path, suffix string) (dir string, base core.Offset, ok bool) {
	dir, name, ok := strings.Cut(path, "/")
	if !ok || len(name) < digits+len(suffix) {
		return "", 0, false
	}
	if rest := name[digits:]; rest != suffix {
		gen, err := strconv.ParseUint(rest[min(1, len(rest)):min(digits+1, len(rest))], 10, 64)
		if err != nil || gen == 0 || rest != generation(gen)+suffix {
			return "", 0, false
		}
	}
	n, err := strconv.ParseUint(name[:digits], 10, 63)
	if err != nil {
		return "", 0, false
	}
	if _, _, ok := ParseDir(dir); !ok {
		return "", 0, false
	}
	return dir, core.Offset(n), true
}
