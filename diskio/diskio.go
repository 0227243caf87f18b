// Package diskio says what a disk is to Karst. It owns the contract between a shard's disk effects
// and whoever carries them out: posix on a machine, fake in the simulator; disktest holds both to it.
// It promises nothing by itself and refuses to know a format: a disk sees paths, offsets and bytes.
//
// The contract, beside the comments of core.Effect:
//
//   - Effects on one file happen in the order of Do, whatever their kind, and their completions come
//     in that order. Between files there is no order, not even when they share a directory or a name:
//     a file is made again under an old name only after the DiskDone of its Remove.
//   - A sync covers the writes asked for before it, never a later one. Until a sync that covers a
//     write has completed, the loss of power may leave the old bytes, the new or a mixture; the same
//     holds for sizes and directory entries.
//   - The first Create names a file. It opens what is there or makes it, directories included. After
//     Create with Sync no loss of power takes the entry, nor those of directories made on the way.
//   - A synced Remove does not exist: every Remove is durable at its DiskDone.
//   - A Read gives what earlier effects of the file left, and ErrShort with the bytes there are when
//     the file ends early.
//   - A failed sync breaks its file: that operation and all after it fail with the same error, for
//     ever, and so does a Create of the same path, because nobody knows what the device holds.
//   - A failed write or truncate breaks nothing; how much of it arrived is unknown.
//   - ErrNoSpac means that the device, or a quota, has no room for what was asked: the operation did
//     not happen, or a write in part, as if it had been shorter; nothing else is spoilt, the file
//     least of all, and the same operation may be asked for again as soon as there is room. ErrLimit
//     says the same of descriptors and memory. Only what may need room ends so: a write, a truncate
//     that makes longer, a Create of a file that is not there. A Remove, a Read and a write over
//     bytes that a file has already been given never do. Nor does a sync: one for which the system
//     found no room has lost pages like any other, and ends with ErrIO.
//   - An operation on a file that was never created, or was removed, ends with ErrGone.
//   - What List and ReadAt show is durable. Bytes that a killed process left in the page cache are
//     synced before they are shown, for otherwise a node would count as its own what the next loss
//     of power takes.
package diskio

import (
	"io"

	"github.com/karst-stream/karst/core"
)

// Done hears completions, all of one shard (core.OpID.Shard), in order per file. The slice is the
// disk's again when Done returns; the Refs in it are given away. It is called from any goroutine but
// never from inside Do or Flush.
type Done func(s core.ShardID, events []core.Event)

// Disk carries out disk effects. A shard calls the Boot methods before its first Do only.
type Disk interface {
	core.Boot

	// Do takes one disk effect (Create to Remove) and its Refs; the slice is the caller's again on
	// return. Do never blocks on a device, and may hold the effect until Flush.
	Do(e *core.Effect, vec []core.Ref)

	// Flush starts what shard s asked for since its last Flush: the end of one step. Effects of one
	// step are so seen together, and one sync serves them.
	Flush(s core.ShardID)

	// Region opens a file for a reader outside the order of effects, such as a socket; not ok when
	// the file is gone. The holder releases it. It reads whatever the file holds at that moment.
	Region(f core.FileID) (Region, bool)

	// Close ends the disk after the operations already flushed, and gives up the directory.
	Close()
}

// Region is a file held open.
type Region interface {
	io.ReaderAt
	Fd() (fd int, ok bool) // the descriptor, where there is one
	Release()
}
