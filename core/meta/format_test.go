package meta

import (
	"testing"
)

// A command of another format is refused whole, whatever the bytes behind would mean here.
func TestACommandOfAnotherFormatIsRefused(t *testing.T) {
	for _, c := range commands() {
		b := Encode(Origin{Node: 1, Start: 1, Number: 1}, c)
		for _, v := range []byte{0, formatVersion - 1, formatVersion + 1, 255} {
			b[0] = v
			if _, got, err := Decode(b); v != formatVersion && err == nil {
				t.Errorf("%T of format %d is read as %#v", c, v, got)
			}
		}
	}
}

// Numbers that must fit fewer bits than they are written in: the largest one is right, the next is not.
func TestTheLargestIncarnationIsRead(t *testing.T) {
	c := &RegisterBroker{Broker{ID: 1, Incarnation: 1<<32 - 1, Listeners: []Listener{{Name: "P", Port: 1<<16 - 1}}}}
	b := Encode(Origin{Node: 1, Start: 1, Number: 1}, c)
	_, got, err := Decode(b)
	if r, ok := got.(*RegisterBroker); err != nil || !ok || r.Broker.Incarnation != 1<<32-1 || r.Broker.Listeners[0].Port != 1<<16-1 {
		t.Errorf("%+v, %v", got, err)
	}
}
