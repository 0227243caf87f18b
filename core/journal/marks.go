package journal

import "github.com/karst-stream/karst/core/det"

// Rare places that a sweep must reach, beside those that are named where they are.
var (
	markTrimmed  = det.NewMark("journal: a file that nobody needs was removed")
	markBlank    = det.NewMark("journal: a start found a spare file")
	markTornBody = det.NewMark("journal: a start found a torn batch in the last frame")
	markReplaced = det.NewMark("journal: a start found entries that later ones replace")
)
