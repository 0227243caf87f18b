package meta

import "github.com/karst-stream/karst/core/det"

// Rare places that a sweep must reach, beside those that are named where they are.
var (
	markExists  = det.NewMark("meta: a topic that exists was to be created")
	markDeleted = det.NewMark("meta: a topic was deleted")
	markGrown   = det.NewMark("meta: a topic got more partitions")
	markGranted = det.NewMark("meta: a node got a new incarnation")
	markAgain   = det.NewMark("meta: a broker registered again")
)
