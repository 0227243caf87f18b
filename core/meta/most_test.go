package meta

import (
	"testing"

	"github.com/karst-stream/karst/core"
)

// As many replicas as there may be are placed, one more is refused.
func TestTheMostReplicasArePlaced(t *testing.T) {
	p := &placer{}
	for i := range maxReplicas + 1 {
		p.live = append(p.live, &Broker{ID: core.NodeID(i + 1)})
	}
	for rf, refused := range map[int16]bool{1: false, maxReplicas: false, maxReplicas + 1: true} {
		if why := p.refuse(rf); (why != "") != refused {
			t.Errorf("%d replicas: %q", rf, why)
		}
	}
}
