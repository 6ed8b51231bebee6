"""The networks of the benchmark in PyTorch: their parameters have the names that langevin writes into safetensors files."""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class ConvBlock(nn.Module):
    """Two convolutions; the time embedding is added after the first."""

    def __init__(self, c_in, c_out, time_dim):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.proj = nn.Linear(time_dim, c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)

    def forward(self, x, emb):
        h = F.relu(self.conv1(x) + self.proj(emb)[:, :, None, None])
        return F.relu(self.conv2(h))


class TutorialUNet(nn.Module):
    """Tutorial part C: 135,473 parameters."""

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


GROUPS = 32


def has_fused_attention(x):
    """On a GPU and from PyTorch 2.0 on. On a CPU two products with a softmax between them take less time."""
    return x.is_cuda and hasattr(F, "scaled_dot_product_attention")


def attend(q, k, v):
    """Attention of one head over maps [batch, channels, positions]."""
    if has_fused_attention(q):
        # Views all of them where maps lie channels-last.
        q, k, v = (part.transpose(1, 2).unsqueeze(1) for part in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v).squeeze(1).transpose(1, 2)
    weights = torch.softmax(torch.bmm(q.transpose(1, 2), k) * q.shape[1] ** -0.5, -1)
    return torch.bmm(v, weights.transpose(1, 2))


class ResnetBlock(nn.Module):
    def __init__(self, c_in, c_out, time_dim):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(GROUPS, c_in), nn.Conv2d(c_in, c_out, 3, padding=1)
        self.time_emb_proj = nn.Linear(time_dim, c_out)
        self.norm2, self.conv2 = nn.GroupNorm(GROUPS, c_out), nn.Conv2d(c_out, c_out, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x, activated_emb):
        h = self.conv1(F.silu(self.norm1(x))) + self.time_emb_proj(activated_emb)[:, :, None, None]
        return self.conv_shortcut(x) + self.conv2(F.silu(self.norm2(h)))


class SpatialAttention(nn.Module):
    """One head. Queries, keys and values come out of one product, which is faster than three."""

    def __init__(self, channels):
        super().__init__()
        self.group_norm = nn.GroupNorm(GROUPS, channels)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.to_out = nn.ModuleList([nn.Conv2d(channels, channels, 1)])

    def forward(self, x):
        b, c, h, w = x.shape
        q, k, v = self.to_qkv(self.group_norm(x)).reshape(b, 3, c, h * w).unbind(1)
        return x + self.to_out[0](attend(q, k, v).reshape(b, c, h, w))

    def _load_from_state_dict(self, state, prefix, *rest):
        """Files have linear layers for queries, keys and values."""
        for kind in ("weight", "bias"):
            parts = [state.pop(prefix + name + "." + kind) for name in ("to_q", "to_k", "to_v")]
            state[prefix + "to_qkv." + kind] = torch.cat(parts)[(...,) + (None, None) * (kind == "weight")]
        out = prefix + "to_out.0.weight"
        state[out] = state[out][..., None, None]
        super()._load_from_state_dict(state, prefix, *rest)


class Resample(nn.Module):
    """To half the size by a convolution, or to twice the size and then a convolution."""

    def __init__(self, channels, up):
        super().__init__()
        self.up = up
        self.conv = nn.Conv2d(channels, channels, 3, stride=1 if up else 2, padding=1)

    def forward(self, x):
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest") if self.up else x)


class Level(nn.Module):
    """Resnet blocks at one size, with attention after each of them or without, and the way to the next size."""

    def __init__(self, ins, out, time_dim, attends, up, last):
        super().__init__()
        self.resnets = nn.ModuleList([ResnetBlock(c, out, time_dim) for c in ins])
        self.attentions = nn.ModuleList([SpatialAttention(out) for _ in ins] if attends else [])
        resamplers = nn.ModuleList([] if last else [Resample(out, up)])
        setattr(self, "upsamplers" if up else "downsamplers", resamplers)
        self.up = up

    def block(self, i, x, emb):
        h = self.resnets[i](x, emb)
        return self.attentions[i](h) if len(self.attentions) else h

    def resample(self, x):
        for resampler in self.upsamplers if self.up else self.downsamplers:
            x = resampler(x)
        return x


class MidBlock(nn.Module):
    def __init__(self, channels, time_dim):
        super().__init__()
        self.resnets = nn.ModuleList([ResnetBlock(channels, channels, time_dim) for _ in range(2)])
        self.attentions = nn.ModuleList([SpatialAttention(channels)])

    def forward(self, x, emb):
        return self.resnets[1](self.attentions[0](self.resnets[0](x, emb)), emb)


class TimeEmbedding(nn.Module):
    def __init__(self, width, time_dim):
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(width, time_dim), nn.Linear(time_dim, time_dim)

    def forward(self, x):
        return self.linear_2(F.silu(self.linear_1(x)))


class DDPMUNet(nn.Module):
    """The U-Net of Ho et al. 2020: two resnet blocks a level, attention where maps are 16 wide and in the middle."""

    def __init__(self, size=32, base=64, mults=(1, 2, 2, 2), blocks=2, image_channels=3):
        super().__init__()
        time_dim = 4 * base
        widths = [base * mult for mult in mults]
        attends = [size / 2**level == 16 for level in range(len(mults))]
        self.conv_in = nn.Conv2d(image_channels, base, 3, padding=1)
        self.time_embedding = TimeEmbedding(base, time_dim)
        self.down_blocks, skips, c = nn.ModuleList(), [base], base
        for level, width in enumerate(widths):
            last = level == len(widths) - 1
            ins = [c] + [width] * (blocks - 1)
            self.down_blocks.append(Level(ins, width, time_dim, attends[level], up=False, last=last))
            skips += [width] * (blocks if last else blocks + 1)
            c = width
        self.mid_block = MidBlock(c, time_dim)
        self.up_blocks = nn.ModuleList()
        for level in reversed(range(len(widths))):
            ins = []
            for _ in range(blocks + 1):
                ins.append(c + skips.pop())
                c = widths[level]
            self.up_blocks.append(Level(ins, c, time_dim, attends[level], up=True, last=level == 0))
        self.conv_norm_out, self.conv_out = nn.GroupNorm(GROUPS, c), nn.Conv2d(c, image_channels, 3, padding=1)
        half = base // 2
        frequencies = torch.exp(-math.log(10000.0) * torch.arange(half) / (half - 1))
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, x, t):
        angles = t.float()[:, None] * self.frequencies[None]
        emb = F.silu(self.time_embedding(torch.cat([angles.sin(), angles.cos()], 1).to(x.dtype)))
        h = self.conv_in(x)
        skips = [h]
        for level in self.down_blocks:
            for i in range(len(level.resnets)):
                h = level.block(i, h, emb)
                skips.append(h)
            if len(level.downsamplers):
                h = level.resample(h)
                skips.append(h)
        h = self.mid_block(h, emb)
        for level in self.up_blocks:
            for i in range(len(level.resnets)):
                h = level.block(i, torch.cat([h, skips.pop()], 1), emb)
            h = level.resample(h)
        return self.conv_out(F.silu(self.conv_norm_out(h)))
