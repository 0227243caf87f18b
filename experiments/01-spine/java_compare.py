#!/usr/bin/env python3
"""Runs Kafka's own Java tools against Apache Kafka and against Karst and compares what they print.

    KARST=bin/karst PEERS=../shared/peers ./java_compare.py [--keep DIR] [STEP..]

Each step is one call of one tool; in some node 3 is dead. Node ids, topic ids, member ids, ports, times and rates are replaced by a
letter and columns are squeezed; everything else must be equal, the exit status included. At the end
DumpLogSegments --deep-iteration reads every segment file that Karst wrote. KAFKA_AT=HOST:PORT uses a
running Kafka in place of a new one; then no node dies. Exit 1: something differs.
"""
import difflib, os, pathlib, re, shlex, signal, socket, subprocess, sys, tempfile, threading, time

TOOL = [os.path.join(os.environ["PEERS"], "kafka", "kafka")]
KARST = os.path.abspath(os.environ["KARST"])

# Name, tool, arguments; BS is --bootstrap-server with the address. A tool whose step starts with "bg-" goes on until
# "end-NAME"; "settle" waits until its group is stable. kill-3 and revive-3 wait until the cluster has noticed.
STEPS = """
list-empty          TopicCommand BS --list
create              TopicCommand BS --create --topic jt-a --partitions 3 --replication-factor 3
create-defaults     TopicCommand BS --create --topic jt.defaults
create-one          TopicCommand BS --create --topic jt-one --partitions 1 --replication-factor 3
create-configs      TopicCommand BS --create --topic jt_c --partitions 2 --replication-factor 2 --config max.message.bytes=200000 --config min.insync.replicas=1
create-compact      TopicCommand BS --create --topic jt-compact --partitions 1 --config cleanup.policy=compact --config retention.ms=3600000
create-assigned     TopicCommand BS --create --topic jt-assigned --replica-assignment 1:2,2:3,3:1
create-again        TopicCommand BS --create --topic jt-a --partitions 3
create-if-not       TopicCommand BS --create --topic jt-a --partitions 3 --if-not-exists
create-bad-name     TopicCommand BS --create --topic jt/bad
create-rf-4         TopicCommand BS --create --topic jt-rf4 --replication-factor 4
create-no-parts     TopicCommand BS --create --topic jt-zero --partitions 0
create-bad-config   TopicCommand BS --create --topic jt-conf --config retention.mss=1
create-bad-value    TopicCommand BS --create --topic jt-conf --config min.insync.replicas=x
list                TopicCommand BS --list
list-one            TopicCommand BS --list --topic jt-a
describe            TopicCommand BS --describe --topic jt-a
describe-configs    TopicCommand BS --describe --topic jt_c
describe-assigned   TopicCommand BS --describe --topic jt-assigned
describe-all        TopicCommand BS --describe
describe-none       TopicCommand BS --describe --topic nothing
describe-none-if    TopicCommand BS --describe --topic nothing --if-exists
overrides           TopicCommand BS --describe --topics-with-overrides
under-replicated    TopicCommand BS --describe --under-replicated-partitions
unavailable         TopicCommand BS --describe --unavailable-partitions
under-min-isr       TopicCommand BS --describe --under-min-isr-partitions
at-min-isr          TopicCommand BS --describe --at-min-isr-partitions
alter               TopicCommand BS --alter --topic jt-a --partitions 6
alter-fewer         TopicCommand BS --alter --topic jt-a --partitions 2
alter-same          TopicCommand BS --alter --topic jt-a --partitions 6
alter-none          TopicCommand BS --alter --topic nothing --partitions 6
describe-altered    TopicCommand BS --describe --topic jt-a
produce             ProducerPerformance --topic jt-a --num-records 20000 --record-size 100 --throughput -1 --producer-props bootstrap.servers=ADDR acks=all
produce-one         ProducerPerformance --topic jt-one --num-records 5000 --record-size 1024 --throughput -1 --producer-props bootstrap.servers=ADDR acks=all
produce-lz4         ProducerPerformance --topic jt-one --num-records 2000 --record-size 1024 --throughput 4000 --print-metrics --producer-props bootstrap.servers=ADDR compression.type=lz4
produce-zstd-acks-1 ProducerPerformance --topic jt-one --num-records 2000 --payload-monotonic --throughput -1 --producer-props bootstrap.servers=ADDR compression.type=zstd acks=1
produce-acks-0      ProducerPerformance --topic jt-one --num-records 1000 --record-size 10 --throughput -1 --producer-props bootstrap.servers=ADDR acks=0
produce-none        ProducerPerformance --topic nothing --num-records 1 --record-size 10 --throughput -1 --producer-props bootstrap.servers=ADDR max.block.ms=3000
produce-too-large   ProducerPerformance --topic jt_c --num-records 1 --record-size 300000 --throughput -1 --producer-props bootstrap.servers=ADDR
offsets             GetOffsetShell BS --topic jt-one
offsets-all         GetOffsetShell BS
offsets-no-internal GetOffsetShell BS --exclude-internal-topics
offsets-pattern     GetOffsetShell BS --topic-partitions jt-(one|a):0-2
offsets-earliest    GetOffsetShell BS --topic jt-one --time earliest
offsets-latest      GetOffsetShell BS --topic jt-one --time latest
offsets-max-time    GetOffsetShell BS --topic jt-one --time max-timestamp
offsets-local       GetOffsetShell BS --topic jt-one --time earliest-local
offsets-tiered      GetOffsetShell BS --topic jt-one --time latest-tiered
offsets-at-0        GetOffsetShell BS --topic jt-one --time 0
offsets-future      GetOffsetShell BS --topic jt-one --time 99999999999999
offsets-none        GetOffsetShell BS --topic nothing
consume             ConsumerPerformance BS --topic jt-a --num-records 20000 --group jg-perf --timeout 20000
consume-detailed    ConsumerPerformance BS --topic jt-one --num-records 10000 --group jg-one --show-detailed-stats --reporting-interval 200 --timeout 20000
groups-list         ConsumerGroupCommand BS --list
groups-list-state   ConsumerGroupCommand BS --list --state
groups-list-empty   ConsumerGroupCommand BS --list --state Empty
groups-list-type    ConsumerGroupCommand BS --list --type classic
groups-describe     ConsumerGroupCommand BS --describe --group jg-one
groups-describe-a   ConsumerGroupCommand BS --describe --group jg-perf
groups-members-none ConsumerGroupCommand BS --describe --group jg-one --members
groups-state-empty  ConsumerGroupCommand BS --describe --group jg-one --state
groups-none         ConsumerGroupCommand BS --describe --group jg-nothing
bg-reader           ConsoleConsumer BS --topic jt-a --group jg-live --consumer-property client.id=live
settle              -
live-offsets        ConsumerGroupCommand BS --describe --group jg-live
live-verbose        ConsumerGroupCommand BS --describe --group jg-live --verbose
live-members        ConsumerGroupCommand BS --describe --group jg-live --members
live-members-v      ConsumerGroupCommand BS --describe --group jg-live --members --verbose
live-state          ConsumerGroupCommand BS --describe --group jg-live --state
live-state-v        ConsumerGroupCommand BS --describe --group jg-live --state --verbose
live-reset          ConsumerGroupCommand BS --reset-offsets --group jg-live --topic jt-a --to-earliest --execute
live-delete         ConsumerGroupCommand BS --delete --group jg-live
live-delete-offsets ConsumerGroupCommand BS --delete-offsets --group jg-live --topic jt-a
all-groups          ConsumerGroupCommand BS --describe --all-groups --state
end-reader          -
reset-dry           ConsumerGroupCommand BS --reset-offsets --group jg-one --topic jt-one --to-earliest --dry-run
reset-earliest      ConsumerGroupCommand BS --reset-offsets --group jg-one --topic jt-one --to-earliest --execute
reset-shift         ConsumerGroupCommand BS --reset-offsets --group jg-one --topic jt-one --shift-by 1500 --execute
reset-to-offset     ConsumerGroupCommand BS --reset-offsets --group jg-one --topic jt-one:0 --to-offset 42 --execute
reset-beyond        ConsumerGroupCommand BS --reset-offsets --group jg-one --topic jt-one --to-offset 999999 --execute
reset-time          ConsumerGroupCommand BS --reset-offsets --group jg-one --topic jt-one --to-datetime 2001-01-01T00:00:00.000 --execute
reset-duration      ConsumerGroupCommand BS --reset-offsets --group jg-one --topic jt-one --by-duration PT0S --execute
reset-latest        ConsumerGroupCommand BS --reset-offsets --group jg-one --all-topics --to-latest --execute
reset-export        ConsumerGroupCommand BS --reset-offsets --group jg-one --topic jt-one --to-current --dry-run --export
reset-new-group     ConsumerGroupCommand BS --reset-offsets --group jg-new --topic jt-one --to-earliest --execute
reset-no-topic      ConsumerGroupCommand BS --reset-offsets --group jg-one --topic nothing --to-earliest --execute
delete-offsets      ConsumerGroupCommand BS --delete-offsets --group jg-one --topic jt-one
delete-offsets-2    ConsumerGroupCommand BS --delete-offsets --group jg-one --topic nothing
describe-no-offsets ConsumerGroupCommand BS --describe --group jg-one
delete-group        ConsumerGroupCommand BS --delete --group jg-perf
delete-group-again  ConsumerGroupCommand BS --delete --group jg-perf
delete-groups       ConsumerGroupCommand BS --delete --all-groups
groups-list-end     ConsumerGroupCommand BS --list
kill-3              -
dead-describe       TopicCommand BS --describe --topic jt-a
dead-assigned       TopicCommand BS --describe --topic jt-assigned
dead-under          TopicCommand BS --describe --under-replicated-partitions --exclude-internal
dead-unavailable    TopicCommand BS --describe --unavailable-partitions --exclude-internal
dead-under-min-isr  TopicCommand BS --describe --under-min-isr-partitions --exclude-internal
dead-at-min-isr     TopicCommand BS --describe --at-min-isr-partitions --exclude-internal
dead-create         TopicCommand BS --create --topic jt-dead --partitions 3 --replication-factor 3
dead-create-2       TopicCommand BS --create --topic jt-dead2 --partitions 3 --replication-factor 2
dead-describe-2     TopicCommand BS --describe --topic jt-dead2
dead-offsets        GetOffsetShell BS --topic jt-one
dead-produce        ProducerPerformance --topic jt-one --num-records 100 --record-size 100 --throughput -1 --producer-props bootstrap.servers=ADDR acks=all
revive-3            -
alive-under         TopicCommand BS --describe --under-replicated-partitions
delete              TopicCommand BS --delete --topic jt-compact
delete-again        TopicCommand BS --delete --topic jt-compact
delete-if-exists    TopicCommand BS --delete --topic jt-compact --if-exists
delete-pattern      TopicCommand BS --delete --topic jt[._].*
list-end            TopicCommand BS --list
"""

# What may differ, and what stands for it. Order matters.
NORMAL = [
    (r"(?m)^(SLF4J|WARNING|Picked up).*\n", ""),
    (r"(?m)^OpenJDK .*\n", ""),
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d[.,:]\d{3}\S*", "TIME"),
    (r"(?:127\.0\.0\.1|localhost):\d+", "HOST:PORT"),
    (r"HOST:PORT \(id: -?\d+ rack: \w+( isFenced: \w+)?\)", "HOST:PORT (id: N)"),
    (r"HOST:PORT(\s+)\(\d+\)", r"HOST:PORT (N)"),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID"),
    (r"TopicId: \S{22}", "TopicId: ID"),
    (r"Leader: \d+", "Leader: N"),
    (r"(Replicas|Isr|Elr): ([\d,]+)", lambda m: m[1] + ": " + ",".join("N" for _ in m[2].split(","))),
    (r"broker \d+|[Nn]ode -?\d+", "node N"),
    (r"correlation id \d+", "correlation id N"),
    # How often a client asks before a new topic has its leaders is a matter of time.
    (r"(?m)^.*WARN NetworkClient: .* reported a recoverable issue with .*\n", ""),
]
RATES = [(r"-?\d+[.,]\d+|\b\d+ (?=ms )", "R"), (r"\d+ records sent", "R records sent"),
         (r"NaN|Infinity|∞", "R"), (r"(?<=[ ,])\d+", "R")]


def normal(step, text):
    for pattern, to in NORMAL:
        text = re.sub(pattern, to, text)
    name, tool = step[0], step[1]
    if "Performance" in tool:
        lines = text.splitlines()
        for pattern, to in RATES:
            lines = [re.sub(pattern, to, l) for l in lines]
        # A run on one side may print one more interval line than on the other.
        out = []
        for l in lines:
            l = re.sub(r"\s+", " ", l)
            l = re.sub(r"node-id=node-\d+", "node-id=N", l)
            if not (out and out[-1] == l) and not l.endswith("max latency."):
                out.append(l)
        if "--print-metrics" in step[2]:
            out = sorted(set(out))
        text = "\n".join(out)
    text = "\n".join(re.sub(r"[ \t]+", " ", l).rstrip() for l in text.splitlines())
    # How the producer spread records over several partitions is chance.
    text = re.sub(r"(jt-a[: ]\d+[: ](?:- )?)\d+( \d+ \d+)?", r"\1#", text)
    if name == "offsets-max-time":  # of many records in the last millisecond the first
        text = re.sub(r"\d{4}$", "#", text, flags=re.M)
    if name in ("list", "list-end", "offsets-all", "offsets-pattern", "offsets-no-internal", "all-groups",
                "describe-all", "groups-list", "groups-list-state", "groups-list-empty", "groups-list-type") \
            or name.startswith(("groups-describe", "live", "dead")):
        text = "\n".join(sorted(text.splitlines()))
    return text.strip()


class Target:
    def __init__(self, name, address, out, commands):
        self.name, self.address, self.out, self.background = name, address, out / name, None
        self.commands = commands
        self.out.mkdir(parents=True, exist_ok=True)

    def argv(self, step):
        args = shlex.split(step[2].replace("BS", "--bootstrap-server " + self.address).replace("ADDR", self.address))
        return TOOL + ["tool", step[1]] + args

    def run(self, step):
        if step[0].startswith("bg-"):
            self.background = subprocess.Popen(self.argv(step), stdout=subprocess.DEVNULL,
                                               stderr=subprocess.DEVNULL, start_new_session=True)
            return
        if step[0].startswith("end-"):
            os.killpg(self.background.pid, signal.SIGTERM)
            self.background.wait()
            return
        if step[0] == "settle":
            return self.settle()
        if step[0] in ("kill-3", "revive-3"):
            return self.node(step[0])
        p = subprocess.run(self.argv(step), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=180, text=True)
        (self.out / (step[0] + ".txt")).write_text(f"{p.stdout}\nexit {p.returncode}\n")

    def settle(self):
        """Waits until the group in the background is stable."""
        for _ in range(20):
            p = subprocess.run(TOOL + ["tool", "ConsumerGroupCommand", "--bootstrap-server", self.address, "--describe",
                                       "--group", "jg-live", "--state"], capture_output=True, text=True)
            if "Stable" in p.stdout:
                time.sleep(6)  # longer than the interval at which the reader commits
                return
        raise SystemExit(f"{self.name}: the reader's group does not become stable")

    def node(self, what):
        subprocess.run(self.commands[what], check=True, stdout=subprocess.DEVNULL)
        for _ in range(30):
            p = subprocess.run(TOOL + ["tool", "TopicCommand", "--bootstrap-server", self.address, "--describe",
                                       "--under-replicated-partitions"], capture_output=True, text=True)
            if ("Topic:" in p.stdout) == (what == "kill-3"):
                return
            time.sleep(1)
        raise SystemExit(f"{self.name}: nobody notices {what}")

    def text(self, step):
        return (self.out / (step[0] + ".txt")).read_text()


def free_ports(n):
    """n ports in a row, and n more 1,000 above, that nobody listens on."""
    for base in range(31092, 39000, 17):
        held = []
        try:
            for p in [base + i + k for i in range(n) for k in (0, 1000)]:
                s = socket.socket()
                held.append(s)
                s.bind(("127.0.0.1", p))
            return base
        except OSError:
            pass
        finally:
            for s in held:
                s.close()
    raise SystemExit("no free ports")


def start_karst(data):
    base = free_ports(3)
    p = subprocess.Popen([KARST, "dev", "-n", "3", "--data", str(data), "--ports", f"{base},{base + 1},{base + 2}",
                          "--set", "min.insync.replicas=2"],  # as kafka/kafka does
                         stdout=subprocess.PIPE, text=True)
    for line in p.stdout:
        if line.startswith("ready"):
            return p, f"127.0.0.1:{base}"
    raise SystemExit("karst dev did not become ready")


def dump(data, out):
    """DumpLogSegments over every segment file; returns the number of files and the complaints."""
    files = sorted(p for p in data.rglob("*.log") if p.parent != data and p.stat().st_size)
    complaints, records = [], 0
    for i in range(0, len(files), 40):
        part = ",".join(map(str, files[i:i + 40]))
        p = subprocess.run(TOOL + ["tool", "DumpLogSegments", "--files", part, "--deep-iteration"],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        (out / f"dump-{i}.txt").write_text(p.stdout)
        records += len(re.findall(r"(?m)^\| offset: ", p.stdout))
        bad = re.findall(r"(?m)^(?:.*isvalid: false.*|Found .*|.*[Ee]xception.*|Non-consecutive.*|.*mismatch.*)$", p.stdout)
        complaints += bad + ([f"exit {p.returncode}"] if p.returncode else [])
    return files, records, complaints


def main():
    args = sys.argv[1:]
    out = pathlib.Path(tempfile.mkdtemp(prefix="karst-java-"))
    if args[:1] == ["--keep"]:
        out, args = pathlib.Path(args[1]), args[2:]
    steps = [(l.split(None, 2) + [""])[:3] for l in STEPS.strip().splitlines()]
    if args:
        steps = [s for s in steps if s[0] in args]
    kafka_at, started = os.environ.get("KAFKA_AT"), False
    if not kafka_at:
        base = free_ports(3)
        kafka_at, started = f"127.0.0.1:{base}", True
    else:
        steps = [s for s in steps if not s[0].startswith(("kill-", "revive-", "dead-", "alive-"))]
    if started:
        subprocess.run(TOOL + ["start", str(out / "kafka-data"), "3", str(base)], check=True)
    karst, karst_at = start_karst(out / "karst-data")
    data = [str(out / "kafka-data"), str(out / "karst-data")]
    both = [Target("kafka", kafka_at, out, {"kill-3": TOOL + ["kill", data[0], "3"], "revive-3": TOOL + ["revive", data[0], "3"]}),
            Target("karst", karst_at, out, {v + "-3": [KARST, "dev", v, "3", "--data", data[1]] for v in ("kill", "revive")})]
    different = 0
    try:
        for step in steps:
            threads = [threading.Thread(target=t.run, args=(step,)) for t in both]
            [t.start() for t in threads]
            [t.join() for t in threads]
            if step[1] == "-" or step[0].startswith("bg-"):
                continue
            a, b = (normal(step, t.text(step)) for t in both)
            if a == b:
                print(f"same       {step[0]}", flush=True)
                continue
            different += 1
            print(f"DIFFERENT  {step[0]}: {step[1]} {step[2]}", flush=True)
            for l in difflib.unified_diff(a.splitlines(), b.splitlines(), "Apache Kafka", "Karst", lineterm="", n=1):
                print("    " + l[:240], flush=True)
        files, records, complaints = dump(out / "karst-data", out)
        print(f"DumpLogSegments: {len(files)} files, {records} records, {len(complaints)} complaints")
        [print("    " + c[:240]) for c in complaints[:20]]
    finally:
        karst.send_signal(signal.SIGTERM)
        karst.wait()
        if started:
            subprocess.run(TOOL + ["stop", str(out / "kafka-data")])
    print(f"{len(steps)} steps, {different} different; raw output in {out}")
    sys.exit(1 if different or complaints or not records else 0)


if __name__ == "__main__":
    main()
