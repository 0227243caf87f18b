#!/usr/bin/env python3
"""Real processes are broken by a seeded schedule while `karst check record` drives and judges them.

    ./record.py                  MINUTES=30 on three nodes of this commit: must be clean
    ./record.py M16 M05 ..       MUTANT_MINUTES=3 on nodes built with that bug: should be flagged ("all": every bug)
    ./record.py kafka            KAFKA_MINUTES=2 on Apache Kafka, without faults: must be clean; needs PEERS
    ./record.py eio              EIO_MINUTES=3 on this commit while syncs fail too, as for M24: must be clean; needs strace

Figures go to record.json, a key for each run, and plots to plots/record-NAME.svg. Exit 1: a run that must be clean is
not. Variables: SEED=1 of the schedule, RATE=3000 records a second, KARST a binary instead of one built here, WORK a
directory on a real disk for data, KEEP where histories of runs with anomalies are kept (default: bin/histories).
"""
import gzip, json, os, pathlib, random, re, shutil, signal, socket, subprocess, sys, tempfile, threading, time
import record_plot

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
RESULT = pathlib.Path(os.environ.get("RESULT", HERE / "record.json"))
KEEP = pathlib.Path(os.environ.get("KEEP", ROOT / "bin" / "histories"))
SEED, RATE = int(os.environ.get("SEED", 1)), int(os.environ.get("RATE", 3000))

# The planted bugs that "all" tries. README.md says which of the others nobody can see from outside, and why.
BUGS = ["M01", "M02", "M03", "M04", "M05", "M08", "M09", "M11", "M16", "M24", "M28", "M30", "M30b"]

UNDO = {"kill": "revive", "stop": "revive", "powercut": "revive", "pause": "resume"}
# (verb, how many nodes, weight)
FAULTS = [("kill", 1, 5), ("kill", 2, 1), ("kill", 3, 1), ("pause", 1, 5), ("pause", 2, 1), ("stop", 1, 3),
          ("powercut", 1, 3), ("powercut", 2, 1), ("powercut", 3, 5)]
# Syncs of these nodes fail for a while, then all lose power: for M24 and its control.
EIO = [("eio", 1, 5), ("eio", 2, 10)]


def free_ports(n):
    """The first of n ports in a row that nobody listens on; a node that is dead has let go of its own."""
    for base in random.Random(os.getpid()).sample(range(30092, 31600, 17), 80):  # two runs at once must not meet
        held = []
        try:
            for p in range(base, base + n):
                held.append(socket.socket())
                held[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                held[-1].bind(("127.0.0.1", p))
            return base
        except OSError:
            pass
        finally:
            [s.close() for s in held]
    raise SystemExit("no free ports")


def build(work, *flags):
    out = work / "karst"
    subprocess.run(["go", "build", *flags, "-o", str(out), "./cmd/karst"], cwd=ROOT, check=True)
    return str(out)


def git(*argv):
    return subprocess.run(["git", *argv], cwd=ROOT, capture_output=True, text=True).stdout.strip()


class Karst:
    """Three processes of karst dev with power switches, data on disk."""

    def __init__(self, work, binary):
        self.binary, self.data = binary, work / "data"
        base = free_ports(3)
        ports = [str(base + i) for i in range(3)]
        self.brokers = ",".join("127.0.0.1:" + p for p in ports)
        self.process = subprocess.Popen([binary, "dev", "-n", "3", "--power-switch", "--data", str(self.data), "--ports", ",".join(ports)],
                                        stdout=subprocess.PIPE, text=True)
        if not any(line.startswith("ready") for line in iter(self.process.stdout.readline, "")):
            raise SystemExit("karst dev did not become ready")

    def do(self, verb, node):
        """A verb of karst dev; what it says when it fails."""
        try:
            p = subprocess.run([self.binary, "dev", verb, str(node), "--data", str(self.data)], capture_output=True, text=True, timeout=60)
        except subprocess.TimeoutExpired:
            return f"{verb} {node} did not end in 60 s"
        return "" if p.returncode == 0 else p.stderr.strip().splitlines()[0]

    def pid(self, node):
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            for pid in task.read_text().split():
                argv = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if b"--node-id" in argv and argv[argv.index(b"--node-id") + 1] == b"%d" % node:
                    return pid
        return None

    def fail_syncs(self, node):
        """Every sync of a node ends with EIO, without being done, until the node is gone. What to wait for."""
        return subprocess.Popen(["strace", "-f", "-qq", "-o", os.devnull, "-e", "trace=fsync,fdatasync",
                                 "-e", "inject=fsync,fdatasync:error=EIO", "-p", self.pid(node) or "0"], stderr=subprocess.DEVNULL)

    def panics(self):
        """What nodes said when they gave themselves up."""
        said = set()
        for log in self.data.rglob("*.log"):
            if log.stat().st_size < 1 << 28:
                said |= set(re.findall(r"^(?:panic|fatal error): .*", log.read_text(errors="replace"), re.M))
        return sorted(said)

    def end(self):
        for node in (1, 2, 3):
            self.do("resume", node)  # who is frozen does not hear SIGTERM
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()


class Kafka:
    """Three brokers of Apache Kafka, left alone."""

    def __init__(self, work, _):
        if not os.environ.get("PEERS"):
            raise SystemExit("PEERS is not set: it is the folder with kafka/kafka")
        self.tool, self.data = os.path.join(os.path.abspath(os.environ["PEERS"]), "kafka", "kafka"), str(work / "kafka")
        port = next(p for p in iter(lambda: free_ports(3), None) if all(port_free(p + 1000 + i) for i in range(3)))
        self.brokers = ",".join(f"127.0.0.1:{port + i}" for i in range(3))
        subprocess.run([self.tool, "start", self.data, "3", str(port)], check=True)

    def end(self):
        subprocess.run([self.tool, "stop", self.data])

    def panics(self):
        return []


def port_free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            return s.bind(("127.0.0.1", port)) is None
        except OSError:
            return False


class Schedule(threading.Thread):
    """Faults one after the other, drawn from the seed; each is healed before the next. done lists what happened."""

    def __init__(self, cluster, faults, seed, seconds):
        super().__init__(daemon=True)
        self.faults = faults
        self.cluster, self.random, self.seconds = cluster, random.Random(seed), seconds
        self.began, self.over, self.done, self.trouble = time.monotonic(), threading.Event(), [], []

    def now(self):
        return time.monotonic() - self.began

    def run(self):
        while True:
            verb, many, _ = self.random.choices(self.faults, [f[2] for f in self.faults])[0]
            gap = self.random.choice([self.random.uniform(0.05, 0.5), self.random.uniform(0.5, 3)])
            length = self.random.choice([self.random.uniform(0, 1), self.random.uniform(1, 7)]) if many < 3 else self.random.uniform(0, 0.5)
            nodes = sorted(self.random.sample([1, 2, 3], many))
            if self.over.wait(gap) or self.now() + length > self.seconds - 5:
                return
            if verb == "eio":
                self.fail_syncs(nodes, min(length, 1.5))
            else:
                self.strike(verb, nodes, length)

    def strike(self, verb, nodes, length):
        at, hit = self.now(), []
        for node in ["all"] if len(nodes) == 3 else nodes:
            said = self.cluster.do(verb, node)
            hit += [] if said else nodes if node == "all" else [node]
            self.note(said)
        self.over.wait(length)
        to = self.now()
        for node in ["all"] if len(nodes) == 3 else hit:
            self.note(self.cluster.do(UNDO[verb], node))
        if hit:
            self.done.append({"at": round(at, 2), "for": round(to - at, 2), "fault": verb, "nodes": hit})

    def fail_syncs(self, nodes, length):
        at = self.now()
        traces = [self.cluster.fail_syncs(node) for node in nodes]
        self.over.wait(length)
        self.note(self.cluster.do("powercut", "all"))
        for t in traces:
            t.wait()
        self.note(self.cluster.do("revive", "all"))
        self.done.append({"at": round(at, 2), "for": round(self.now() - at, 2), "fault": "eio", "nodes": nodes})

    def note(self, said):
        if said:
            self.trouble.append(f"{self.now():.1f} s: {said}")

    def stop(self):
        self.over.set()
        self.join()


class Rates:
    """What the history says over time: acknowledged records, and operations by kind and outcome, each second."""

    LINE = re.compile(r'"op":"(\w+)".*?"done":(\d+),"outcome":"(\w+)"')
    COUNT = re.compile(r'"count":(\d+)')

    def __init__(self, path):
        self.kinds, self.acked, self.operations, last, self.gap = {}, {}, {}, 0, 0.0
        with gzip.open(path, "rt") as f:
            for line in f:
                m = self.LINE.search(line[:400])
                if not m:
                    continue
                kind, done, outcome = m[1], int(m[2]) / 1e9, m[3]
                by = self.kinds.setdefault(kind, {"ok": 0, "fail": 0, "unknown": 0})
                by[outcome] += 1
                self.operations[int(done)] = self.operations.get(int(done), 0) + 1
                if kind == "produce" and outcome == "ok":
                    self.acked[int(done)] = self.acked.get(int(done), 0) + int(self.COUNT.search(line)[1])
                    self.gap, last = max(self.gap, done - last), done


def peak(pid):
    try:
        return next(int(x.split()[1]) for x in open(f"/proc/{pid}/status") if x.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        return 0


def record(name, cluster, recorder, seconds, faults, work):
    """One run: who drives, who breaks, what came of it. faults are what to draw from."""
    history = work / "history.jsonl.gz"
    argv = [recorder, "check", "record", "-B", cluster.brokers, "--for", f"{seconds:.0f}s", "--drain", "1m", "--rate", str(RATE),
            "--memory", "900", "--out", str(history), "--pictures", str(KEEP), "-o", "json"]
    argv += ["--exact-high-watermark"] if name != "kafka" else []
    KEEP.mkdir(parents=True, exist_ok=True)
    p = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    top, said, schedule = 0.0, [], None
    out = []
    threading.Thread(target=lambda: out.append(p.stdout.read()), daemon=True).start()

    def listen():
        nonlocal schedule
        for line in p.stderr:
            said.append(line.rstrip())
            if "writing and reading" in line and faults:
                schedule = Schedule(cluster, faults, SEED, seconds)
                schedule.start()
            if "reading everything back" in line and schedule:
                schedule.over.set()
    ears = threading.Thread(target=listen, daemon=True)
    ears.start()
    began = time.monotonic()
    while p.poll() is None:
        top = max(top, peak(p.pid))
        time.sleep(0.2)
    if schedule:
        schedule.stop()
    ears.join()
    text = out[0] if out else ""
    verdict = json.loads(text)["data"] if text.strip() else {}
    struck = schedule.done if schedule else []
    by = {}
    for x in struck:
        kind = f"{x['fault']} {['', 'one', 'two', 'all'][len(x['nodes'])]}"
        by[kind] = by.get(kind, 0) + 1
    rates = Rates(history) if history.exists() else None
    v = verdict.get("verdict") or {}
    run = {"name": name, "commit": git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain") else ""), "seed": SEED, "minutes": round(seconds / 60, 2),
           "verdict": {0: "clean", 6: "anomalies"}.get(p.returncode, "none"), "exit": p.returncode,
           "operations": v.get("operations", 0), "unknown": v.get("unknown", 0), "sends_acknowledged": v.get("sends_acknowledged", 0),
           "records_read": v.get("records_read", 0), "anomalies": v.get("anomalies", {}), "searched": verdict.get("search"),
           "by_kind": dict(sorted(rates.kinds.items())) if rates else {}, "longest_gap_s": round(rates.gap, 2) if rates else None,
           "faults": sum(by.values()), "faults_by_kind": dict(sorted(by.items())),
           "found": [f"{x['id']}: {x['what']}" for x in verdict.get("found") or []][:5], "panics": cluster.panics(),
           "recorder_peak_mib": round(top), "history_mib": round(history.stat().st_size / 2**20) if history.exists() else 0,
           "seconds_in_all": round(time.monotonic() - began), "trouble": (schedule.trouble if schedule else [])[:10],
           "said": said[-8:] if p.returncode else []}
    series = {"acked": rates.acked, "operations": rates.operations, "faults": struck} if rates else None
    if p.returncode and history.exists():
        kept = KEEP / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}.jsonl.gz"
        shutil.move(history, kept)
        kept.with_name(kept.name.replace(".jsonl.gz", ".faults.json")).write_text(json.dumps(struck))
        print(f"{name}: history kept in {kept}", file=sys.stderr)
    return run, series


def once(name):
    variable, usual = {"karst": ("MINUTES", 30), "kafka": ("KAFKA_MINUTES", 2), "eio": ("EIO_MINUTES", 3)}.get(name, ("MUTANT_MINUTES", 3))
    minutes = float(os.environ.get(variable, usual))
    with tempfile.TemporaryDirectory(prefix="karst-record-", dir=os.environ.get("WORK")) as d:
        work = pathlib.Path(d)
        recorder = os.environ.get("KARST") or build(work)
        binary = recorder
        if re.fullmatch(r"M\d+\w*", name):
            (work / name).mkdir()
            binary = build(work / name, "-tags", "mutants", "-ldflags", f"-X github.com/karst-stream/karst/core/mut.Planted={name}")
        faults = [] if name == "kafka" else FAULTS + EIO if name in ("eio", "M24") else FAULTS
        cluster = (Kafka if name == "kafka" else Karst)(work, binary)
        try:
            run, series = record(name, cluster, recorder, 60 * minutes, faults, work)
        finally:
            cluster.end()
    all_ = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    all_[name] = run
    RESULT.write_text(json.dumps(all_, indent=1) + "\n")
    if series:
        record_plot.draw(run, series, HERE / "plots" / f"record-{name}.svg")
    print(json.dumps(run), flush=True)
    return run


def main(names):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left running
    bad = 0
    for name in BUGS if names == ["all"] else names or ["karst"]:
        run = once(name)
        bad |= name in ("karst", "kafka", "eio") and run["verdict"] != "clean"
    return int(bad)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
