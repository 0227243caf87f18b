package api

import (
	"github.com/karst-stream/karst/core/meta"
	"github.com/karst-stream/karst/core/wire"
)

// IncrementalAlterConfigs: v0-1
//
// Behaviour:
//   - Sets, deletes, appends to and subtracts from settings of topics (2), of a broker, or of all brokers
//     (4, name ""); the changes of one resource are one command, all or none.
//   - validate_only runs the same code on this node's view and changes nothing.
//   - A resource that is in the request twice is INVALID_REQUEST; so is a null value but for a deletion.
//   - An unknown key is INVALID_CONFIG and names the nearest known one.
//
// Version notes: v1 changed nothing but the encoding.
//
// Left out: loggers (8), client metrics (16), groups (32): INVALID_REQUEST.
func incrementalAlterConfigs(r *request, body wire.Message) {
	q := body.(*wire.IncrementalAlterConfigsRequest)
	resp := &wire.IncrementalAlterConfigsResponse{
		Responses: make([]wire.IncrementalAlterConfigsResponseResource, len(q.Resources))}
	a := &altering{r: r, validate: q.ValidateOnly, seen: map[partKey]int{}}
	for i := range q.Resources {
		a.count(q.Resources[i].ResourceType, q.Resources[i].ResourceName)
	}
	inTurn(len(q.Resources), func(i int, one func()) {
		res, out := &q.Resources[i], &resp.Responses[i]
		out.ResourceType, out.ResourceName = res.ResourceType, res.ResourceName
		cmd := &meta.AlterConfigs{Resource: meta.Resource(res.ResourceType), Name: res.ResourceName}
		null := ""
		for _, c := range res.Configs {
			if c.Value == nil && meta.OpKind(c.ConfigOperation) != meta.Delete {
				null = c.Name
			}
			cmd.Ops = append(cmd.Ops, meta.ConfigOp{Key: c.Name, Op: meta.OpKind(c.ConfigOperation),
				Value: text(c.Value)})
		}
		a.alter(cmd, null, func(code wire.Error, why *string) {
			out.ErrorCode, out.ErrorMessage = code, why
			one()
		})
	}, func() { r.answer(resp) })
}
