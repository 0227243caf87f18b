package sim

func init() {
	specs[LoadBurst] = spec{name: "load-burst", span: true, n: "times", lo: 2, hi: 1000,
		begin: func(w *World, f *Fault) bool {
			w.fleet.Burst(f.N)
			return true
		},
		end: func(w *World, _ *Fault) { w.fleet.Burst(1) }}
	specs[Reconnect] = spec{name: "reconnect", node: true,
		begin: func(w *World, f *Fault) bool { return w.net.HangUp(w.now, f.Node) > 0 }}
}
