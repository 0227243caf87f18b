package shard

import "github.com/karst-stream/karst/core/det"

// Rare places that a sweep must reach, beside those that are named where they are.
var (
	markCoordLost = det.NewMark("shard: a coordinator lost its partition")
	markCoordFull = det.NewMark("shard: a coordinator had no room to write")
	markLoading   = det.NewMark("shard: a coordinator was asked while it loads")
	markUnproved  = det.NewMark("shard: a coordinator could not prove that it leads")
	markEpochOld  = det.NewMark("shard: a client believed in an older leader")
	markEpochNew  = det.NewMark("shard: a client knew of a newer leader")
)
