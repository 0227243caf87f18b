package meta

import (
	"encoding/base64"
	"testing"
)

// Whatever was drawn, no topic id looks like a flag to a tool, and the drawn half tells ids apart.
func TestTopicIDsDoNotBeginWithADash(t *testing.T) {
	seen := map[[16]byte]int{}
	for b := range 256 {
		id := topicID([16]byte{byte(b), 1, 2, 3}, 9)
		if text := base64.RawURLEncoding.EncodeToString(id[:]); text[0] == '-' {
			t.Errorf("drawn %#x: %s", b, text)
		}
		if id[1] != 1 || id[2] != 2 || id[3] != 3 {
			t.Errorf("drawn %#x: other bytes of the draw are changed: % x", b, id)
		}
		seen[id]++
	}
	if len(seen) < 256-4 {
		t.Errorf("256 draws give %d ids", len(seen))
	}
}
