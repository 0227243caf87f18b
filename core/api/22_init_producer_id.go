package api

import "github.com/karst-stream/karst/core/wire"

// InitProducerId: v0-5
//
// Behaviour:
//   - Gives an idempotent producer an id that nobody had, with epoch 0. Without an id at hand
//     COORDINATOR_LOAD_IN_PROGRESS, which producers try again.
//
// Version notes:
//   - v3: the producer's old id and epoch; one without the other is INVALID_REQUEST, both are ignored for a
//     producer without a transactional id, as in Kafka. v4, v5 are for transactions.
//
// Left out: transactions. With a transactional id: UNSUPPORTED_VERSION, as FindCoordinator says; an empty
// one is INVALID_REQUEST.
func initProducerID(r *request, body wire.Message) {
	q := body.(*wire.InitProducerIdRequest)
	resp := wire.NewInitProducerIdResponse()
	resp.ProducerEpoch = -1
	switch {
	case q.TransactionalId != nil && *q.TransactionalId == "", (q.ProducerId == -1) != (q.ProducerEpoch == -1):
		resp.ErrorCode = wire.InvalidRequest
	case q.TransactionalId != nil:
		resp.ErrorCode = wire.UnsupportedVersion
	default:
		r.h().ProducerID(func(id int64, ok bool) {
			if !r.acting() {
				return
			}
			resp.ErrorCode = wire.CoordinatorLoadInProgress
			if ok {
				resp.ErrorCode, resp.ProducerId, resp.ProducerEpoch = wire.None, id, 0
			}
			r.answer(&resp)
		})
		return
	}
	r.answer(&resp)
}
