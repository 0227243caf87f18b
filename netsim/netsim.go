// Package netsim says what a network is to Karst. It owns the contract between a shard's network
// effects and whoever carries them out: tcp on a machine, fake in the simulator; nettest holds both
// to it. It refuses to know Kafka: a frame is bytes behind a 4-byte big-endian length.
//
// Clients, beside the comments of core.Event and core.Effect:
//
//   - Nobody connects before OpenGate. A connection has one home shard, in rotation; all its events
//     go there: ConnOpen first, ConnClosed last and once, whoever ended it.
//   - A frame arrives whole or not at all. Its length is not part of Body; a negative length or one
//     above the limit ends the connection. Check is what Config.Intake said of it; an Intake that
//     panics ends that connection only.
//   - At most core.Credits frames are read and not credited; then the reader waits.
//   - The bytes of SendConn go out as they are, lengths included: the driver adds nothing. ConnSent
//     counts each of them once, those that are lost with the connection excepted. A file region
//     that cannot be read in full ends the connection: wrong bytes never leave.
//   - CloseConn lets what was sent before leave, within a bound, then ends the connection.
//   - Effects for a connection that is gone are ignored, their Refs released.
//
// Peers:
//
//   - A node keeps one outgoing link to every other node and dials without end. PeerUp and PeerDown
//     alternate, PeerDown may come first (refused), both go to shard 0. Frames that a shard sends
//     while the link is down are dropped, and so is everything that it sent before its Step saw
//     PeerUp (Begin says when); frames of other shards wait for no hello but are dropped until shard
//     0 has sent the first frame of the link, which must be the hello.
//   - A frame is SendPeer's Vec, whole: it arrives once and in order, or is lost, and then all after
//     it are lost until the link is up again. A file region in it is read when it leaves, and filled
//     with zeros when the file has become shorter: receivers verify what they read.
//   - PeerSent counts every byte of SendPeer once, to the shard that sent it, whether it left or was
//     dropped: what is in flight is what was sent less what was counted, links up or down.
//   - The first frame of an incoming link is PeerHello on shard 0, with at most MaxHello bytes. After
//     AcceptPeer the others are PeerFrame on the shard that Config.Route names, with Link set. A newer
//     accepted link of a node replaces the older: no frame of the older comes after one of the newer.
//   - PeerClosed goes to shard 0, after PeerHello, once per link that had sent its hello.
package netsim

import (
	"io"

	"github.com/karst-stream/karst/core"
)

// Limits of frames, in bytes.
const (
	MaxHello     = 64 << 10          // the first frame of a peer link
	MaxPeerFrame = 64<<20 + 64<<10   // any other: 64 MiB of batches and what describes them
	MaxFrame     = 100 * 1024 * 1024 // of a client: Kafka's default of socket.request.max.bytes
)

// Config is what both networks are told by their node.
type Config struct {
	Node   core.NodeID
	Shards int

	// Intake judges a client frame where it arrives: pure, any goroutine (core/api).
	Intake func(frame core.Ref) any
	// Route names the shard of a peer frame after the hello: pure, any goroutine (core/shard).
	Route func(frame []byte) core.ShardID
	// Post delivers events to a shard in order. The slice is the network's again on return, the
	// Refs in it are given away.
	Post func(to core.ShardID, events []core.Event)
}

// Net carries out network effects.
type Net interface {
	// Do takes one network effect of shard s (SendConn to DropPeer) and its Refs; the slice is the
	// caller's again on return. Do never blocks, and may hold the effect until Flush.
	Do(s core.ShardID, e *core.Effect, vec []core.Ref)

	// Flush starts what shard s asked for since its last Flush: the end of one step.
	Flush(s core.ShardID)

	// Begin says which events the next Step of shard s sees; it comes before that Step. From then on
	// frames may follow a PeerUp, and the memory of a PeerFrame counts as the shard's own.
	Begin(s core.ShardID, events []core.Event)

	// Close ends every connection and link at once. No event comes after it.
	Close()
}

// Region is a file held open for reading; diskio has the same.
type Region interface {
	io.ReaderAt
	Fd() (fd int, ok bool)
	Release()
}
