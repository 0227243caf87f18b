"""What the experiments of this folder share: that of 01-spine/common.py, pages of files, one broker's processes.

Variables beside those of common.py: GB, the size of a large partition (30); CEILING, a copy of the yardsticks, whose
warm.sh runs before each measured block (without it the README's warning holds).
"""
import ctypes, mmap, os, pathlib, re, subprocess, sys, time

LOG = pathlib.Path(__file__).resolve().parent
os.environ.setdefault("RESULT", str(LOG / "result.json"))
sys.path.insert(0, str(LOG.parent / "01-spine"))
from common import *  # noqa: E402,F403
import common  # noqa: E402

GB = float(os.environ.get("GB", 30))
PAGE = mmap.PAGESIZE
DROP = "/proc/sys/vm/drop_caches"
libc = ctypes.CDLL(None, use_errno=True)


def warm():
    """Fills the page cache: see warm.sh."""
    if os.environ.get("CEILING"):
        subprocess.run([os.path.join(need("CEILING"), "warm.sh")], check=True)


def calm(longest=200):
    """Waits until what was filled is on the disk and the machine does not take its page cache back any more.

    Some virtual machines do that all the time (DAMON, and free pages reported to the host), half a minute after the last
    use, and it holds up the syncs of all: 2,000 records/s to idle partitions have then a p99 of 20 ms instead of 2.5."""
    os.sync()
    free = lambda: int(re.search(r"MemFree:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text())[1])
    began, before, still = time.monotonic(), free(), 0
    while still < 4 and time.monotonic() - began < longest:
        time.sleep(5)
        now = free()
        before, still = now, still + 1 if now - before < 50_000 else 0
    if still < 4:
        raise SystemExit(f"the machine took its page cache back for {longest} s: no latency can be measured")


WINDOW = 7  # seconds of a latency, of which the first two do not count


def windows(k, n=6):
    """The p99 of 2,000 records/s in some windows, in us."""
    return [pace(k, "pace", WINDOW)["p99_us"] for _ in range(n)]


def tool(mode, timeout=7200, **flags):
    """Runs this folder's load generator."""
    argv = [build("../03-log/load", "logload"), mode] + [f"-{k}={v}" for k, v in flags.items()]
    p = subprocess.run(argv, stdout=subprocess.PIPE, text=True, timeout=timeout)
    if p.returncode:
        raise RuntimeError(f"load {mode} failed")
    return json.loads(p.stdout)


def pace(k, topic, length, rate=2000):
    """An open loop of so many records a second, for length seconds: the spread of their latencies."""
    argv = [build("../03-log/pace", "pace"), f"-brokers={k.brokers}", f"-topic={topic}", f"-rate={rate}", f"-for={length}s"]
    return json.loads(subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout)


def resident(path):
    """How many bytes of a file are in the page cache."""
    size = os.path.getsize(path)
    if not size:
        return 0
    fd = os.open(path, os.O_RDWR)  # ctypes needs a writable buffer; nothing is written
    try:
        with mmap.mmap(fd, size) as m:
            vec = (ctypes.c_ubyte * ((size + PAGE - 1) // PAGE))()
            at = ctypes.c_char.from_buffer(m)
            if libc.mincore(ctypes.c_void_p(ctypes.addressof(at)), ctypes.c_size_t(size), vec):
                raise OSError(ctypes.get_errno(), "mincore")
            del at
            return sum(x & 1 for x in bytes(vec)) * PAGE
    finally:
        os.close(fd)


def drop(paths):
    """Takes files out of the page cache and makes sure that they are."""
    for again in range(100):  # a broker that writes to one of them, or scrubs it, brings pages back
        os.sync()
        if again % 10 == 9 and os.access(DROP, os.W_OK):  # all there are: a page that some CPU still holds by itself
            pathlib.Path(DROP).write_text("1")
        for p in paths:
            fd = os.open(p, os.O_RDONLY)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)
        left = {p: n for p in paths if (n := resident(p))}
        if not left:
            return
    raise SystemExit(f"still in the page cache, so that nothing cold can be measured: {left}")


def renew(path, size):
    """Brings the first size bytes of a file into the page cache anew.

    How large the pieces of memory are that hold it depends on what the machine had free, and whether it was written or
    read: one file's first bytes are sent up to a fifth slower than another's, in all rounds of one run and in no other."""
    drop([path])
    with open(path, "rb", buffering=0) as f:
        while f.tell() < size and f.read(1 << 24):
            pass


def segments(k, topic="log", partition=0):
    """The segment files of a partition, of all nodes."""
    return sorted(map(str, pathlib.Path(k.data).rglob(f"{topic}-{partition}/*.log")))


class One(Karst):
    """A cluster of one node, and its process."""

    def __init__(self, *flags, **more):
        super().__init__(1, *flags, **more)

    def pid(self):
        [p] = self.pids()
        return p

    def single(self, partitions=1, name="log", *config):
        argv = [self.binary, "topic", "create", name, "-p", str(partitions), "-r", "1", "-B", self.brokers]
        subprocess.run(argv + [x for c in config for x in ("-c", c)], check=True, stdout=subprocess.DEVNULL)

    def tool(self, mode, **flags):
        return tool(mode, broker=self.brokers, **flags)
