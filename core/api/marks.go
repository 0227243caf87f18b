package api

import "github.com/karst-stream/karst/core/det"

// Rare places of requests and of their refusals, which a sweep must reach.
var (
	markNoSession   = det.NewMark("api: a fetch named a session that is not there")
	markNoHigh      = det.NewMark("api: a fetch ended before a new leader knew its high watermark")
	markFetchHint   = det.NewMark("api: a fetch was told who leads")
	markProduceHint = det.NewMark("api: a producer was told who leads")
	markProduceLate = det.NewMark("api: a produce request timed out")
	markAwaited     = det.NewMark("api: an answer waited for leaders")
	markInVain      = det.NewMark("api: an answer waited for leaders in vain")
	markOldNews     = det.NewMark("api: an admin read did not wait for the metadata leader any longer")
	markListEarly   = det.NewMark("api: a new leader was asked for its latest offset")
	markUnreadable  = det.NewMark("api: a frame that cannot be served ended its connection")
	markUnanswered  = det.NewMark("api: a connection ended with requests unanswered")
)
