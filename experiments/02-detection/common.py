"""What result.jsonl says about the code it ends with."""
import json, os, pathlib

HERE = pathlib.Path(__file__).resolve().parent
RESULT = pathlib.Path(os.environ.get("RESULT", HERE / "result.jsonl"))
LIMIT = 500  # seeds that the worst master may take

# RELIABILITY: what each planted bug is, in a few words.
STORY = {
    "M01": "acknowledged before the sync", "M02": "a vote stays in memory", "M03": "what speaks of entries is written before them",
    "M04": "completions overtake each other", "M05": "a deposed leader answers reads", "M07": "rot among the committed is cut off as torn",
    "M08": "high watermark one too high", "M09": "a restart shows an old high watermark", "M10b": "a restart forgets producer state",
    "M11": "one batch is remembered, not five",
    "M16": "a commit of an old generation is taken", "M19": "compaction drops the last record of a batch",
    "M19b": "delete markers go at once", "M20": "retention passes the high watermark", "M20b": "a segment is as old as its oldest record",
    "M20c": "the last segment is never too old", "M20d": "a restart forgets the timestamps of segments", "M22": "a change of voters holds when it is appended",
    "M23": "a wiped node takes its old name", "M24": "a failed sync counts", "M26": "a follower does not check what it gets",
    "M28": "a buffer is used again in flight", "M29": "the order of a map decides", "M30": "a topic is made before it is decided",
    "M30b": "a topic id is used again", "M10": "a snapshot comes without producers", "M21": "an index made again is off by one",
    "M25": "a file is made without its directory's sync", "M27": "a snapshot is installed before it is synced",
    "M31": "an offset belongs to a name, whatever topic has it",
    "M27b": "what the log names makes way for a catch-up", "M27c": "a catch-up is noted before it is synced",
    "M32": "compacted files take the places of those that the window still names",
}


class Hunt:
    """One planted bug, looked for from one master seed."""

    def __init__(self, mutant, master):
        self.mutant, self.master, self.seeds, self.found, self.proven, self.check, self.what = mutant, master, 0, False, True, "", ""

    def add(self, line):
        self.seeds = max(self.seeds, line["seeds"])
        if line["killed"]:
            self.found, self.proven, self.check, self.what = True, line["proven"], line["check"], line["what"]


def hunts():
    """All hunts of the newest code, by mutant, in the order of their names; and how long a seed was."""
    lines = [json.loads(x) for x in RESULT.read_text().splitlines() if x.endswith("}")]
    if not lines:
        raise SystemExit(f"{RESULT} holds nothing: ./run.sh")
    code, length = lines[-1]["code"], lines[-1]["for"]
    all_ = {}
    for x in lines:
        if (x["code"], x["for"]) == (code, length):
            all_.setdefault((x["mutant"], x["master"]), Hunt(x["mutant"], x["master"])).add(x)
    by = {}
    for (mutant, _), h in sorted(all_.items()):
        by.setdefault(mutant, []).append(h)
    return by, length


def median(hunts):
    """Seeds to find it in the median master; None when most did not."""
    ranks = sorted(h.seeds if h.found else float("inf") for h in hunts)
    mid = ranks[(len(ranks) - 1) // 2]
    return None if mid == float("inf") else mid


def worst(hunts):
    return max(h.seeds for h in hunts) if all(h.found for h in hunts) else None


def chance(hunts):
    """How likely one seed finds it: the most likely value, given all seeds that were played."""
    return sum(h.found for h in hunts) / max(1, sum(h.seeds for h in hunts))
