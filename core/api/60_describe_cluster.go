package api

import "github.com/karst-stream/karst/core/wire"

// DescribeCluster: v0-2
//
// Behaviour:
//   - Brokers as in Metadata, and the controller: the leader of the metadata group, or this node, which
//     forwards.
//   - Controllers (endpoint type 2) are asked of controllers: MISMATCHED_ENDPOINT_TYPE.
//
// Version notes:
//   - v1: endpoint type. v2: brokers that are suspect may be included, marked as fenced.
//
// Left out: access rules; authorised operations are all that there are, when the client asks for them.
func describeCluster(r *request, body wire.Message) {
	q := body.(*wire.DescribeClusterRequest)
	resp := wire.NewDescribeClusterResponse()
	resp.EndpointType = 1
	resp.Brokers = []wire.DescribeClusterResponseBroker{}
	if q.EndpointType != 1 {
		resp.EndpointType, resp.ErrorCode = q.EndpointType, wire.UnsupportedEndpointType
		if q.EndpointType == 2 {
			resp.ErrorCode = wire.MismatchedEndpointType
		}
		resp.ErrorMessage = messageOr("The request was sent to an endpoint of type BROKER, but we wanted another.", 0)
		r.answer(&resp)
		return
	}
	c, view := r.conn, r.h().View()
	resp.ClusterId, resp.ControllerId = view.ClusterID, int32(c.controller())
	for i := range view.Brokers {
		b := &view.Brokers[i]
		_, _, _, alive := c.reachable(b.ID)
		host, port, ok := c.endpoint(b)
		if ok && (alive || q.IncludeFencedBrokers) {
			resp.Brokers = append(resp.Brokers,
				wire.DescribeClusterResponseBroker{BrokerId: int32(b.ID), Host: host, Port: port,
					Rack: rackOf(b), IsFenced: !alive})
		}
	}
	if q.IncludeClusterAuthorizedOperations {
		resp.ClusterAuthorizedOperations = clusterOperations
	}
	r.answer(&resp)
}
