"""What the experiments share: where things are, a cluster to measure, and result.json.

Variables: KARST the binary (absolute or from here); PEERS the folder with kafka/kafka; CEILING a writable copy of the
yardsticks; WORK a directory on a real disk for data (default: the temporary one); RESULT (default: result.json beside this
file); ROUNDS and RUNS, how often. Nothing else of the machine is assumed.
"""
import atexit, fcntl, json, os, pathlib, shutil, signal, socket, subprocess, tempfile, threading, time

HERE = pathlib.Path(__file__).resolve().parent
RESULT = pathlib.Path(os.environ.get("RESULT", HERE / "result.json"))
WORK = pathlib.Path(tempfile.mkdtemp(prefix="karst-x-", dir=os.environ.get("WORK")))
atexit.register(shutil.rmtree, WORK, ignore_errors=True)
ROUNDS = int(os.environ.get("ROUNDS", 3))


def runs(usual):
    return int(os.environ.get("RUNS", usual))


def need(name):
    """The absolute path in a variable; the README says what belongs there."""
    if not os.environ.get(name):
        raise SystemExit(f"{name} is not set: see README.md")
    return os.path.abspath(os.environ[name])


def record(experiment, who, metric, value, unit, round=1, **more):
    """Prints a figure and adds it to result.json, an array with one figure a line."""
    figure = {"experiment": experiment, "who": who, "metric": metric, "value": value, "unit": unit, "round": round, **more}
    line = json.dumps(figure)
    print(line, flush=True)
    with open(RESULT, "a+") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        f.seek(0)
        all_ = json.loads(f.read() or "[]") + [figure]
        f.truncate(0)
        f.write("[\n" + ",\n".join(json.dumps(x) for x in all_) + "\n]\n")


def build(what, name, *flags):
    """Builds a program of this module into WORK."""
    out = WORK / name
    if not out.exists():
        subprocess.run(["go", "build", *flags, "-o", str(out), what], cwd=HERE, check=True)
    return str(out)


def load(mode, timeout=3600, **flags):
    """Runs the load generator; names of flags are its own."""
    argv = [build("./load", "load"), mode] + [f"-{k}={v}" for k, v in flags.items()]
    p = subprocess.run(argv, stdout=subprocess.PIPE, text=True, timeout=timeout)
    if p.returncode:
        raise RuntimeError(f"load {mode} failed")
    return json.loads(p.stdout)


def free_ports(n, apart=0):
    """The first of n ports in a row (and of n more, apart above) that nobody listens on."""
    for base in range(21092, 29000, 17):
        held = []
        try:
            for p in [base + i + k for i in range(n) for k in {0, apart}]:
                held.append(socket.socket())
                held[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                held[-1].bind(("127.0.0.1", p))
            return base
        except OSError:
            pass
        finally:
            [s.close() for s in held]
    raise SystemExit("no free ports")


def memory(pid, field):
    """A line of /proc/PID/status in MiB, 0 for a process that is gone."""
    try:
        for line in open(f"/proc/{pid}/status"):
            if line.startswith(field + ":"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0


def cpu_seconds(pid):
    f = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(f[11]) + int(f[12])) / os.sysconf("SC_CLK_TCK")


class Karst:
    """A running karst dev; peak is the largest RSS in MiB that any of its nodes ever had."""

    def __init__(self, nodes=3, *flags, binary=None, data=None):
        self.binary, self.nodes, self.peak = binary or need("KARST"), nodes, 0
        self.data = data or tempfile.mkdtemp(prefix="karst-", dir=WORK)
        ports = free_ports(nodes)
        self.addresses = [f"127.0.0.1:{ports + i}" for i in range(nodes)]
        self.brokers = ",".join(self.addresses)
        argv = [self.binary, "dev", "-n", str(nodes), "--data", self.data, "--ports",
                ",".join(str(ports + i) for i in range(nodes)), *flags]
        began = time.monotonic()
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        if not any(line.startswith("ready") for line in iter(self.process.stdout.readline, "")):
            raise RuntimeError("karst dev did not become ready")
        self.ready_s = time.monotonic() - began
        self.watching = threading.Thread(target=self.watch, daemon=True)
        self.watching.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.look()
            self.stop()
        shutil.rmtree(self.data, ignore_errors=True)

    def stop(self):
        """Stops all and returns how long it took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        return time.monotonic() - began

    def pids(self):
        out = []
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            out += map(int, task.read_text().split())
        return out

    def look(self):
        try:
            self.peak = max([self.peak] + [memory(p, "VmHWM") for p in self.pids()])
        except OSError:
            pass

    def watch(self):
        while self.process.poll() is None:
            self.look()
            time.sleep(0.25)

    def command(self, *verb):
        """A verb of karst dev as a shell command."""
        return f"{self.binary} dev {' '.join(map(str, verb))} --data {self.data}"

    def do(self, *verb):
        subprocess.run(self.command(*verb), shell=True, check=True, stdout=subprocess.DEVNULL)

    def topic(self, name, partitions, rf=3):
        subprocess.run([self.binary, "topic", "create", name, "-p", str(partitions), "-r", str(rf), "-B", self.brokers],
                       check=True, stdout=subprocess.DEVNULL)


class Kafka:
    """Three brokers of Apache Kafka."""

    def __init__(self):
        self.tool, self.data = os.path.join(need("PEERS"), "kafka", "kafka"), tempfile.mkdtemp(prefix="kafka-", dir=WORK)
        self.port = free_ports(3, apart=1000)
        self.address = f"127.0.0.1:{self.port}"
        began = time.monotonic()
        subprocess.run([self.tool, "start", self.data, "3", str(self.port)], check=True)
        self.ready_s = time.monotonic() - began

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run([self.tool, "stop", self.data])
        shutil.rmtree(self.data, ignore_errors=True)

    def pids(self):
        out = subprocess.run([self.tool, "pids", self.data], capture_output=True, text=True, check=True).stdout
        return list(map(int, out.split()))

    def do(self, verb, node):
        subprocess.run([self.tool, verb, self.data, str(node)], check=True)

    def run(self, *argv):
        subprocess.run([self.tool, "tool", *argv], check=True, stdout=subprocess.DEVNULL)


def rounds(times=None):
    return range(1, (times or ROUNDS) + 1)
