"""PyTorch on the first GPU, as the opponent of `npm run gpu-check`: prints a line of JSON for each row and a table at the end.

    torch_gpu.py [--only W1,cifar10-train-b128] [--ways eager,graph] [--precisions bf16,tf32] [--minutes 9] [--save FILE]

Ways:

    eager           as a program is written, with the fused Adam
    graph           the whole step, its random numbers and Adam included, captured by hand into a CUDA graph and replayed
    compile         torch.compile(mode="max-autotune") of the network, which captures graphs of its own
    compiled-graph  the whole step with the network compiled (max-autotune-no-cudagraphs), captured by hand

bf16 is autocast with float32 weights in training, and a network converted to bf16 in sampling and forwards; tf32 is float32 with
TF32 products allowed, and float32 forbids them. Tensors lie channels-last. Times are medians over runs that end with a
synchronisation; a loop of sampling that takes more than a second is timed over 100 of its steps, and scaled ("timed_steps").

Rows of the goals come first, in bf16, then in tf32 and float32, then the other workloads, and last what is compiled, which takes
minutes a row. No row begins after --minutes, and one that is still running half a minute later is stopped; what was left out is
named at the end, to be asked for by --only, --ways and --precisions in another call. A row that fails, or gives numbers that are
not finite, says so, and a new process goes on.

Beside gpu-check, on the same machine and after it, never at the same time:

    ./gpu-check | tee gpu-check.txt
    python3 torch_gpu.py --save torch.jsonl | tee torch.txt
    python3 torch_gpu.py --ways compile --precisions bf16 --only cifar10-train-b128,cifar10-sample-b64 --save torch.jsonl

It needs this folder's torch_*.py and a python3 with PyTorch 2; no network, and a C compiler only for what is compiled.
--save appends each row to FILE as soon as it is measured, and what PyTorch says to FILE.log. Ends with 0, with 1 where a row
failed, with 2 after a mistake in its options, and with 3 where there is no GPU or no PyTorch 2.
"""
import argparse
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True  # nothing is left beside the sources

from torch_gpu_rows import PRECISIONS, SELECTORS, WAYS, choice, name, rows, table  # noqa: E402

NO_GPU = 3
GRACE = 30  # seconds for which a row may go on after the last minute
STOPPING = 10  # seconds that are waited for a killed process
WORKER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "torch_gpu_worker.py")


class NoGPU(Exception):
    """There is nothing to measure with here, or no longer."""


class WorkerLost(Exception):
    """The process ended, or did not answer in time."""


class Worker:
    """The process that has torch: a line of JSON goes in for each row and one comes back. What breaks a GPU's context, or never
    ends, takes this process down and no other."""

    def __init__(self, command, log=None):
        # A process group, so that compilers which it started end with it.
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, preexec_fn=os.setpgrp)

    def answer(self, seconds):
        """The next line, for which the process has so many seconds."""
        ready, _, _ = select.select([self.process.stdout], [], [], max(0, seconds))
        if not ready:
            raise WorkerLost("stopped after %.0f s without an answer" % seconds)
        line = self.process.stdout.readline()
        if not line:
            raise WorkerLost("its process ended with status %s" % self.process.wait())
        return json.loads(line)

    def ask(self, row, seconds):
        try:
            self.process.stdin.write(json.dumps(row._asdict()).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise WorkerLost("its process ended with status %s" % self.process.wait()) from None
        return self.answer(seconds)

    def stop(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it ended by itself
        with contextlib.suppress(subprocess.TimeoutExpired):  # a GPU that hangs holds on to its process
            self.process.wait(STOPPING)


def begin_worker(start, seconds):
    """A process that is ready, and what it says of its machine."""
    worker = start()
    try:
        machine = worker.answer(seconds)
    except WorkerLost as lost:
        machine = {"refused": "the process with PyTorch did not begin (%s)" % lost}
    if "refused" in machine:
        worker.stop()
        raise NoGPU(machine["refused"])
    return worker, machine


def measure_rows(wanted, start, say, end):
    """Measures one row after the other, saying each line at once. Gives the rows that had not begun at the end."""
    worker = None
    try:
        for i, row in enumerate(wanted):
            if time.monotonic() >= end:
                return wanted[i:]
            if worker is None:
                worker, machine = begin_worker(start, end + GRACE - time.monotonic())
                say(machine)
            line = {key: row.task[key] for key in ("workload", "metric")}
            line.update(precision=row.precision, way=row.way)
            try:
                line.update(worker.ask(row, end + GRACE - time.monotonic()))
            except WorkerLost as lost:
                line["error"] = str(lost)
            say(line)
            if "error" in line:  # it may have left a broken context, or memory that something holds
                worker.stop()
                worker = None
        return []
    finally:
        if worker is not None:
            worker.stop()


class Record:
    """Lines as they come: printed, and appended to a file where one was asked for."""

    def __init__(self, path):
        self.path, self.lines = path, []

    def add(self, line):
        text = json.dumps(line)
        print(text, flush=True)
        if self.path:
            with open(self.path, "a") as file:
                file.write(text + "\n")
        if "workload" in line:
            self.lines.append(line)

    def failures(self):
        return [line for line in self.lines if "error" in line]


def report(record, left, minutes):
    """The table, why rows failed, and what was left out."""
    print("\n" + table(record.lines))
    for line in record.failures():
        print("\n%(workload)s %(precision)s %(way)s failed: %(error)s" % line)
    if left:
        print("\nNot begun within %g minutes: %s." % (minutes, ", ".join(map(name, left))))


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=choice(SELECTORS), default=SELECTORS, metavar="NAMES", help="workloads or their groups (default: all)")
    parser.add_argument("--ways", type=choice(WAYS), default=WAYS, metavar="WAYS", help="default: all")
    parser.add_argument("--precisions", type=choice(PRECISIONS), default=PRECISIONS, metavar="NAMES", help="default: all")
    parser.add_argument("--minutes", type=float, default=9, help="after which no row begins (default: %(default)g)")
    parser.add_argument("--seconds", type=float, default=2, help="for which short rows are repeated (default: %(default)g)")
    parser.add_argument("--save", metavar="FILE", help="appends each line to FILE")
    parser.add_argument("--list", action="store_true", help="names the rows in their order and measures none")
    return parser.parse_args()


def main():
    begin = time.monotonic()
    arguments = parse_arguments()
    wanted = rows(arguments.only, arguments.ways, arguments.precisions)
    if arguments.list:
        print("\n".join(map(name, wanted)))
        return 0
    record = Record(arguments.save)
    log = open(arguments.save + ".log", "a") if arguments.save else None
    start = lambda: Worker([sys.executable, WORKER, str(arguments.seconds)], log)  # noqa: E731
    try:
        left = measure_rows(wanted, start, record.add, begin + 60 * arguments.minutes)
    except NoGPU as error:
        if record.lines:
            report(record, [], arguments.minutes)
        print("torch_gpu: %s." % error)
        return NO_GPU
    report(record, left, arguments.minutes)
    return 1 if record.failures() else 0


if __name__ == "__main__":
    sys.exit(main())
