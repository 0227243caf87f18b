package local

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
)

// ErrPortClash says that somebody took a port between our choice and the node's start. Another start
// chooses others.
var ErrPortClash = errors.New("a port was taken meanwhile")

// process is one node: its arguments stay, its running instance changes.
type process struct {
	id    int32
	args  []string
	shown Node // what does not change

	rejoin bool // its next instance is started with --rejoin; set by the verb that launches it

	mu       sync.Mutex
	state    State
	cmd      *exec.Cmd
	control  *os.File      // our end of its control pipe
	gone     chan struct{} // closed when the instance has been reaped
	serving  chan struct{} // closed when the instance said ready
	began    time.Time
	readyIn  time.Duration
	restarts int
}

// shards is how many event loops a node runs. The nodes share one machine, so unless told they share its
// cores too: a loop more than there are cores buys nothing, and splits every group commit in two.
func (s *Spec) shards() int {
	if s.Shards > 0 {
		return s.Shards
	}
	return max(1, runtime.GOMAXPROCS(0)/s.Nodes)
}

// plan lays out node i of the cluster: its addresses and its command line.
func (s *Spec) plan(i int, kafka, peer, admin []int) *process {
	id := s.FirstID + int32(i)
	name := fmt.Sprintf("n%d", id)
	dir, err := filepath.Abs(s.Dir)
	if err != nil {
		dir = s.Dir
	}
	host := s.advertised()
	address := net.JoinHostPort(host, strconv.Itoa(kafka[i]+s.Offset))
	p := &process{id: id, state: Dead, shown: Node{
		ID:      id,
		Address: address,
		Admin:   fmt.Sprintf("127.0.0.1:%d", admin[i]),
		Data:    filepath.Join(dir, name),
		Log:     filepath.Join(dir, name+".log"),
	}}
	var peers []string
	for j := range s.Nodes {
		peers = append(peers, fmt.Sprintf("%d@127.0.0.1:%d", s.FirstID+int32(j), peer[j]))
	}
	p.args = []string{"start", "--supervised",
		"--node-id", strconv.Itoa(int(id)),
		"--data", p.shown.Data,
		"--listen", net.JoinHostPort(s.listenHost(), strconv.Itoa(kafka[i])),
		"--advertise", address,
		"--peer-listen", fmt.Sprintf("127.0.0.1:%d", peer[i]),
		"--peers", strings.Join(peers, ","),
		"--admin", p.shown.Admin,
		"--shards", strconv.Itoa(s.shards()),
	}
	if s.PowerSwitch {
		p.args = append(p.args, "--power-switch")
	}
	for _, kv := range s.Set {
		p.args = append(p.args, "--set", kv)
	}
	for _, t := range s.Topics {
		p.args = append(p.args, "--topic", t)
	}
	return p
}

func (s *Spec) advertised() string {
	if s.Host == "" {
		return "127.0.0.1"
	}
	return s.Host
}

// listenHost is loopback unless the advertised host may be another machine's way to us.
func (s *Spec) listenHost() string {
	host := s.advertised()
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
		return host
	}
	if host == "localhost" {
		return "127.0.0.1"
	}
	return "0.0.0.0"
}

// start runs a new instance. It is called on the one thread to which the nodes are tied.
func (p *process) start(program string, lock *os.File) error {
	controlR, controlW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer controlR.Close()
	readyR, readyW, err := os.Pipe()
	if err != nil {
		controlW.Close()
		return err
	}
	defer readyW.Close()
	log, err := os.OpenFile(p.shown.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		controlW.Close()
		readyR.Close()
		return err
	}
	defer log.Close()
	args := p.args
	if p.rejoin {
		args = append(slices.Clone(args), "--rejoin")
	}
	cmd := exec.Command(program, args...)
	cmd.Args[0] = "karst"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{controlR, readyW, lock}
	cmd.SysProcAttr = tied()
	began := time.Now()
	if err := cmd.Start(); err != nil {
		controlW.Close()
		readyR.Close()
		return err
	}
	p.mu.Lock()
	p.cmd, p.control, p.state, p.began, p.readyIn = cmd, controlW, Starting, began, 0
	p.gone, p.serving = make(chan struct{}), make(chan struct{})
	gone, serving := p.gone, p.serving
	p.mu.Unlock()
	go p.listen(readyR, serving, began)
	go p.reap(cmd, controlW, gone)
	return nil
}

// listen waits for the ready line of one instance.
func (p *process) listen(r *os.File, serving chan struct{}, began time.Time) {
	defer r.Close()
	b, _ := io.ReadAll(r)
	if !bytes.HasPrefix(b, []byte("ready")) {
		return
	}
	p.mu.Lock()
	p.readyIn = time.Since(began)
	if p.state == Starting && p.serving == serving {
		p.state = Ready
	}
	p.mu.Unlock()
	close(serving)
}

// reap waits for the end of one instance.
func (p *process) reap(cmd *exec.Cmd, control *os.File, gone chan struct{}) {
	cmd.Wait()
	control.Close()
	p.mu.Lock()
	p.state = Dead
	p.mu.Unlock()
	close(gone)
}

// signal sends sig to the running instance; it says whether there was one.
func (p *process) signal(sig syscall.Signal) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == Dead {
		return false
	}
	return p.cmd.Process.Signal(sig) == nil
}

// await waits for the end of the running instance; false: it did not end in time.
func (p *process) await(d time.Duration) bool {
	p.mu.Lock()
	gone := p.gone
	p.mu.Unlock()
	if gone == nil {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-gone:
		return true
	case <-t.C:
		return false
	}
}

// node is the state to show.
func (p *process) node() Node {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.shown
	n.State, n.Restarts = p.state, p.restarts
	if p.state != Dead {
		n.PID = p.cmd.Process.Pid
		n.ReadyIn = p.readyIn.Milliseconds()
	}
	return n
}

// died is the error of a node that ended by itself. It wraps ErrPortClash when that was the reason.
func (p *process) died(format string, args ...any) error {
	tail := p.logTail(12)
	e := catalogue.DevNodeDied.New(format, args...).Because(tail...).Try("read " + p.shown.Log)
	if strings.Contains(strings.Join(tail, "\n"), "error "+catalogue.PortTaken.Code) {
		return e.Wrap(ErrPortClash)
	}
	return e
}

// logTail is the end of the node's log, for an error message.
func (p *process) logTail(lines int) []string {
	b, err := os.ReadFile(p.shown.Log)
	if err != nil {
		return nil
	}
	if len(b) > 8192 {
		b = b[len(b)-8192:]
	}
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	return all[max(0, len(all)-lines):]
}
