"""PyTorch on the workloads of bench/run.ts: tutorial part C's training step, 1000 reverse steps, a large reverse step.

Prints one JSON line for each workload: {workload, metric, median, min, n}. Run by `npm run bench -- --peers`.
"""
import json
import os
import statistics
import sys
import time

# The heap kept between steps and the widest kernels: PyTorch at its best. Takes effect in a process started with them.
TUNING = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "268435456",
    "ATEN_CPU_CAPABILITY": "avx512",
}
if os.environ.get("MALLOC_MMAP_MAX_") != "0":
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **TUNING})

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_num_threads(len(os.sched_getaffinity(0)))
torch.manual_seed(0)


class ConvBlock(nn.Module):
    def __init__(self, c_in, c_out, time_dim):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.proj = nn.Linear(time_dim, c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)

    def forward(self, x, emb):
        h = F.relu(self.conv1(x) + self.proj(emb)[:, :, None, None])
        return F.relu(self.conv2(h))


class TutorialUNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(1000, 16)
        self.enc1, self.enc2, self.bottleneck = ConvBlock(1, 16, 16), ConvBlock(16, 32, 16), ConvBlock(32, 64, 16)
        self.upconv2, self.dec2 = nn.ConvTranspose2d(64, 32, 2, 2), ConvBlock(64, 32, 16)
        self.upconv1, self.dec1 = nn.ConvTranspose2d(32, 16, 2, 2), ConvBlock(32, 16, 16)
        self.final = nn.Conv2d(16, 1, 1)

    def forward(self, x, t):
        emb = self.embed(t)
        e1 = self.enc1(x, emb)
        e2 = self.enc2(F.max_pool2d(e1, 2), emb)
        b = self.bottleneck(F.max_pool2d(e2, 2), emb)
        d2 = self.dec2(torch.cat([e2, self.upconv2(b)], 1), emb)
        d1 = self.dec1(torch.cat([e1, self.upconv1(d2)], 1), emb)
        return self.final(d1)


beta = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
alpha = 1 - beta
alpha_bar = torch.cumprod(alpha, 0)
alpha_bar_before = torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar[:-1]])
mean_scale = (1 / alpha.sqrt()).tolist()
epsilon_scale = (beta / (1 - alpha_bar).sqrt() / alpha.sqrt()).tolist()
sigma = ((1 - alpha_bar_before) / (1 - alpha_bar) * beta).sqrt().tolist()


def report(workload, metric, times):
    line = {"workload": workload, "metric": metric, "median": statistics.median(times), "min": min(times)}
    print(json.dumps({k: float("%.4g" % v) if isinstance(v, float) else v for k, v in line.items()} | {"n": len(times)}))


def measure(run, count, warm):
    times = []
    for i in range(-warm, count):
        start = time.perf_counter()
        run()
        if i >= 0:
            times.append(time.perf_counter() - start)
    return times


def train_step(model, adam, x0, signal, spread):
    noise = torch.randn_like(x0)
    t = torch.randint(0, 1000, (x0.shape[0],))
    xt = signal[t].view(-1, 1, 1, 1) * x0 + spread[t].view(-1, 1, 1, 1) * noise
    adam.zero_grad(set_to_none=True)
    loss = F.mse_loss(model(xt, t), noise)
    loss.backward()
    adam.step()


def reverse_steps(model, batch):
    x = torch.randn(batch, 1, 8, 8)
    for t in range(999, -1, -1):
        x = reverse_step(x, model(x, torch.tensor([t])), t)


def reverse_step(x, epsilon, t):
    y = x.mul(mean_scale[t]).sub_(epsilon, alpha=epsilon_scale[t])
    return y.add_(torch.randn_like(x), alpha=sigma[t]) if t else y


net = TutorialUNet()
optimizer = torch.optim.Adam(net.parameters(), lr=1e-4, foreach=True)
picture = torch.full((128, 1, 8, 8), -1.0)
tables = alpha_bar.sqrt().float(), (1 - alpha_bar).sqrt().float()
steps = measure(lambda: train_step(net, optimizer, picture, *tables), 300, 20)
report("W1", "ms_per_train_step", [1e3 * s for s in steps])
net.eval()
with torch.no_grad():
    for size, repeats in ((1, 7), (64, 3)):
        report("W2-b%d" % size, "s_total_1000_steps", measure(lambda: reverse_steps(net, size), repeats, 1))
    large, predicted = torch.randn(1, 3, 512, 512), torch.randn(1, 3, 512, 512)
    report("W3", "ms_per_step", [1e3 * s for s in measure(lambda: reverse_step(large, predicted, 500), 50, 10)])
