package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func init() {
	programs["landlord"] = landlord
	programs["guest"] = guest
}

// TestClientOnAnotherAddress lets clients reach a cluster by the listener that it advertises, which is
// not loopback's 127.0.0.1: at a second address of this machine, and through a network between two
// namespaces, neither of which is the test's own.
func TestClientOnAnotherAddress(t *testing.T) {
	t.Run("a second address", secondAddress)
	flags, err := namespaces()
	if err == nil {
		t.Run("a network namespace", func(t *testing.T) { namespace(t, flags) })
		return
	}
	if mayAdminister() {
		t.Fatalf("this process may make network namespaces (CAP_SYS_ADMIN), and yet: %v", err)
	}
	t.Logf("only the second address was tried: this user may not make a network namespace: %v", err)
}

// devAt starts three nodes that are told to be at host, and gives the address of one.
func devAt(t *testing.T, host string) string {
	t.Helper()
	seed, end, err := startDev(devProcess(t.TempDir(), host))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := end(); err != nil {
			t.Errorf("karst dev: %v", err)
		}
	})
	return seed
}

// self is this program under another name.
func self(name string, args ...string) *exec.Cmd {
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	c := exec.Command(path, args...)
	c.Args[0] = name
	return c
}

func devProcess(dir, host string) *exec.Cmd {
	return self("karst", "dev", "-n", "3", "--data", dir, "--host", host, "--tethered",
		"--set", "group.initial.rebalance.delay.ms=0")
}

// startDev waits until a karst dev that is tethered is ready. It ends with the caller, however that ends.
func startDev(c *exec.Cmd) (seed string, end func() error, err error) {
	tether, err := c.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	said, err := c.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	var complaints strings.Builder
	c.Stderr = &complaints
	if err := c.Start(); err != nil {
		return "", nil, err
	}
	for lines := bufio.NewScanner(said); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "ready"); ok {
			_, all, _ := strings.Cut(rest, "-B ")
			seed, _, _ = strings.Cut(all, ",")
			break
		}
	}
	drained := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, said)
		close(drained)
	}()
	end = func() error {
		_ = c.Process.Signal(syscall.SIGTERM)
		<-drained
		defer tether.Close()
		return c.Wait()
	}
	if seed == "" {
		_ = end()
		return "", nil, fmt.Errorf("karst dev did not become ready: %s", complaints.String())
	}
	return seed, end, nil
}

// secondAddress comes from 127.0.0.3 to a name that stands for 127.0.0.2, as a hosts file would say.
func secondAddress(t *testing.T) {
	const name = "broker.karst.test"
	seed := devAt(t, name)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var mu sync.Mutex
	elsewhere := ""
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil || host != name {
			mu.Lock()
			elsewhere = address
			mu.Unlock()
			return nil, fmt.Errorf("%s is not where the cluster is", address)
		}
		from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 3)}}
		return from.DialContext(ctx, network, net.JoinHostPort("127.0.0.2", port))
	}
	if err := visit(ctx, seed, name, dial); err != nil {
		t.Error(err)
	}
	if mu.Lock(); elsewhere != "" {
		t.Errorf("the client was sent to %s", elsewhere)
	}
	mu.Unlock()
}

// namespace lets the landlord and his guest do the rest; they end when the test does.
func namespace(t *testing.T, flags uintptr) {
	c := inNamespace(self("landlord", t.TempDir()), flags)
	tether, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer tether.Close()
	late := time.AfterFunc(60*time.Second, func() { _ = tether.Close() })
	defer late.Stop()
	if out, err := c.CombinedOutput(); err != nil || string(out) != "the guest is content\n" {
		t.Errorf("%v\n%s", err, out)
	}
}

// namespaces says with which flags a child gets a network of its own here, or why with none.
func namespaces() (flags uintptr, err error) {
	for _, flags := range []uintptr{unix.CLONE_NEWUSER | unix.CLONE_NEWNET, unix.CLONE_NEWNET} {
		out, failed := inNamespace(self("landlord"), flags).CombinedOutput()
		if failed == nil {
			return flags, nil
		}
		if err == nil {
			err = fmt.Errorf("%w %s", failed, out)
		}
	}
	return 0, err
}

func inNamespace(c *exec.Cmd, flags uintptr) *exec.Cmd {
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	if flags&unix.CLONE_NEWUSER != 0 {
		c.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		c.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	return c
}

// mayAdminister says whether the kernel has no reason to refuse.
func mayAdminister() bool {
	var caps [2]unix.CapUserData
	err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &caps[0])
	return err == nil && caps[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

const (
	landlordAddress = "192.0.2.1" // of the network that documentation has for itself
	guestAddress    = "192.0.2.2"
)

// landlord is a process in a namespace of its own. Without arguments it only tries whether it can lay
// a cable; with a directory it runs a cluster and lets a guest in a third namespace visit it.
func landlord() {
	defer os.Exit(0)
	must(up("lo"))
	if len(os.Args) == 1 {
		must(cable("k0", "k1", 0))
		return
	}
	go endWithStdin()
	g := self("guest")
	g.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	g.Stdout, g.Stderr = os.Stdout, os.Stderr
	door, err := g.StdinPipe()
	must(err)
	must(g.Start())
	must(cable("k0", "k1", g.Process.Pid))
	must(address("k0", landlordAddress))
	must(up("k0"))
	seed, end, err := startDev(devProcess(os.Args[1], landlordAddress))
	must(err)
	_, err = fmt.Fprintln(door, seed)
	must(err)
	visited := g.Wait()
	must(end())
	must(visited)
}

// guest waits to be told where the cluster is, and visits it over the cable.
func guest() {
	defer os.Exit(0)
	in := bufio.NewReader(os.Stdin)
	seed, err := in.ReadString('\n')
	must(err)
	seed = strings.TrimSpace(seed)
	go endWithStdin()
	must(up("lo"))
	must(address("k1", guestAddress))
	must(up("k1"))
	_, port, err := net.SplitHostPort(seed)
	must(err)
	if c, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
		must(fmt.Errorf("the cluster answers at the guest's own %v", c.RemoteAddr()))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cabled := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(guestAddress)}}
	must(visit(ctx, seed, landlordAddress, cabled.DialContext))
	fmt.Println("the guest is content")
}

// endWithStdin ends this process, and so its namespace, when whoever started it is gone.
func endWithStdin() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(3)
}

func must(err error) {
	if err != nil {
		fmt.Printf("%s: %v\n", os.Args[0], err)
		os.Exit(1)
	}
}
