"""The process of torch_gpu.py that has PyTorch: reads rows from standard input, a line of JSON each, and gives times."""
import contextlib
import gc
import json
import os
import platform
import statistics
import sys
import time
import traceback

# Compilers write to standard output as they please: answers go elsewhere.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
sys.dont_write_bytecode = True  # nothing is left beside the sources


def answer(line):
    print(json.dumps(line), file=answers, flush=True)


def refuse(why):
    answer({"refused": why})
    sys.exit()


try:
    import torch
except Exception as error:  # libraries that it needs may be missing or broken, too
    refuse("%s cannot import torch (%s)" % (sys.executable, error))
if not hasattr(torch, "compile"):
    refuse("PyTorch %s is too old, expected 2.0 or newer" % torch.__version__)
if not torch.cuda.is_available():
    refuse("PyTorch %s finds no GPU here" % torch.__version__)

import torch.nn.functional as F  # noqa: E402  after it is known that there is a torch that can be used

from torch_gpu_rows import repetition  # noqa: E402
from torch_tasks import STEPS, Schedule, network  # noqa: E402

DEVICE = "cuda"
SIDE_WARM_UP = 3  # steps on the stream of a capture before it, as PyTorch's notes on CUDA graphs ask for
WARM_UP = 5  # steps that compile, that choose kernels, and in which torch.compile records its own graphs (the third)
PROBE = 10  # steps that tell how long one is
COMPILED = {"compile": "max-autotune", "compiled-graph": "max-autotune-no-cudagraphs"}
ERROR_LENGTH = 600


class Mode:
    """How a task is run: its way, and the precision of its products."""

    def __init__(self, way, precision):
        self.captures = way in ("graph", "compiled-graph")
        self.compiler = COMPILED.get(way)
        self.bf16, self.tf32 = precision == "bf16", precision == "tf32"

    def set_flags(self):
        # The older names of these flags: every PyTorch 2 has them, and newer names must not be mixed with them.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = self.tf32

    def autocast(self):
        # Without a cache, since a graph must convert the weights anew in every step.
        return torch.autocast(DEVICE, torch.bfloat16, cache_enabled=False) if self.bf16 else contextlib.nullcontext()

    def for_inference(self, model):
        """The network with the weights that its products take; buffers stay as they are, being frequencies."""
        for weight in model.eval().parameters():
            weight.requires_grad_(False)
            if self.bf16:
                weight.data = weight.data.bfloat16()
        return model

    def operand(self, x):
        return x.bfloat16() if self.bf16 else x

    def compiled(self, function):
        """Compiled for these shapes alone, where the way asks for it."""
        return torch.compile(function, mode=self.compiler, dynamic=False) if self.compiler else function

    def begin_step(self):
        """Lets the graphs that torch.compile captures reuse the memory of the last step. PyTorch 2.0 has no such call."""
        mark = getattr(getattr(torch, "compiler", None), "cudagraph_mark_step_begin", None)
        if mark and self.compiler == "max-autotune":
            mark()

    def repeated(self, step):
        """The step itself, or the replay of its graph."""
        return captured(step) if self.captures else step


def captured(step):
    """A step as a CUDA graph. Generators are given new random numbers with each replay."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(SIDE_WARM_UP):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        result = step()

    def replay():
        graph.replay()
        return result

    return replay


class Loop:
    """What is measured: so many steps after a beginning. A step gives a tensor that tells whether its numbers are sound."""

    def __init__(self, step, steps=1, begin=lambda: None):
        self.step, self.steps, self.begin = step, steps, begin


def images(task):
    channels, size = (1, 8) if task["kind"].startswith("tutorial") else (3, task["size"])
    return torch.randn(task["batch"], channels, size, size).to(memory_format=torch.channels_last)


def model_of(task):
    return network(task).to(memory_format=torch.channels_last)


def training(task, mode):
    """Noise, timesteps, forward, loss, backward and Adam."""
    model, schedule, x0 = model_of(task), Schedule(), images(task)
    forward = mode.compiled(model)
    adam = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True, capturable=mode.captures)

    def step():
        mode.begin_step()
        noise = torch.randn_like(x0)
        t = torch.randint(0, STEPS, x0.shape[:1], device=x0.device)
        # Gradients are made anew: in a capture they get memory of the graph, and backward writes them without adding.
        adam.zero_grad(set_to_none=True)
        noisy = schedule.add_noise(x0, t, noise)
        with mode.autocast():
            predicted = forward(noisy, t)
        loss = F.mse_loss(predicted.float(), noise)
        loss.backward()
        adam.step()
        return loss.detach()

    return Loop(step)


def sampling(task, mode):
    """All reverse steps. Which one it is lies on the device, so that one graph serves them all."""
    model, schedule, x = mode.for_inference(model_of(task)), Schedule(), images(task)
    forward = mode.compiled(model)
    negative = [-scale for scale in schedule.epsilon_scale]
    # sigma is 0 in the last step, which therefore adds no noise.
    coefficients = torch.tensor([schedule.mean_scale, negative, schedule.sigma]).T.contiguous()
    t = torch.empty(1, dtype=torch.long)

    @torch.no_grad()
    def step():
        mode.begin_step()
        epsilon = forward(mode.operand(x), t).float()
        scale, epsilon_scale, sigma = coefficients[t].view(3, 1, 1, 1, 1).unbind()
        x.mul_(scale).addcmul_(epsilon, epsilon_scale).addcmul_(torch.randn_like(x), sigma)
        t.sub_(1)
        return x

    def begin():
        x.normal_()
        t.fill_(STEPS - 1)

    return Loop(step, STEPS, begin)


def forward_only(task, mode):
    model, x = mode.for_inference(model_of(task)), mode.operand(images(task))
    t = torch.randint(0, STEPS, x.shape[:1])
    forward = mode.compiled(model)

    @torch.no_grad()
    def step():
        mode.begin_step()
        return forward(x, t)

    return Loop(step)


def reverse_step(task, mode):
    schedule, shape = Schedule(), (1, 3, task["size"], task["size"])
    x, epsilon = torch.randn(shape), torch.randn(shape)
    advance = mode.compiled(lambda: schedule.reverse_step(x, epsilon, STEPS // 2))

    @torch.no_grad()
    def step():
        mode.begin_step()
        return advance()

    return Loop(step)


KINDS = {
    "tutorial-train": training,
    "unet-train": training,
    "tutorial-sample": sampling,
    "unet-sample": sampling,
    "unet-forward": forward_only,
    "reverse-step": reverse_step,
}


def time_run(loop, steps):
    """Seconds of so many steps, and what the last of them gave."""
    loop.begin()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(steps):
        result = loop.step()
    torch.cuda.synchronize()
    return time.perf_counter() - start, result


def set_up(task, mode):
    with torch.device(DEVICE):  # here alone, as it makes every later call slower
        loop = KINDS[task["kind"]](task, mode)
    loop.begin()
    loop.step = mode.repeated(loop.step)
    return loop


def measure(task, way, precision, seconds):
    torch.manual_seed(0)
    torch.cuda.reset_peak_memory_stats()
    mode = Mode(way, precision)
    mode.set_flags()
    loop = set_up(task, mode)
    time_run(loop, WARM_UP)
    steps, runs = repetition(time_run(loop, PROBE)[0] / PROBE, loop.steps, seconds)
    times = []
    for _ in range(runs):
        taken, result = time_run(loop, steps)
        times.append(taken / steps * loop.steps)
    line = {"timed_steps": steps, "memory": torch.cuda.max_memory_allocated(), "allow_tf32": flags()}
    sound = {} if result.isfinite().all() else {"error": "the last step gave numbers that are not finite"}
    return {**summary(task["metric"], times), **line, **sound}


def summary(metric, times):
    unit = 1e3 if metric.startswith("ms") else 1
    figures = {"median": statistics.median(times), "min": min(times), "max": max(times)}
    return {**{name: seconds * unit for name, seconds in figures.items()}, "runs": len(times)}


def flags():
    return {"matmul": torch.backends.cuda.matmul.allow_tf32, "cudnn": torch.backends.cudnn.allow_tf32}


def machine():
    """What the times depend on besides the rows."""
    try:
        from triton import __version__ as triton
    except ImportError:
        triton = None
    properties = torch.cuda.get_device_properties(0)
    return {
        "peer": "torch-gpu",
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "triton": triton,
        "python": platform.python_version(),
        "device": properties.name,
        "capability": "%d.%d" % (properties.major, properties.minor),
        "multiprocessors": properties.multi_processor_count,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "bf16_reduced_precision_reduction": torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction,
        "flash_sdp": torch.backends.cuda.flash_sdp_enabled(),
        "mem_efficient_sdp": torch.backends.cuda.mem_efficient_sdp_enabled(),
        "allocator": os.environ.get("PYTORCH_CUDA_ALLOC_CONF"),
    }


def clean_up():
    """Frees what the last row took, before the next one takes its own."""
    if "torch._dynamo" in sys.modules:  # importing it takes seconds
        torch._dynamo.reset()
    gc.collect()
    torch.cuda.empty_cache()


def serve(seconds):
    for line in sys.stdin:
        try:
            result = measure(**json.loads(line), seconds=seconds)
        except Exception as error:  # whatever this version cannot compile, capture or hold; a compiler may be missing, too
            traceback.print_exc()
            result = {"error": ("%s: %s" % (type(error).__name__, error))[:ERROR_LENGTH]}
        answer(result)
        clean_up()


if __name__ == "__main__":
    torch.backends.cudnn.benchmark = True
    answer(machine())
    serve(float(sys.argv[1]))
