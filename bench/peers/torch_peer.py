"""The process in which PyTorch runs one task of the benchmark, round by round (bench/protocol.ts).

    torch_peer.py JOB                                 reads rounds from standard input
    torch_peer.py --tuned JOB                         PyTorch at its best: heap kept, widest kernels, traced, foreach
    torch_peer.py --outputs TASK WEIGHTS INPUTS OUT   computes once, between safetensors files
"""
import json
import os
import sys
import time


def tuning():
    """Variables that PyTorch is at its best with. They are read when a process starts."""
    try:
        flags = next(line for line in open("/proc/cpuinfo") if line.startswith("flags")).split()
    except (OSError, StopIteration):
        flags = []
    # An OpenBLAS that is older than the processor does not know it, and takes its slowest kernels.
    known = [("avx512f", "avx512", "SkylakeX"), ("avx2", "avx2", "Haswell")]
    widest = next(((aten, blas) for flag, aten, blas in known if flag in flags), None)
    return {
        # Memory goes back to the system after every step otherwise, and page faults cost more than some of the kernels.
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": "100000000000",
        "MALLOC_TOP_PAD_": "268435456",
        **({"ATEN_CPU_CAPABILITY": widest[0], "OPENBLAS_CORETYPE": widest[1]} if widest else {}),
    }


sys.dont_write_bytecode = True  # nothing is left beside the sources
tuned = sys.argv[1] == "--tuned"
if tuned and os.environ.get("MALLOC_MMAP_MAX_") != "0":
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **tuning()})
job = json.loads(sys.argv[2 if tuned or sys.argv[1] == "--outputs" else 1])
threads = str(job.get("threads", 1))
os.environ.update(OMP_NUM_THREADS=threads, OPENBLAS_NUM_THREADS=threads)

import torch  # noqa: E402  after the number of threads is known

import safetensors_file  # noqa: E402
from torch_tasks import outputs, set_up  # noqa: E402

TICKS_PER_SECOND = 100


def machine_cpu_seconds():
    """CPU time of all processes, stolen time included; None where the system does not tell."""
    try:
        ticks = [int(x) for x in open("/proc/stat").readline().split()[1:9]]
    except OSError:
        return None
    return (sum(ticks[:3]) + sum(ticks[5:])) / TICKS_PER_SECOND


def status(key):
    """A line of /proc/self/status in bytes; None where there is none."""
    try:
        lines = open("/proc/self/status").read().splitlines()
    except OSError:
        return None
    return 1024 * int(next(line for line in lines if line.startswith(key)).split()[1])


def begin_peak_memory():
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass  # then the peak is that of the whole process
    return status("VmRSS")


def time_run(run):
    run.prepare()
    synchronize()
    start = time.perf_counter()
    for _ in range(run.calls):
        run.call()
    synchronize()
    return (time.perf_counter() - start) / run.calls


def synchronize():
    if job["device"] == "cuda":
        torch.cuda.synchronize()


def time_runs(run, seconds, most):
    start, own, machine = time.perf_counter(), time.process_time(), machine_cpu_seconds()
    times = []
    while not times or (len(times) < most and time.perf_counter() - start < seconds):
        times.append(time_run(run))
    own, elapsed = time.process_time() - own, time.perf_counter() - start
    everybody = None if machine is None else machine_cpu_seconds() - machine
    return {"times": times, "elapsed": elapsed, "own": own, "machine": everybody}


def say(answer):
    print(json.dumps(answer), flush=True)


def compute_outputs(weights, inputs, out):
    read = lambda path: {name: torch.from_numpy(array) for name, array in safetensors_file.read(path).items()}
    with torch.no_grad():
        result = outputs(job, read(weights), read(inputs))
    safetensors_file.write(out, "output", result.contiguous().numpy())


def serve():
    if job["device"] == "cuda":
        torch.set_default_tensor_type(torch.cuda.FloatTensor)
    run = set_up(job["task"], tuned)
    before = begin_peak_memory()
    with torch.set_grad_enabled(run.grad):
        # Traced models are compiled in their first calls, whatever time these take.
        time_runs(run, job["warmSeconds"], float("inf"))
        time_runs(run, job["warmSeconds"], 2)
        say({"version": torch.__version__, "variant": run.variant, "threads": torch.get_num_threads()})
        for line in sys.stdin:
            say(time_runs(run, **json.loads(line)))
    peak = status("VmHWM")
    say({"memory": None if peak is None or before is None else max(0, peak - before)})


torch.manual_seed(0)
if sys.argv[1] == "--outputs":
    compute_outputs(*sys.argv[3:])
else:
    torch.set_num_threads(job["threads"])
    serve()
