#!/usr/bin/env python3
"""Runs Kafka's own Java tools against Apache Kafka and against Karst and compares what they print.

    ./java_compare.py [STEP..]         KARST and PEERS are set; steps are those of java_steps.txt

Each step is one call of one tool; in some node 3 is dead. Node ids, topic ids, member ids, ports, times and rates are
replaced by a letter and columns are squeezed; everything else must be equal, the exit status included. At the end
DumpLogSegments --deep-iteration reads every segment file that Karst wrote. The raw output is kept in KEEP (a new
temporary directory). Exit 1: something differs.
"""
import concurrent.futures, difflib, os, pathlib, re, shlex, signal, subprocess, sys, tempfile, time
from common import HERE, Kafka, Karst, need, record

TOOL = [os.path.join(need("PEERS"), "kafka", "kafka")]

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
RATES = [(r"-?\d+[.,]\d+|\b\d+ (?=ms )", "R"), (r"NaN|Infinity|∞", "R"), (r"(?<=[ ,])\d+", "R")]


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
    """One of the two clusters; node(verb) kills or revives its node 3."""

    def __init__(self, name, address, out, node):
        self.name, self.address, self.out, self.node, self.background = name, address, out / name, node, None
        self.out.mkdir(parents=True, exist_ok=True)

    def argv(self, step):
        text = step[2].replace("BS", "--bootstrap-server " + self.address).replace("ADDR", self.address)
        return TOOL + ["tool", step[1]] + shlex.split(text)

    def run(self, step):
        verb, _, rest = step[0].partition("-")
        if verb == "bg":
            self.background = subprocess.Popen(self.argv(step), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                               start_new_session=True)
        elif step[1] != "-":
            p = subprocess.run(self.argv(step), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=180, text=True)
            (self.out / (step[0] + ".txt")).write_text(f"{p.stdout}\nexit {p.returncode}\n")
        elif verb == "end":
            os.killpg(self.background.pid, signal.SIGTERM)
            self.background.wait()
        elif verb == "settle":
            self.until("ConsumerGroupCommand", "--describe", "--group", "jg-live", "--state", shows="Stable")
            time.sleep(6)  # longer than the interval at which the reader commits
        else:
            self.node(verb)
            self.until("TopicCommand", "--describe", "--under-replicated-partitions", shows="Topic:", not_=verb == "revive")

    def until(self, tool, *args, shows, not_=False):
        for _ in range(30):
            p = subprocess.run(TOOL + ["tool", tool, "--bootstrap-server", self.address, *args], capture_output=True, text=True)
            if (shows in p.stdout) != not_:
                return
            time.sleep(1)
        raise RuntimeError(f"{self.name}: {tool} {' '.join(args)} never {'stops showing' if not_ else 'shows'} {shows}")

    def text(self, step):
        return (self.out / (step[0] + ".txt")).read_text()


def dump(data, out):
    """DumpLogSegments over every segment file; returns files, records and complaints."""
    files = sorted(p for p in pathlib.Path(data).rglob("*.log") if p.parent != pathlib.Path(data) and p.stat().st_size)
    complaints, records = [], 0
    for i in range(0, len(files), 40):
        part = ",".join(map(str, files[i:i + 40]))
        p = subprocess.run(TOOL + ["tool", "DumpLogSegments", "--files", part, "--deep-iteration"],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        (out / f"dump-{i}.txt").write_text(p.stdout)
        records += len(re.findall(r"(?m)^\| offset: ", p.stdout))
        complaints += re.findall(r"(?m)^(?:.*isvalid: false.*|Found .*|.*[Ee]xception.*|Non-consecutive.*|.*mismatch.*)$", p.stdout)
        complaints += [f"exit {p.returncode}"] if p.returncode else []
    return files, records, complaints


def compare(step, both):
    """Runs a step on both, at the same time, and says whether they agree."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda t: t.run(step), both))
    if step[1] == "-" or step[0].startswith("bg-"):
        return True
    a, b = (normal(step, t.text(step)) for t in both)
    print(f"{'same' if a == b else 'DIFFERENT':<10} {step[0]}: {step[1]} {step[2]}", flush=True)
    for l in difflib.unified_diff(a.splitlines(), b.splitlines(), "Apache Kafka", "Karst", lineterm="", n=1):
        print("    " + l[:240], flush=True)
    return a == b


def main():
    out = pathlib.Path(os.environ.get("KEEP") or tempfile.mkdtemp(prefix="karst-java-"))
    lines = [l for l in (HERE / "java_steps.txt").read_text().splitlines() if l and l[0] != "#"]
    steps = [(l.split(None, 2) + [""])[:3] for l in lines]
    steps = [s for s in steps if not sys.argv[1:] or s[0] in sys.argv[1:]]
    # min.insync.replicas as kafka/kafka sets it.
    with Kafka() as kafka, Karst(3, "--set", "min.insync.replicas=2") as karst:
        both = [Target("kafka", kafka.address, out, lambda verb: kafka.do(verb, 3)),
                Target("karst", karst.addresses[0], out, lambda verb: karst.do(verb, 3))]
        different = [s[0] for s in steps if not compare(s, both)]
        files, records, complaints = dump(karst.data, out)
    print(f"{len(steps)} steps; DumpLogSegments: {len(files)} files, {records} records; raw output in {out}")
    [print("    " + c[:240]) for c in complaints[:20]]
    if not sys.argv[1:]:
        record("java", "Karst", "steps that differ", len(different), "steps", steps=len(steps), which=different)
        record("java", "Karst", "complaints of DumpLogSegments", len(complaints) or int(not records), "complaints",
               files=len(files), records=records)
    return bool(different or complaints or not records)


if __name__ == "__main__":
    sys.exit(main())
