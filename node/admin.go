package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/karst-stream/karst/core"
)

// admin is the endpoint for operators: is it alive, is it ready, where does the time go. It answers
// nothing that changes the node.
type admin struct {
	n   *node
	ln  net.Listener
	srv *http.Server
}

// stuckAfter is how long one step may run before the node counts as dead.
const stuckAfter = 10 * core.Second

func newAdmin(n *node, addr string) (*admin, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, errPort("admin endpoint", addr, err)
	}
	mux := http.NewServeMux()
	a := &admin{n: n, ln: ln, srv: &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}}
	mux.HandleFunc("/livez", a.answer(n.alive))
	mux.HandleFunc("/readyz", a.answer(n.isReady))
	mux.HandleFunc("/healthz", a.answer(func() error { return errors.Join(n.alive(), n.isReady()) }))
	mux.Handle("/metrics", promhttp.HandlerFor(n.gauge.all, promhttp.HandlerOpts{}))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return a, nil
}

func (a *admin) answer(check func() error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if err := check(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	}
}

func (n *node) isReady() error {
	if !n.ready.Load() {
		return errors.New("the gate is not open: the cluster does not answer yet, or a topic has no leader")
	}
	return nil
}

// alive is an error when a step does not end.
func (n *node) alive() error {
	now := n.now().Mono
	for _, l := range n.loops {
		if at := core.Mono(l.stamp.Load()); at != 0 && now-at > stuckAfter {
			return fmt.Errorf("shard %d has been in one step for %d s", l.id, (now-at)/core.Second)
		}
	}
	return nil
}

func (a *admin) serve() {
	if err := a.srv.Serve(a.ln); !errors.Is(err, http.ErrServerClosed) {
		a.n.log.Error("the admin endpoint ended", "error", err)
	}
}

// close lets no request hold the node up.
func (a *admin) close() {
	_ = a.srv.Shutdown(canceled())
	_ = a.srv.Close()
	_ = a.ln.Close()
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
