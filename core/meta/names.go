package meta

import (
	"slices"
	"strconv"
	"strings"
)

// Names of Kafka's own topics (org.apache.kafka.common.internals.Topic).
const (
	OffsetsTopic      = "__consumer_offsets"
	TransactionsTopic = "__transaction_state"
	MetadataTopic     = "__cluster_metadata" // the log of this machine; clients never see it as a topic
)

// Internal says whether Kafka counts a topic as its own.
func Internal(name string) bool { return name == OffsetsTopic || name == TransactionsTopic }

const maxName = 249 // so that "NAME-PARTITION" is a file name

// CheckName says in Kafka's words why name cannot be a topic's; "" when it can.
func CheckName(name string) string {
	why := ""
	switch {
	case name == "":
		why = "the empty string is not allowed"
	case name == "." || name == "..":
		why = "'" + name + "' is not allowed"
	case len(name) > maxName:
		why = "the length of '" + name + "' is longer than the max allowed length " + strconv.Itoa(maxName)
	case !legal(name):
		why = "'" + name + "' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
	default:
		return ""
	}
	return "Topic name is invalid: " + why
}

func legal(name string) bool {
	for i := 0; i < len(name); i++ {
		c := name[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}

// unified is the order in which '.' and '_' are one: two names that Kafka's metrics cannot tell apart
// compare as equal.
func unified(a, b string) int {
	for i := 0; i < len(a) && i < len(b); i++ {
		x, y := a[i], b[i]
		if x == '.' {
			x = '_'
		}
		if y == '.' {
			y = '_'
		}
		if x != y {
			return int(x) - int(y)
		}
	}
	return len(a) - len(b)
}

func dotted(name string) bool { return strings.ContainsAny(name, "._") }

// collision is an existing topic that differs from name in '.' and '_' only, or "".
func (v *View) collision(name string) string {
	if !dotted(name) {
		return ""
	}
	if i, ok := slices.BinarySearchFunc(v.dotted, name, unified); ok {
		return v.dotted[i]
	}
	return ""
}
