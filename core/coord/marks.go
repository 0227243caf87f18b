package coord

import "github.com/karst-stream/karst/core/det"

// Rare places of requests and of their refusals, which a sweep must reach.
var (
	markFenced      = det.NewMark("coord: a fenced static member was refused")
	markRevived     = det.NewMark("coord: a new coordinator found a group with members")
	markJoinTwice   = det.NewMark("coord: a member joined again while its JoinGroup waited")
	markLeftAlone   = det.NewMark("coord: a coordinator resigned while members waited")
	markSessionEnd  = det.NewMark("coord: the session of a member ended")
	markPendingEnd  = det.NewMark("coord: an id was handed out and nobody joined with it")
	markNotBack     = det.NewMark("coord: a rebalance ended without a member that was there")
	markEmptied     = det.NewMark("coord: the last member of a group was gone")
	markSyncLate    = det.NewMark("coord: a SyncGroup met the next rebalance")
	markSyncOld     = det.NewMark("coord: a SyncGroup of another generation was refused")
	markCutShort    = det.NewMark("coord: a rebalance began before the one before had its assignment")
	markNotStored   = det.NewMark("coord: an assignment could not be stored")
	markSyncStable  = det.NewMark("coord: a SyncGroup came when the assignment was stored already")
	markMissed      = det.NewMark("coord: a member joined again because it missed the answer")
	markStaticAmid  = det.NewMark("coord: a static member came back while the assignment was made")
	markBeatOld     = det.NewMark("coord: a heartbeat of another generation was refused")
	markBeatTold    = det.NewMark("coord: a heartbeat was told of a rebalance")
	markLeft        = det.NewMark("coord: a member left")
	markCommitAmid  = det.NewMark("coord: a commit came before the assignment of its generation")
	markUncommitted = det.NewMark("coord: a commit of offsets could not be stored")
)
