# Writes resizing.json: values and gradients of torch.nn.functional.interpolate and adaptive_avg_pool2d in float64, one channel.
# Run once with: python3 test/tensor/make-resizing.py > test/tensor/resizing.json
import json
import torch
import torch.nn.functional as F

sizes = [
    ((3, 5), (7, 8)),
    ((7, 9), (3, 4)),
    ((4, 11), (9, 5)),
    ((1, 1), (3, 2)),
    ((5, 6), (1, 1)),
    ((1, 4), (5, 1)),
    ((4, 3), (8, 6)),
    ((2, 3), (2, 3)),
    ((9, 2), (4, 11)),
]
modes = [("nearest", False), ("area", False)] + [(m, a) for m in ("bilinear", "bicubic") for a in (False, True)]


def resized(x, size, mode, align):
    if mode == "area":
        return F.adaptive_avg_pool2d(x, size)
    return F.interpolate(x, size=size, mode=mode, align_corners=None if mode == "nearest" else align)


def elements(x):
    return x.detach().reshape(-1).tolist()


def draw(shape):
    """Numbers of few digits."""
    return torch.round(32 * torch.randn(shape, dtype=torch.float64, generator=generator)) / 32


generator = torch.Generator().manual_seed(20)
cases = []
for mode, align in modes:
    for (h, w), size in sizes:
        x = draw((1, 1, h, w)).requires_grad_()
        y = resized(x, size, mode, align)
        cotangent = draw(y.shape)
        y.backward(cotangent)
        cases.append({"mode": mode, "alignCorners": align, "from": [h, w], "size": size, "x": elements(x),
                      "y": elements(y), "cotangent": elements(cotangent), "gradient": elements(x.grad)})

source = f"PyTorch {torch.__version__}: interpolate(antialias=False) and adaptive_avg_pool2d in float64, by test/tensor/make-resizing.py"
print('{"source": ' + json.dumps(source) + ',\n"cases": [')
print(",\n".join(json.dumps(c) for c in cases))
print("]}")
