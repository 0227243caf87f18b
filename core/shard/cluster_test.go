package shard

import (
	"testing"

	"github.com/karst-stream/karst/core"
)

func TestClusterOfOneForms(t *testing.T) {
	r := newRig(t, 1, 2)
	r.open()
}

func TestClusterOfThreeFormsAndSurvivesItsNodes(t *testing.T) {
	r := newRig(t, 3, 2)
	r.open()
	r.kill(r.node(1))
	r.run(2 * core.Second)
	r.start(r.node(1))
	r.open()
	t.Log(r.describe())
}
