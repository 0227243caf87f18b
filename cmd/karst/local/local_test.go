package local_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/karst-stream/karst/cmd/karst/catalogue"
	"github.com/karst-stream/karst/cmd/karst/local"
)

// The test binary plays three parts: the tests, a node ("start", as the supervisor calls it) and a
// supervisor in a process of its own ("supervise DIR").
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "start":
			pretendNode()
			return
		case "supervise":
			supervise(os.Args[2])
			return
		}
	}
	os.Exit(m.Run())
}

// pretendNode is tied to its supervisor as a node is. It listens nowhere.
func pretendNode() {
	tied := local.Adopt()
	dir := ""
	for i, a := range os.Args {
		if a == "--data" {
			dir = os.Args[i+1]
		}
	}
	os.MkdirAll(dir, 0o755)
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	go func() {
		<-terminated
		os.WriteFile(filepath.Join(dir, "graceful"), nil, 0o644)
		os.Exit(0)
	}()
	tied.Ready()
	lines := bufio.NewScanner(tied.Control)
	for lines.Scan() {
		if lines.Text() == "powercut" {
			os.WriteFile(filepath.Join(dir, "cut"), nil, 0o644)
			os.Exit(9)
		}
	}
	os.Exit(8) // the supervisor is gone
}

func supervise(dir string) {
	c, err := local.Start(spec(dir, 2))
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	if err := c.Ready(context.Background()); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println("ready")
	select {}
}

func spec(dir string, nodes int) local.Spec {
	program, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return local.Spec{Dir: dir, Nodes: nodes, FirstID: -1, Program: program}
}

func start(t *testing.T, s local.Spec) *local.Cluster {
	t.Helper()
	c, err := local.Start(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := c.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	return c
}

func wantCode(t *testing.T, err error, want *catalogue.Entry) {
	t.Helper()
	var known *catalogue.Error
	if !errors.As(err, &known) || known.Entry != want {
		t.Errorf("got %v, want %s", err, want.Code)
	}
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

func state(t *testing.T, nodes []local.Node, id int32) local.State {
	t.Helper()
	for _, n := range nodes {
		if n.ID == id {
			return n.State
		}
	}
	t.Fatalf("no node %d in %v", id, nodes)
	return ""
}

func TestTheVerbsReachTheSupervisorAndHaveHappenedWhenTheyReturn(t *testing.T) {
	dir := t.TempDir()
	s := spec(dir, 3)
	s.PowerSwitch = true
	start(t, s)
	client, err := local.Dial(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		verb string
		node int32
		want local.State
	}{
		{"kill", 2, local.Dead}, {"revive", 2, local.Ready}, {"pause", 2, local.Paused}, {"resume", 2, local.Ready},
		{"stop", 1, local.Dead}, {"revive", 1, local.Ready}, {"powercut", 3, local.Dead}, {"revive", 3, local.Ready},
	} {
		nodes, err := client.Do(step.verb, step.node)
		if err != nil {
			t.Fatalf("%s %d: %v", step.verb, step.node, err)
		}
		if got := state(t, nodes, step.node); got != step.want {
			t.Errorf("%s %d: %s, want %s", step.verb, step.node, got, step.want)
		}
	}
	if exists(filepath.Join(dir, "n2", "graceful")) || !exists(filepath.Join(dir, "n1", "graceful")) {
		t.Error("kill must not be graceful, and stop must")
	}
	if !exists(filepath.Join(dir, "n3", "cut")) {
		t.Error("the power cut did not reach node 3")
	}
	for verb, node := range map[string]int32{"revive": 1, "resume": 1} {
		_, err := client.Do(verb, node)
		wantCode(t, err, catalogue.DevState)
	}
	_, err = client.Do("kill", 7)
	wantCode(t, err, catalogue.DevNoNode)
}

func TestAPowerCutHitsAllNodesAlsoPausedOnes(t *testing.T) {
	dir := t.TempDir()
	s := spec(dir, 3)
	s.PowerSwitch = true
	start(t, s)
	client, err := local.Dial(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Do("pause", 1); err != nil {
		t.Fatal(err)
	}
	nodes, err := client.Do("powercut", local.All)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		if n.State != local.Dead || !exists(filepath.Join(n.Data, "cut")) {
			t.Errorf("node %d is %s", n.ID, n.State)
		}
	}
	if nodes, err = client.Do("revive", local.All); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		if n.State != local.Ready || n.Restarts != 1 {
			t.Errorf("node %d is %s after %d restarts", n.ID, n.State, n.Restarts)
		}
	}
}

func TestAPowerCutNeedsTheSwitch(t *testing.T) {
	dir := t.TempDir()
	start(t, spec(dir, 1))
	client, err := local.Dial(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Do("powercut", 1)
	wantCode(t, err, catalogue.DevNoSwitch)
}

// process says whether a pid is alive and no zombie.
func process(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(b), ") Z ")
}

func TestNodesNeverSurviveTheirSupervisorEvenPausedAndUnderSIGKILL(t *testing.T) {
	dir := t.TempDir()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "supervise", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	if line != "ready\n" {
		t.Fatalf("the supervisor said %q", line)
	}
	client, err := local.Dial(dir)
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := client.Do("pause", 1)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Process.Kill()
	io.Copy(io.Discard, out)
	cmd.Wait()
	// The lock on the directory is free when the last of them is gone: this waits, without a sleep.
	start(t, spec(dir, 0))
	for _, n := range nodes {
		if exists("/proc/self/stat") && process(n.PID) {
			t.Errorf("node %d, process %d, survived", n.ID, n.PID)
		}
		if exists(filepath.Join(n.Data, "graceful")) {
			t.Errorf("node %d ended gracefully", n.ID)
		}
	}
}

func TestASecondSupervisorIsRefusedAtOnce(t *testing.T) {
	dir := t.TempDir()
	start(t, spec(dir, 1))
	began := time.Now()
	_, err := local.Start(spec(dir, 1))
	wantCode(t, err, catalogue.DevBusy)
	if time.Since(began) > 2*time.Second {
		t.Error("a running supervisor is not to be waited for")
	}
}

func TestARunOnTheSameDirectoryCarriesOn(t *testing.T) {
	dir := t.TempDir()
	s := spec(dir, 3)
	s.FirstID = 0
	c := start(t, s)
	c.Close()
	c = start(t, spec(dir, 0))
	if nodes := c.Nodes(); len(nodes) != 3 || nodes[0].ID != 0 {
		t.Errorf("carried on with %v", nodes)
	}
	c.Close()
	_, err := local.Start(spec(dir, 2))
	wantCode(t, err, catalogue.Contradiction)
	s = spec(dir, 0)
	s.Remove = true
	_, err = local.Start(s)
	wantCode(t, err, catalogue.Contradiction)
}

func TestRemoveLeavesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", strings.Repeat("x", 120))
	s := spec(dir, 2)
	s.Remove = true
	c := start(t, s)
	if _, err := local.Dial(dir); err != nil {
		t.Error(err)
	}
	c.Close()
	if exists(dir) {
		entries, _ := os.ReadDir(dir)
		t.Errorf("left behind: %v", entries)
	}
}

func TestAGivenPortThatIsTakenIsAnErrorAndADefaultOneIsReplaced(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().(*net.TCPAddr).Port
	s := spec(t.TempDir(), 1)
	s.Ports = []int{taken}
	_, err = local.Start(s)
	wantCode(t, err, catalogue.DevPortTaken)

	s = spec(t.TempDir(), 2)
	s.Ports = []int{taken}
	_, err = local.Start(s)
	wantCode(t, err, catalogue.Contradiction)

	held, err := net.Listen("tcp", "127.0.0.1:9092")
	if err == nil {
		defer held.Close()
	}
	c := start(t, spec(t.TempDir(), 1)) // 9092 is taken, by us or by somebody else
	if got := c.Nodes()[0].Address; got == "127.0.0.1:9092" {
		t.Errorf("a taken port was not replaced")
	}
}

func TestANodeThatEndsBeforeReadyIsReportedWithItsLog(t *testing.T) {
	s := spec(t.TempDir(), 1)
	s.Program = "/bin/false"
	c, err := local.Start(s)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	wantCode(t, c.Ready(context.Background()), catalogue.DevNodeDied)
}

func TestNobodyAnswersWhereNobodyRuns(t *testing.T) {
	_, err := local.Dial(t.TempDir())
	wantCode(t, err, catalogue.DevAbsent)
}
