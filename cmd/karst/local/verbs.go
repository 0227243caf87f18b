package local

import (
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
)

// All is the node id that means every node.
const All int32 = -1

// reviveWait bounds how long revive waits for a node to serve.
const reviveWait = 15 * time.Second

// act carries out a verb on one node or all, and returns when its effect is there.
func (c *Cluster) act(verb string, id int32) error {
	targets := c.nodes
	if id != All {
		p, err := c.find(id)
		if err != nil {
			return err
		}
		targets = []*process{p}
	}
	switch verb {
	case "kill":
		return c.end(targets, id, syscall.SIGKILL)
	case "stop":
		return c.end(targets, id, syscall.SIGTERM)
	case "pause":
		return c.freeze(targets, id, syscall.SIGSTOP, Paused)
	case "resume":
		return c.freeze(targets, id, syscall.SIGCONT, Ready)
	case "powercut":
		return c.powerCut(targets, id)
	case "revive", "rejoin":
		return c.revive(targets, id, verb == "rejoin")
	}
	return catalogue.BadArgument.New("karst dev has no verb %q", verb)
}

// wrongState says why a verb does not fit a node.
func wrongState(p *process, verb string) error {
	return catalogue.DevState.New("n%d is %s: it cannot be %s", p.id, p.node().State, verb)
}

func (c *Cluster) end(targets []*process, id int32, sig syscall.Signal) error {
	word := map[syscall.Signal]string{syscall.SIGKILL: "killed", syscall.SIGTERM: "stopped"}[sig]
	for _, p := range targets {
		if sig == syscall.SIGTERM && p.node().State == Paused {
			return catalogue.DevState.New("n%d is paused: it would not hear SIGTERM", p.id).
				Try(fmt.Sprintf("karst dev resume %d", p.id), fmt.Sprintf("karst dev kill %d", p.id))
		}
		if !p.signal(sig) && id != All {
			return wrongState(p, word)
		}
	}
	for _, p := range targets {
		if !p.await(3 * stopPatience) {
			return catalogue.DevNotReady.New("n%d did not end in time", p.id).
				Try(fmt.Sprintf("karst dev kill %d", p.id))
		}
	}
	return nil
}

// freeze pauses or resumes.
func (c *Cluster) freeze(targets []*process, id int32, sig syscall.Signal, to State) error {
	for _, p := range targets {
		p.mu.Lock()
		fits := p.state != Dead && (p.state == Paused) == (to == Ready)
		if fits {
			p.cmd.Process.Signal(sig)
			p.state = to
			if to == Ready && p.readyIn == 0 {
				p.state = Starting
			}
		}
		p.mu.Unlock()
		if !fits && id != All {
			word := map[State]string{Paused: "paused", Ready: "resumed"}[to]
			return wrongState(p, word)
		}
	}
	return nil
}

// powerCut discards, on every target at the same moment, what no completed sync covers.
func (c *Cluster) powerCut(targets []*process, id int32) error {
	if !c.spec.PowerSwitch {
		return catalogue.DevNoSwitch.New("the cluster on %s has no power switch", c.spec.Dir)
	}
	var cut []*process
	for _, p := range targets {
		p.mu.Lock()
		if p.state != Dead {
			cut = append(cut, p)
			io.WriteString(p.control, "powercut\n")
		}
		p.mu.Unlock()
	}
	if len(cut) == 0 && id != All {
		return wrongState(targets[0], "cut from power")
	}
	for _, p := range cut {
		p.signal(syscall.SIGCONT) // a paused node reads its pipe only then
	}
	for _, p := range cut {
		if !p.await(stopPatience) {
			return catalogue.DevNotReady.New("n%d did not go dark in time", p.id).
				Try(fmt.Sprintf("karst dev kill %d", p.id))
		}
	}
	return nil
}

// revive starts dead nodes again. With a majority running it waits until they serve; without one
// they cannot, and it returns when their processes run. rejoin: their directories were lost.
func (c *Cluster) revive(targets []*process, id int32, rejoin bool) error {
	var started []*process
	for _, p := range targets {
		if p.node().State != Dead {
			if id != All {
				return wrongState(p, "revived")
			}
			continue
		}
		p.await(stopPatience)
		p.rejoin = rejoin
		if err := c.launch(p); err != nil {
			return catalogue.DevNodeDied.New("cannot start n%d: %v", p.id, err).Wrap(err)
		}
		p.mu.Lock()
		p.restarts++
		p.mu.Unlock()
		started = append(started, p)
	}
	alive := 0
	for _, n := range c.Nodes() {
		if n.State == Starting || n.State == Ready {
			alive++
		}
	}
	if alive <= len(c.nodes)/2 {
		return nil
	}
	deadline := time.NewTimer(reviveWait)
	defer deadline.Stop()
	for _, p := range started {
		p.mu.Lock()
		serving, gone := p.serving, p.gone
		p.mu.Unlock()
		select {
		case <-serving:
		case <-gone:
			return p.died("n%d ended again", p.id)
		case <-deadline.C:
			return catalogue.DevNotReady.New("n%d runs, but does not serve yet", p.id).
				Try("karst dev status", "read "+p.shown.Log)
		}
	}
	return nil
}
