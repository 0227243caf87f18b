// Package local runs a cluster of node processes on one machine, for `karst dev` and the demo. It
// owns the processes, their ports and the directory that they share; it promises that no node
// survives its supervisor, not even one that is killed with SIGKILL, and that the supervisor survives
// its nodes. It refuses to share a directory with another supervisor.
//
// How a node is tied to its supervisor:
//
//	fd 3  read end of the control pipe. End of file: the supervisor is gone, the node exits at once.
//	      A line "powercut": discard what no sync covers, then exit (core of the crash tests).
//	fd 4  write end of the ready pipe: one line when the node serves.
//	fd 5  the lock on the directory, held by the supervisor and every node: it is free only when the
//	      last of them is gone, so the next run cannot start beside what is left of this one.
//
// On Linux the kernel also kills a node when the thread that started it dies (a paused node cannot
// read its control pipe), which is why one locked thread starts them all and lives as long as they do.
package local

import (
	"fmt"
	"os"
	"time"
)

// The descriptors that a supervised node finds open.
const (
	ControlFD = 3
	ReadyFD   = 4
	LockFD    = 5
)

// Spec is what to run.
type Spec struct {
	Dir         string // of the whole cluster; a node's data are in Dir/n<ID>
	Nodes       int    // 0: as many as the directory has, or 1
	FirstID     int32  // -1: as the directory has, or 1
	Ports       []int  // of the Kafka listeners; nil: 9092.. or free ones
	Host        string // advertised; empty: 127.0.0.1
	Offset      int    // added to a port to give the advertised one
	Shards      int    // event loops a node; 0: the cores, divided among the nodes
	PowerSwitch bool
	Remove      bool     // delete the data at the end
	Set         []string // KEY=VALUE for every node
	Topics      []string // NAME:PARTITIONS
	Program     string   // karst itself; empty: the running program
}

// State says how a node is.
type State string

const (
	Starting State = "starting"
	Ready    State = "ready"
	Paused   State = "paused"
	Dead     State = "dead"
)

// Node is what others may know of a node. The names are the JSON of `karst dev status -o json`.
type Node struct {
	ID       int32  `json:"node"`
	State    State  `json:"state"`
	PID      int    `json:"pid,omitempty"`
	Address  string `json:"address"`
	Admin    string `json:"admin"`
	Data     string `json:"data_dir"`
	Log      string `json:"log"`
	ReadyIn  int64  `json:"ready_in_ms,omitempty"` // from the start of its process
	Restarts int    `json:"restarts"`
}

// Name is how a node is called in sentences.
func (n Node) Name() string { return fmt.Sprintf("n%d", n.ID) }

// Supervised is the node's side of the three descriptors: nil outside a supervisor.
type Supervised struct {
	Control *os.File
	ready   *os.File
}

// Adopt takes the descriptors over in a node process.
func Adopt() *Supervised {
	return &Supervised{Control: os.NewFile(ControlFD, "control"), ready: os.NewFile(ReadyFD, "ready")}
}

// Ready tells the supervisor that the node serves.
func (s *Supervised) Ready() {
	fmt.Fprintf(s.ready, "ready\n")
	s.ready.Close()
}

// Patience with processes.
const (
	lockPatience  = 5 * time.Second        // for what is left of a killed run
	stopPatience  = 10 * time.Second       // for a process that was told to end
	closePatience = 250 * time.Millisecond // between SIGTERM and SIGKILL when all nodes end
)
