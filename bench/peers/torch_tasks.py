"""The tasks of bench/tasks.ts in PyTorch: for each kind, what a run is, as plain programs do it and as fast ones do."""
import torch
import torch.nn as nn
import torch.nn.functional as F

from torch_networks import DDPMUNet, TutorialUNet, has_fused_attention

STEPS = 1000


class Schedule:
    """DDPM's schedule, in float64."""

    def __init__(self):
        beta = torch.linspace(1e-4, 0.02, STEPS, dtype=torch.float64)
        alpha, alpha_bar = 1 - beta, torch.cumprod(1 - beta, 0)
        before = torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar[:-1]])
        self.signal, self.spread = alpha_bar.sqrt().float(), (1 - alpha_bar).sqrt().float()
        self.mean_scale = (1 / alpha.sqrt()).tolist()
        self.epsilon_scale = (beta / (1 - alpha_bar).sqrt() / alpha.sqrt()).tolist()
        self.sigma = ((1 - before) / (1 - alpha_bar) * beta).sqrt().tolist()

    def add_noise(self, x0, t, noise):
        return self.signal[t].view(-1, 1, 1, 1) * x0 + self.spread[t].view(-1, 1, 1, 1) * noise

    def mean(self, x, epsilon, t):
        """Of x_{t-1} (Ho et al. 2020, algorithm 2), with coefficients computed beforehand."""
        return x.mul(self.mean_scale[t]).sub_(epsilon, alpha=self.epsilon_scale[t])

    def reverse_step(self, x, epsilon, t):
        y = self.mean(x, epsilon, t)
        return y.add_(torch.randn_like(x), alpha=self.sigma[t]) if t else y


class Run:
    """What is timed: `calls` calls of `call`, each after an untimed `prepare`."""

    def __init__(self, call, variant="eager", calls=1, prepare=None, grad=False):
        self.call, self.variant, self.calls, self.grad = call, variant, calls, grad
        self.prepare = prepare or (lambda: None)


def network(task):
    if task["kind"].startswith("tutorial"):
        return TutorialUNet()
    return DDPMUNet(task["size"], task["base"], tuple(task["mults"]))


def frozen(model, example):
    """The traced model, optimised for inference."""
    return torch.jit.optimize_for_inference(torch.jit.trace(model, example))


def training(task, tuned, size, channels):
    model, schedule = network(task), Schedule()
    adam = torch.optim.Adam(model.parameters(), lr=1e-4, foreach=tuned)
    x0 = torch.full((task["batch"], channels, size, size), -0.5)

    def step():
        noise = torch.randn_like(x0)
        t = torch.randint(0, STEPS, (x0.shape[0],))
        adam.zero_grad(set_to_none=True)
        loss = F.mse_loss(model(schedule.add_noise(x0, t, noise), t), noise)
        loss.backward()
        adam.step()

    return Run(step, variant="foreach-adam" if tuned else "default", grad=True)


def sampling(task, tuned):
    model, schedule, shape = network(task).eval(), Schedule(), (task["batch"], 1, 8, 8)
    if tuned:
        example = (torch.zeros(shape), torch.zeros(1, dtype=torch.long))
        # What optimize_for_inference makes of layouts costs more than it saves on a batch of such small maps.
        model = frozen(model, example) if task["batch"] == 1 else torch.jit.freeze(torch.jit.trace(model, example))

    def run():
        x = torch.randn(shape)
        for t in range(STEPS - 1, -1, -1):
            x = schedule.reverse_step(x, model(x, torch.tensor([t])), t)

    return Run(run, variant="jit" if tuned else "eager")


def forward(task, tuned):
    model = network(task).eval()
    x = torch.randn(task["batch"], 3, task["size"], task["size"])
    t = torch.randint(0, STEPS, (task["batch"],))
    if tuned:
        model = frozen(model, (x, t))
    return Run(lambda: model(x, t), variant="jit" if tuned else "eager")


class Attention(nn.Module):
    def __init__(self, channels, heads):
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)

    def forward(self, x):
        n, length, channels = x.shape
        q, k, v = self.qkv(x).view(n, length, 3, self.heads, channels // self.heads).permute(2, 0, 3, 1, 4)
        if has_fused_attention(x):
            attended = F.scaled_dot_product_attention(q, k, v)
        else:
            attended = torch.softmax(q @ k.transpose(-2, -1) * (channels // self.heads) ** -0.5, -1) @ v
        return self.out(attended.transpose(1, 2).reshape(n, length, channels))

    def _load_from_state_dict(self, state, prefix, *rest):
        for kind in ("weight", "bias"):
            state[prefix + "qkv." + kind] = torch.cat([state.pop(prefix + name + "." + kind) for name in ("to_q", "to_k", "to_v")])
            state[prefix + "out." + kind] = state.pop(prefix + "to_out.0." + kind)
        super()._load_from_state_dict(state, prefix, *rest)


class NormSilu(nn.GroupNorm):
    def forward(self, x):
        return F.silu(super().forward(x))


def operation(task):
    """The layer of W5 and the shape of its input."""
    kind = task["kind"]
    if kind == "conv":
        return nn.Conv2d(task["channels"], task["channels"], 3, padding=1), (task["batch"], task["channels"], task["size"], task["size"])
    if kind == "group-norm-silu":
        return NormSilu(32, task["channels"]), (task["batch"], task["channels"], task["size"], task["size"])
    return Attention(task["channels"], task["heads"]), (task["batch"], task["length"], task["channels"])


def single_operation(task):
    layer, shape = operation(task)
    x = torch.randn(shape)
    if task["pass"] == "fwd":
        return Run(lambda: layer(x), calls=10)
    x.requires_grad_(True)
    leaves = [x, *layer.parameters()]
    gradient = torch.randn_like(layer(x))
    made = []

    def prepare():
        if task["pass"] == "bwd":
            made[:] = [layer(x)]

    def call():
        torch.autograd.grad(made.pop() if made else layer(x), leaves, gradient)

    return Run(call, prepare=prepare, grad=True)


def matmul(task):
    a, b = torch.randn(task["size"], task["size"]), torch.randn(task["size"], task["size"])
    return Run(lambda: a @ b, calls=10)


def adam(task, tuned):
    weight = nn.Parameter(torch.randn(task["count"]))
    weight.grad = torch.randn(task["count"]) * 0.01
    optimizer = torch.optim.Adam([weight], lr=1e-4, foreach=tuned)
    return Run(optimizer.step, variant="foreach-adam" if tuned else "default", grad=True)


def large_reverse_step(task):
    schedule, shape = Schedule(), (1, 3, task["size"], task["size"])
    x, epsilon = torch.randn(shape), torch.randn(shape)
    return Run(lambda: schedule.reverse_step(x, epsilon, STEPS // 2), calls=10)


def set_up(task, tuned):
    kind = task["kind"]
    if kind == "tutorial-train":
        return training(task, tuned, size=8, channels=1)
    if kind == "unet-train":
        return training(task, tuned, size=task["size"], channels=3)
    if kind == "tutorial-sample":
        return sampling(task, tuned)
    if kind == "unet-forward":
        return forward(task, tuned)
    if kind == "reverse-step":
        return large_reverse_step(task)
    if kind == "matmul":
        return matmul(task)
    if kind == "adam":
        return adam(task, tuned)
    return single_operation(task)


def outputs(task, weights, inputs):
    """What a forward gives for these weights and inputs, named as in langevin's files; for comparisons."""
    kind = task["kind"]
    if kind == "matmul":
        return inputs["x"] @ inputs["y"]
    if kind == "reverse-step":
        return Schedule().mean(inputs["x"], inputs["epsilon"], STEPS // 2)
    model = operation(task)[0] if kind in ("conv", "group-norm-silu", "attention") else network(task)
    model.load_state_dict(weights)
    return model(inputs["x"], inputs["t"].long()) if "t" in inputs else model(inputs["x"])
