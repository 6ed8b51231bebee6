"""PyTorch on the first GPU, as the opponent of `npm run gpu-check`: prints a line of JSON for each workload, way and precision.

    torch_gpu.py [--only W1,W4] [--ways eager,compile,graph] [--precisions bf16,tf32,float32] [--seconds 3]

Workloads are W1 to W4 of the bench and the U-Net of DDPM for CIFAR-10 (35.7 million parameters). Ways:

    eager    as a program is written, with the fused Adam
    compile  torch.compile(mode="max-autotune") of the network
    graph    the whole step, its random numbers and Adam included, captured by hand into a CUDA graph and replayed

bf16 is autocast over channels-last tensors with float32 weights, tf32 is float32 with TF32 products allowed, and float32 forbids
them. Times are medians over runs that end with a synchronisation. Ends with 3 where there is no GPU. Needs PyTorch 2.
"""
import argparse
import json
import statistics
import sys
import time

sys.dont_write_bytecode = True  # nothing is left beside the sources
NO_GPU = 3


def refuse(why):
    print("torch_gpu: %s." % why)
    sys.exit(NO_GPU)


try:
    import torch
except ImportError:
    refuse("this python has no torch")

import torch.nn.functional as F  # noqa: E402  after it is known that there is torch

from torch_networks import DDPMUNet, TutorialUNet  # noqa: E402
from torch_tasks import STEPS, Schedule  # noqa: E402

WARM_UP = 3  # runs on a side stream before a capture, as PyTorch's notes on CUDA graphs ask for
LEAST_RUNS = 7


class Network:
    """A network with the size of its images."""

    def __init__(self, make, size, channels):
        self.make, self.size, self.channels = make, size, channels

    def images(self, batch):
        return torch.randn(batch, self.channels, self.size, self.size).to(memory_format=torch.channels_last)

    def model(self):
        return self.make().to(memory_format=torch.channels_last)


TUTORIAL = Network(TutorialUNet, 8, 1)
W4 = Network(lambda: DDPMUNet(32, 64, (1, 2, 2, 2)), 32, 3)
CIFAR = Network(lambda: DDPMUNet(32, 128, (1, 2, 2, 2)), 32, 3)


class Mode:
    """How a workload is run: its way, and the precision of its products."""

    def __init__(self, way, precision):
        self.way, self.precision = way, precision

    def __enter__(self):
        allow = self.precision == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allow
        torch.backends.cudnn.benchmark = True
        return self

    def __exit__(self, *_):
        if hasattr(torch, "_dynamo"):
            torch._dynamo.reset()
        torch.cuda.empty_cache()

    def autocast(self):
        # Without a cache, since a graph must convert the weights anew in every step.
        return torch.autocast("cuda", torch.bfloat16, enabled=self.precision == "bf16", cache_enabled=False)

    def compiled(self, model):
        return torch.compile(model, mode="max-autotune") if self.way == "compile" else model

    def repeated(self, step):
        """The step in this way: itself, or the replay of its graph."""
        if self.way != "graph":
            return step
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        return graph.replay


def mark_step(mode):
    """Lets the graphs that torch.compile makes reuse their memory."""
    if mode.way == "compile":
        torch.compiler.cudagraph_mark_step_begin()


def training(network, batch, mode):
    """Noise, timesteps, forward, loss, backward and Adam."""
    model, schedule = network.model(), Schedule()
    forward = mode.compiled(model)
    adam = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True, capturable=True)
    x0 = network.images(batch)

    def step():
        mark_step(mode)
        noise = torch.randn_like(x0)
        t = torch.randint(0, STEPS, (batch,))
        adam.zero_grad(set_to_none=True)
        with mode.autocast():
            predicted = forward(schedule.add_noise(x0, t, noise), t)
        F.mse_loss(predicted.float(), noise).backward()
        adam.step()

    return mode.repeated(step)


def sampling(network, batch, mode):
    """A thousand reverse steps. Which one it is lies on the device, so that one graph serves them all."""
    model, schedule = network.model().eval(), Schedule()
    forward = mode.compiled(model)
    scale, epsilon_scale, sigma = (
        torch.tensor(values) for values in (schedule.mean_scale, schedule.epsilon_scale, schedule.sigma)
    )
    x = network.images(batch)
    t = torch.zeros(1, dtype=torch.long)

    @torch.no_grad()
    def step():
        mark_step(mode)
        with mode.autocast():
            epsilon = forward(x, t.expand(batch)).float()
        # sigma[0] is 0: the last step adds no noise.
        x.copy_(scale[t].view(1, 1, 1, 1) * x - epsilon_scale[t].view(1, 1, 1, 1) * epsilon
                + sigma[t].view(1, 1, 1, 1) * torch.randn_like(x))
        t.sub_(1).clamp_(min=0)

    advance = mode.repeated(step)

    @torch.no_grad()
    def run():
        x.normal_()
        t.fill_(STEPS - 1)
        for _ in range(STEPS):
            advance()

    return run


def forward_only(network, batch, mode):
    model = network.model().eval()
    compiled = mode.compiled(model)
    x, t = network.images(batch), torch.randint(0, STEPS, (batch,))

    @torch.no_grad()
    def step():
        mark_step(mode)
        with mode.autocast():
            compiled(x, t)

    return mode.repeated(step)


def reverse_step(size, mode):
    """W3: no products, hence the same in every precision."""
    schedule = Schedule()
    x, epsilon = torch.randn(1, 3, size, size), torch.randn(1, 3, size, size)

    @torch.no_grad()
    def step():
        return schedule.reverse_step(x, epsilon, STEPS // 2)

    return mode.repeated(torch.compile(step, mode="max-autotune") if mode.way == "compile" else step)


# Name, metric, and what makes a run for a mode; the names are those of bench/tasks.ts.
WORKLOADS = [
    ("W1", "ms_per_train_step", lambda mode: training(TUTORIAL, 128, mode)),
    *[("W2-b%d" % n, "s_total_1000_steps", lambda mode, n=n: sampling(TUTORIAL, n, mode)) for n in (1, 64, 132, 1024)],
    ("W3", "ms_per_step", lambda mode: reverse_step(512, mode)),
    ("W4-train-b16", "ms_per_train_step", lambda mode: training(W4, 16, mode)),
    *[("W4-fwd-b%d" % n, "ms_fwd", lambda mode, n=n: forward_only(W4, n, mode)) for n in (1, 16)],
    ("cifar10-train-b128", "ms_per_train_step", lambda mode: training(CIFAR, 128, mode)),
    ("cifar10-fwd-b64", "ms_fwd", lambda mode: forward_only(CIFAR, 64, mode)),
    ("cifar10-sample-b64", "s_total_1000_steps", lambda mode: sampling(CIFAR, 64, mode)),
]


def time_runs(run, seconds):
    """Seconds of a call in each run: short calls are run ten at a time, as a user's loop would."""
    calls = 1
    for _ in range(WARM_UP):
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        calls = 10 if time.perf_counter() - start < 0.1 else 1
    times, begin = [], time.perf_counter()
    while len(times) < LEAST_RUNS or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        for _ in range(calls):
            run()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - start) / calls)
    return times


def measure(name, metric, make, mode, seconds):
    torch.manual_seed(0)
    torch.cuda.reset_peak_memory_stats()
    with mode:
        times = time_runs(make(mode), seconds)
        unit = 1e3 if metric.startswith("ms") else 1
        return {
            "workload": name,
            "metric": metric,
            "peer": "torch-gpu",
            "variant": mode.way,
            "precision": mode.precision,
            "allow_tf32": {
                "matmul": torch.backends.cuda.matmul.allow_tf32,
                "cudnn": torch.backends.cudnn.allow_tf32,
            },
            "memory_format": "channels_last",
            "version": torch.__version__,
            "cuda": torch.version.cuda,
            "device": torch.cuda.get_device_name(0),
            "median": statistics.median(times) * unit,
            "min": min(times) * unit,
            "max": max(times) * unit,
            "runs": len(times),
            "memory": torch.cuda.max_memory_allocated(),
        }


def chosen(text, known):
    names = text.split(",")
    unknown = [name for name in names if name not in known]
    if unknown:
        raise argparse.ArgumentTypeError("%s: expected some of %s" % (",".join(unknown), ",".join(known)))
    return names


def parse_arguments():
    groups = list(dict.fromkeys(name.split("-")[0] for name, _, _ in WORKLOADS))
    ways, precisions = ["eager", "compile", "graph"], ["bf16", "tf32", "float32"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda text: chosen(text, groups), default=groups)
    parser.add_argument("--ways", type=lambda text: chosen(text, ways), default=ways)
    parser.add_argument("--precisions", type=lambda text: chosen(text, precisions), default=precisions)
    parser.add_argument("--seconds", type=float, default=3)
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    if not torch.cuda.is_available():
        refuse("PyTorch %s finds no GPU here" % torch.__version__)
    if not hasattr(torch, "compile"):
        refuse("PyTorch %s is too old, expected 2.0 or newer" % torch.__version__)
    torch.set_default_device("cuda")
    for name, metric, make in WORKLOADS:
        if name.split("-")[0] not in arguments.only:
            continue
        for precision in arguments.precisions:
            for way in arguments.ways:
                try:
                    line = measure(name, metric, make, Mode(way, precision), arguments.seconds)
                except RuntimeError as error:  # out of memory, or something that this version cannot compile or capture
                    line = {"workload": name, "peer": "torch-gpu", "variant": way, "precision": precision, "error": str(error)}
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
