package coord

import "testing"

// A consumer may subscribe to nothing, and send no user data: that is known, unlike what cannot be read.
func TestASubscriptionToNothingIsRead(t *testing.T) {
	for _, c := range []struct {
		b    string
		n    int
		read bool
	}{
		{"\x00\x00\x00\x00\x00\x00", 0, true},
		{"\x00\x01\x00\x00\x00\x00\xff\xff\xff\xff", 0, true},
		{"\x00\x00\x00\x00\x00\x01\x00\x00", 1, true},
		{"\x00\x00\x00\x00\x00\x01\x00\x01t", 1, true},
		{"\x00\x00\x00\x00\x00\x01", 0, false},
		{"\x00\x00\x00\x00\x00\x02\x00\x00", 0, false},
		{"\x00\x00\xff\xff\xff\xff", 0, false},
	} {
		topics, ok := subscription([]byte(c.b))
		if ok != c.read || ok && len(topics) != c.n {
			t.Errorf("%q: %q, %v", c.b, topics, ok)
		}
	}
}
