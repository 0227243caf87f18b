// Package link connects a command to a cluster. It owns where the bootstrap addresses come from and
// how the errors of the client library become entries of the catalogue; it promises that a cluster
// that is not there is reported at once, with a line for every address tried. It refuses to keep
// trying behind the user's back.
package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
)

// Local is where a cluster is looked for when nothing else is said.
const Local = "127.0.0.1:9092"

// Default is the bootstrap list of the environment, or Local.
func Default() string {
	if b := os.Getenv("KARST_BOOTSTRAP"); b != "" {
		return b
	}
	return Local
}

// Codec is a compression by the name that Kafka gives it.
func Codec(name string) (kgo.CompressionCodec, bool) {
	switch name {
	case "none":
		return kgo.NoCompression(), true
	case "gzip":
		return kgo.GzipCompression(), true
	case "snappy":
		return kgo.SnappyCompression(), true
	case "lz4":
		return kgo.Lz4Compression(), true
	case "zstd":
		return kgo.ZstdCompression(), true
	}
	return kgo.NoCompression(), false
}

// Acks are a producer's options for Kafka's word: who must have a record before it is answered.
func Acks(word string) ([]kgo.Opt, bool) {
	switch word {
	case "all", "-1":
		return []kgo.Opt{kgo.RequiredAcks(kgo.AllISRAcks())}, true
	case "1":
		return []kgo.Opt{kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite()}, true
	case "0":
		return []kgo.Opt{kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite()}, true
	}
	return nil, false
}

// Target says which cluster a command speaks to, and for how long.
type Target struct {
	Bootstrap string        // HOST:PORT,..
	Timeout   time.Duration // of the whole command; 0: none
}

// Seeds splits the bootstrap list; a missing port is Kafka's 9092.
func (t Target) Seeds() (seeds []string) {
	for s := range strings.SplitSeq(t.Bootstrap, ",") {
		s = strings.TrimSpace(s)
		if s == "" {
			continue
		}
		if _, _, err := net.SplitHostPort(s); err != nil {
			s = net.JoinHostPort(strings.Trim(s, "[]"), "9092")
		}
		seeds = append(seeds, s)
	}
	return seeds
}

// Context bounds ctx by the target's timeout.
func (t Target) Context(ctx context.Context) (context.Context, context.CancelFunc) {
	if t.Timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, t.Timeout)
}

// Open makes a client after at least one seed accepted a connection.
func (t Target) Open(ctx context.Context, opts ...kgo.Opt) (*kgo.Client, error) {
	if err := t.reach(ctx); err != nil {
		return nil, err
	}
	base := []kgo.Opt{
		kgo.SeedBrokers(t.Seeds()...),
		kgo.ClientID("karst"),
		kgo.SoftwareNameAndVersion("karst-cli", "1"),
		kgo.DisableClientMetrics(),
		kgo.DialTimeout(3 * time.Second),
		kgo.MetadataMinAge(50 * time.Millisecond),
		kgo.RetryBackoffFn(func(n int) time.Duration {
			return min(time.Duration(n)*20*time.Millisecond, 250*time.Millisecond)
		}),
	}
	cl, err := kgo.NewClient(append(base, opts...)...)
	if err != nil {
		return nil, catalogue.BadFlag.New("%v", err).Wrap(err)
	}
	return cl, nil
}

// Admin is Open for administration.
func (t Target) Admin(ctx context.Context) (*kadm.Client, error) {
	cl, err := t.Open(ctx)
	if err != nil {
		return nil, err
	}
	adm := kadm.NewClient(cl)
	if left, ok := ctx.Deadline(); ok {
		adm.SetTimeoutMillis(int32(max(time.Until(left).Milliseconds()-200, 500)))
	}
	return adm, nil
}

// reach dials the seeds one after the other until one accepts.
func (t Target) reach(ctx context.Context) error {
	var tried []string
	for _, seed := range t.Seeds() {
		d := net.Dialer{Timeout: 3 * time.Second}
		conn, err := d.DialContext(ctx, "tcp", seed)
		if err == nil {
			conn.Close()
			return nil
		}
		tried = append(tried, seed+": "+reason(err))
	}
	if len(tried) == 0 {
		return catalogue.BadFlag.New("the bootstrap list %q names no address", t.Bootstrap)
	}
	return catalogue.Unreachable.New("no broker answers at %s", t.Bootstrap).Because(tried...)
}

// reason is the innermost text of a dial error: "connection refused", not the way to it.
func reason(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	var sys *os.SyscallError
	if errors.As(err, &sys) {
		err = sys.Err
	}
	return err.Error()
}

// kafkaErrors says which entry an error code of Kafka belongs to; the rest is BrokerRefused.
var kafkaErrors = map[int16]*catalogue.Entry{
	kerr.UnknownTopicOrPartition.Code:      catalogue.TopicUnknown,
	kerr.UnknownTopicID.Code:               catalogue.TopicUnknown,
	kerr.TopicAlreadyExists.Code:           catalogue.TopicThere,
	kerr.InvalidReplicationFactor.Code:     catalogue.TooFewNodes,
	kerr.InvalidTopicException.Code:        catalogue.BadTopicName,
	kerr.InvalidPartitions.Code:            catalogue.BadPartitions,
	kerr.InvalidConfig.Code:                catalogue.BadTopicConfig,
	kerr.GroupIDNotFound.Code:              catalogue.GroupUnknown,
	kerr.NonEmptyGroup.Code:                catalogue.GroupBusy,
	kerr.UnknownMemberID.Code:              catalogue.GroupBusy,
	kerr.TopicAuthorizationFailed.Code:     catalogue.Unauthorised,
	kerr.GroupAuthorizationFailed.Code:     catalogue.Unauthorised,
	kerr.ClusterAuthorizationFailed.Code:   catalogue.Unauthorised,
	kerr.SaslAuthenticationFailed.Code:     catalogue.Unauthorised,
	kerr.MessageTooLarge.Code:              catalogue.TooLarge,
	kerr.RecordListTooLarge.Code:           catalogue.TooLarge,
	kerr.RequestTimedOut.Code:              catalogue.NoAnswer,
	kerr.NotEnoughReplicas.Code:            catalogue.NotProduced,
	kerr.NotEnoughReplicasAfterAppend.Code: catalogue.NotProduced,
}

// Explain turns an error of the client library into one of the catalogue. The doing completes
// "cannot ...", and message is what the broker said beyond the code, if anything.
func Explain(err error, message, doing string, args ...any) *catalogue.Error {
	var known *catalogue.Error
	if errors.As(err, &known) {
		return known
	}
	doing = "cannot " + fmt.Sprintf(doing, args...)
	var ke *kerr.Error
	var op *net.OpError
	switch {
	case errors.As(err, &ke):
		entry, ok := kafkaErrors[ke.Code]
		if !ok {
			entry = catalogue.BrokerRefused
		}
		if message == "" {
			message = strings.TrimSuffix(ke.Description, ".")
		}
		e := entry.New("%s: %s", doing, message).Wrap(err)
		return e.Because("the broker answered " + ke.Message)
	case errors.Is(err, context.DeadlineExceeded):
		return catalogue.NoAnswer.New("%s: no answer in time", doing).Wrap(err)
	case errors.Is(err, kgo.ErrRecordTimeout), errors.Is(err, kgo.ErrRecordRetries):
		return catalogue.NotProduced.New("%s: %v", doing, err).Wrap(err)
	case errors.As(err, &op):
		return catalogue.Unreachable.New("%s: %s", doing, reason(err)).Wrap(err)
	}
	return catalogue.Internal.New("%s: %v", doing, err).Wrap(err)
}
