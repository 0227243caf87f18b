package replica

import "github.com/karst-stream/karst/core/det"

// Rare places that a sweep must reach, beside those that are named where they are.
var (
	markDisorder   = det.NewMark("replica: a batch out of order was refused")
	markRolled     = det.NewMark("replica: a batch began a new segment")
	markOutside    = det.NewMark("replica: a read asked for an offset outside of the log")
	markCold       = det.NewMark("replica: a read went below the window")
	markReadsLost  = det.NewMark("replica: a leader was deposed before a read was proved")
	markOffline    = det.NewMark("replica: a replica went offline")
	markHandedBack = det.NewMark("replica: a hand-over came to nothing")
	markLost       = det.NewMark("replica: a follower was told that its leader is gone")
	markShrank     = det.NewMark("replica: a replica left the in-sync set")
	markHanded     = det.NewMark("replica: a leader began to hand over")
)
