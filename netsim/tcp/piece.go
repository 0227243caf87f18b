package tcp

import (
	"errors"
	"sync/atomic"

	"github.com/karst-stream/karst/core"
)

// Regions of files go to sockets in pieces. A large one costs fewer calls, and a small one less memory: whoever comes when
// so many others hold large ones gets small ones, and never waits for them.
const (
	largePiece  = 1 << 20
	smallPiece  = 64 << 10
	largePieces = 64
)

var errShortFile = errors.New("a file region cannot be read in full")

// piece is memory between a file and a socket.
type piece struct{ core.Ref }

var large atomic.Int32 // pieces that are out

// takePiece gives memory for the first bytes of so many.
func takePiece(left int64) piece {
	if left <= smallPiece {
		return piece{core.NewRef(int(left))}
	}
	if large.Add(1) > largePieces {
		large.Add(-1)
		return piece{core.NewRef(smallPiece)}
	}
	return piece{core.NewRef(int(min(left, largePiece)))}
}

func (p piece) give() {
	if p.Len > smallPiece {
		large.Add(-1)
	}
	p.Release()
}
