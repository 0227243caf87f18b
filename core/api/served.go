package api

import "github.com/karst-stream/karst/core/wire"

// handlerOf is what acts on a key; nil for keys that are not served, which ApiVersions does not list.
// Each handler answers its request exactly once, in this step or later.
func handlerOf(k wire.Key) func(r *request, body wire.Message) {
	switch k {
	case wire.KeyProduce:
		return produce
	case wire.KeyFetch:
		return fetch
	case wire.KeyMetadata:
		return metadata
	case wire.KeyApiVersions:
		return apiVersions
	}
	return nil
}
