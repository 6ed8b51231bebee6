"""Which rows torch_gpu.py measures and in which order, how often each is repeated, and the table of them. Needs no torch."""
import argparse
from collections import namedtuple

WAYS = ["eager", "graph", "compile", "compiled-graph"]
PRECISIONS = ["bf16", "tf32", "float32"]
LONG_RUN = 1.0  # seconds from which a run is long: then it is repeated least, and a longer loop is cut
CUT_STEPS = 100  # of such a loop; what they took is scaled to all of its steps
LEAST_RUN, LEAST_RUNS, MOST_STEPS = 0.1, 3, 1000  # seconds of a run of short steps, so that its end weighs little

Row = namedtuple("Row", "task way precision")


def unet(workload, metric, kind, batch, base):
    return {"workload": workload, "metric": metric, "kind": kind, "batch": batch, "size": 32, "base": base, "mults": [1, 2, 2, 2]}


def tutorial(workload, metric, kind, batch):
    return {"workload": workload, "metric": metric, "kind": kind, "batch": batch}


# As in bench/tasks.ts and test/gpu-check/timings.ts. The first are those of which the project has goals on an H100.
GOALS = [
    tutorial("W1", "ms_per_train_step", "tutorial-train", 128),
    *[tutorial("W2-b%d" % n, "s_total_1000_steps", "tutorial-sample", n) for n in (1, 132, 1024)],
    unet("cifar10-train-b128", "ms_per_train_step", "unet-train", 128, 128),
    unet("cifar10-sample-b64", "s_total_1000_steps", "unet-sample", 64, 128),
]
OTHERS = [
    tutorial("W2-b64", "s_total_1000_steps", "tutorial-sample", 64),
    unet("W4-train-b16", "ms_per_train_step", "unet-train", 16, 64),
    *[unet("W4-fwd-b%d" % n, "ms_fwd", "unet-forward", n, 64) for n in (1, 16)],
    unet("cifar10-fwd-b64", "ms_fwd", "unet-forward", 64, 128),
    {"workload": "W3", "metric": "ms_per_step", "kind": "reverse-step", "size": 512},
]
TASKS = GOALS + OTHERS


def group(workload):
    return workload.split("-")[0]


WORKLOADS = [task["workload"] for task in TASKS]
SELECTORS = list(dict.fromkeys([*map(group, WORKLOADS), *WORKLOADS]))


def precisions_of(task):
    """W3 has no products: it is the same in every precision."""
    return ["float32"] if task["kind"] == "reverse-step" else PRECISIONS


def rank(row):
    """What takes seconds before what takes minutes to compile, in each the goals first, then bf16 first."""
    slow = max(0, WAYS.index(row.way) - WAYS.index("graph"))
    return slow, row.task not in GOALS, PRECISIONS.index(row.precision), TASKS.index(row.task), WAYS.index(row.way)


def rows(only, ways, precisions):
    """Rows of these workloads (names or groups of them), ways and precisions in the order in which they are measured."""
    chosen = [task for task in TASKS if task["workload"] in only or group(task["workload"]) in only]
    every = [Row(task, way, precision) for task in chosen for way in ways for precision in precisions_of(task)]
    return sorted((row for row in every if row.precision in precisions), key=rank)


def name(row):
    return "%s %s %s" % (row.task["workload"], row.precision, row.way)


def choice(known):
    """Reads a list of known names, separated by commas."""

    def read(text):
        names = text.split(",")
        unknown = [given for given in names if given not in known]
        if unknown:
            raise argparse.ArgumentTypeError("%s: expected some of %s" % (",".join(unknown), ",".join(known)))
        return names

    return read


def repetition(step_seconds, steps, seconds):
    """Steps of a run and the number of runs, for a loop of so many steps of this length, to be timed for some seconds."""
    if steps == 1:
        timed = min(MOST_STEPS, max(1, round(LEAST_RUN / step_seconds)))
    else:
        timed = steps if steps * step_seconds <= LONG_RUN else min(steps, CUT_STEPS)
    run = timed * step_seconds
    return timed, LEAST_RUNS if run > LONG_RUN else max(LEAST_RUNS, round(seconds / run))


def cell(line):
    if line is None:
        return ""
    return "failed" if "error" in line else "%.4g" % line["median"]


def table(lines):
    """Medians in Markdown, a column for each way."""
    found = {(line["workload"], line["precision"], line["way"]): line for line in lines}
    ways = [way for way in WAYS if any(line["way"] == way for line in lines)]
    cells = [["workload", "metric", "precision", *ways], ["---"] * 3 + ["---:"] * len(ways)]
    for task in TASKS:
        for precision in PRECISIONS:
            measured = [found.get((task["workload"], precision, way)) for way in ways]
            if any(measured):
                cells.append([task["workload"], task["metric"], precision, *map(cell, measured)])
    return "\n".join("| %s |" % " | ".join(line) for line in cells)
