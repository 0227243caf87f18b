package config

import (
	"errors"
	"slices"
	"strconv"
	"strings"
)

// Valid says which values of its type a key takes. The zero value takes all.
type Valid struct {
	min, max       int64
	hasMin, hasMax bool
	also           []int64  // taken although outside the range
	oneOf          []string // for strings, and for each element of a list
	form           form
}

// form is a rule on the text of a value that is neither a range nor an enumeration.
type form uint8

const (
	anyForm          form = iota
	unitInterval          // a double in [0, 1]
	throttleReplicas      // "*", or partition:broker pairs
)

func atLeast(n int64) Valid      { return Valid{min: n, hasMin: true} }
func between(lo, hi int64) Valid { return Valid{min: lo, max: hi, hasMin: true, hasMax: true} }
func oneOf(s ...string) Valid    { return Valid{oneOf: s} }

func (v Valid) or(n ...int64) Valid { v.also = n; return v }

// String is the rule for the reference page.
func (v Valid) String() string {
	switch {
	case v.oneOf != nil:
		return strings.Join(v.oneOf, ", ")
	case v.form == unitInterval:
		return "[0, 1]"
	case v.form == throttleReplicas:
		return "* or PARTITION:BROKER,..."
	case !v.hasMin && !v.hasMax:
		return ""
	}
	s := "at least " + strconv.FormatInt(v.min, 10)
	if v.hasMax {
		s = "[" + strconv.FormatInt(v.min, 10) + ", " + strconv.FormatInt(v.max, 10) + "]"
	}
	for _, n := range v.also {
		s += " or " + strconv.FormatInt(n, 10)
	}
	return s
}

func (k *Key) bad(v, why string) error {
	return errors.New("Invalid value " + v + " for configuration " + k.Name + ": " + why)
}

// Validate is Parse for those who need only the error.
func Validate(k *Key, v string) error {
	_, err := k.Parse(v)
	return err
}

// Parse checks a value and returns it in the form that Kafka shows (trimmed, lists without blanks,
// numbers without leading zeros). Errors read as ConfigDef's do, because tools look into them.
func (k *Key) Parse(v string) (string, error) {
	v = strings.TrimSpace(v)
	switch k.Type {
	case Boolean:
		switch {
		case strings.EqualFold(v, "true"):
			return "true", nil
		case strings.EqualFold(v, "false"):
			return "false", nil
		}
		return "", k.bad(v, "Expected value to be either true or false")
	case Int:
		return k.parseInt(v, 32, "INT")
	case Short:
		return k.parseInt(v, 16, "SHORT")
	case Long:
		return k.parseInt(v, 64, "LONG")
	case Double:
		return k.parseDouble(v)
	case List:
		return k.parseList(v)
	}
	if k.Valid.oneOf != nil && !slices.Contains(k.Valid.oneOf, v) {
		return "", k.bad(v, "String must be one of: "+strings.Join(k.Valid.oneOf, ", "))
	}
	return v, nil
}

func (k *Key) parseInt(v string, bits int, name string) (string, error) {
	n, err := strconv.ParseInt(v, 10, bits)
	if err != nil {
		return "", k.bad(v, "Not a number of type "+name)
	}
	if slices.Contains(k.Valid.also, n) {
		return strconv.FormatInt(n, 10), nil
	}
	if k.Valid.hasMin && n < k.Valid.min {
		return "", k.bad(v, "Value must be at least "+strconv.FormatInt(k.Valid.min, 10))
	}
	if k.Valid.hasMax && n > k.Valid.max {
		return "", k.bad(v, "Value must be no more than "+strconv.FormatInt(k.Valid.max, 10))
	}
	return strconv.FormatInt(n, 10), nil
}

// parseDouble reads a decimal number as text: the core has no floats. A number with an exponent is
// taken, and kept as it is, only where any number is.
func (k *Key) parseDouble(v string) (string, error) {
	if mantissa, exp, ok := strings.Cut(strings.ToUpper(v), "E"); ok && k.Valid.form == anyForm {
		_, err := strconv.ParseInt(exp, 10, 16)
		if _, bad := k.parseDouble(mantissa); bad == nil && err == nil {
			return strings.ToUpper(v), nil
		}
	}
	digits, negative := strings.CutPrefix(v, "-")
	digits = strings.TrimPrefix(digits, "+")
	whole, part, _ := strings.Cut(digits, ".")
	if whole+part == "" || len(digits) > 40 || strings.Trim(whole+part, "0123456789") != "" {
		return "", k.bad(v, "Not a number of type DOUBLE")
	}
	if whole = strings.TrimLeft(whole, "0"); whole == "" {
		whole = "0"
	}
	part = strings.TrimRight(part, "0")
	zero := whole == "0" && part == ""
	if k.Valid.form == unitInterval {
		if negative && !zero {
			return "", k.bad(v, "Value must be at least 0")
		}
		if whole != "0" && (whole != "1" || part != "") {
			return "", k.bad(v, "Value must be no more than 1")
		}
	}
	if part == "" {
		part = "0"
	}
	if negative && !zero {
		whole = "-" + whole
	}
	return whole + "." + part, nil
}

func (k *Key) parseList(v string) (string, error) {
	if v == "" {
		return "", nil
	}
	parts := strings.Split(v, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
		if k.Valid.oneOf != nil && !slices.Contains(k.Valid.oneOf, parts[i]) {
			return "", k.bad(parts[i], "String must be one of: "+strings.Join(k.Valid.oneOf, ", "))
		}
		if k.Valid.oneOf != nil && slices.Contains(parts[:i], parts[i]) {
			return "", k.bad(v, "Configuration '"+k.Name+"' values must not be duplicated.")
		}
	}
	if k.Valid.form == throttleReplicas && !throttleList(parts) {
		return "", k.bad(v, k.Name+" must be the literal '*' or a list of replicas in the following format: "+
			"[partitionId]:[brokerId],[partitionId]:[brokerId],...")
	}
	return strings.Join(parts, ","), nil
}

func throttleList(parts []string) bool {
	if len(parts) == 1 && parts[0] == "*" {
		return true
	}
	for _, p := range parts {
		partition, broker, ok := strings.Cut(p, ":")
		if !ok || partition == "" || broker == "" || strings.Trim(partition+broker, "0123456789") != "" {
			return false
		}
	}
	return true
}

// Throttles says whether a list of throttled replicas, as it is stored, names the replica of a partition on a node
// (DynamicTopicConfig, ReplicationQuotaManager).
func Throttles(list string, partition, node int32) bool {
	if list == "" || list == "*" {
		return list != ""
	}
	for _, p := range strings.Split(list, ",") {
		part, broker, _ := strings.Cut(p, ":")
		a, err := strconv.ParseInt(part, 10, 32)
		b, err2 := strconv.ParseInt(broker, 10, 32)
		if err == nil && err2 == nil && a == int64(partition) && b == int64(node) {
			return true
		}
	}
	return false
}

// ValidateTopic checks the settings of one topic together and returns them in the form to store. An
// error is Kafka's INVALID_CONFIG; for an unknown name it ends with the nearest one.
func ValidateTopic(kvs []KV) ([]KV, error) {
	out := Sort(slices.Clone(kvs))
	for i := range out {
		k, ok := LookupTopic(out[i].Key)
		if !ok {
			return nil, errors.New("Unknown topic config name: " + out[i].Key + suggestion(out[i].Key, Topic))
		}
		v, err := k.Parse(out[i].Value)
		if err != nil {
			return nil, err
		}
		out[i].Value = v
	}
	if v, _ := Find(out, "remote.storage.enable"); v == "true" {
		return nil, errors.New("Tiered Storage functionality is disabled in the broker. " +
			"Topic cannot be configured with remote log storage.")
	}
	l := Layers{Topic: out}
	lo, hi := l.int64Of(topics, "min.compaction.lag.ms"), l.int64Of(topics, "max.compaction.lag.ms")
	if lo > hi {
		return nil, errors.New("conflict topic config setting min.compaction.lag.ms (" + strconv.FormatInt(lo, 10) +
			") > max.compaction.lag.ms (" + strconv.FormatInt(hi, 10) + ")")
	}
	return out, nil
}

// ValidateDynamic checks settings that IncrementalAlterConfigs asks for on brokers, as ValidateTopic
// does: names that only a restart can change are refused as well.
func ValidateDynamic(kvs []KV) ([]KV, error) {
	out, err := ValidateStatic(kvs)
	if err != nil {
		return nil, err
	}
	for i := range out {
		if k, _ := LookupBroker(out[i].Key); k.ReadOnly {
			return nil, errors.New("Cannot update these configs dynamically: [" + out[i].Key + "]")
		}
	}
	return out, nil
}

// ValidateStatic checks settings of a file, of the environment or of flags. Aliases are stored under
// the name of their key.
func ValidateStatic(kvs []KV) ([]KV, error) {
	out := slices.Clone(kvs)
	for i := range out {
		k, ok := LookupBroker(out[i].Key)
		if !ok {
			return nil, errors.New("Unknown config name: " + out[i].Key + suggestion(out[i].Key, Cluster))
		}
		v, err := k.Parse(out[i].Value)
		if err != nil {
			return nil, err
		}
		out[i] = KV{k.Name, v}
	}
	return Sort(out), nil
}

func suggestion(name string, s Scope) string {
	if near := Nearest(name, s); near != "" {
		return " (did you mean " + near + "?)"
	}
	return ""
}

// Nearest is the known name that differs least from name, of topics (Topic) or of brokers and nodes
// (any other scope); empty when none is near. Of equally near ones the first in order wins.
func Nearest(name string, s Scope) string {
	keys := brokers.keys
	if s == Topic {
		keys = topics.keys
	}
	name = strings.ToLower(name)
	if len(name) > 128 {
		return ""
	}
	if s == Topic {
		for _, k := range keys {
			if slices.Contains(k.Kafka, name) {
				return k.Name
			}
		}
	}
	best, limit := "", max(2, len(name)/3)
	for _, k := range keys {
		if d := distance(name, k.Name, limit); d <= limit {
			if best == "" || d < limit {
				best = k.Name
			}
			limit = d
		}
	}
	return best
}

// distance is Levenshtein's, where '_', '-' and '.' count as equal. It may return any number above
// limit once the distance is known to be more.
func distance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diag := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diag
			if fold(a[i-1]) != fold(b[j-1]) {
				cost = min(diag, row[j], row[j-1]) + 1
			}
			diag, row[j] = row[j], cost
		}
	}
	return row[len(b)]
}

func fold(c byte) byte {
	if c == '_' || c == '-' {
		return '.'
	}
	return c
}
