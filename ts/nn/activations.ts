// Activations as layers, and the layers that only pass on or reshape.

import { sizeOf } from "../ops/index.ts";
import { resolveAxis } from "../ops/checks.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { Module } from "./module.ts";

/** A function of each element. */
abstract class Activation extends Module {
  /** The result has as many channels as x; see `channels.ts`. */
  readonly keepsChannels = true;
  abstract override forward(x: Tensor): Tensor;
}

/** max(x, 0) (`torch.nn.ReLU`). */
export class ReLU extends Activation {
  forward(x: Tensor): Tensor {
    return x.relu();
  }
}

/** x * sigmoid(x) (`torch.nn.SiLU`). */
export class SiLU extends Activation {
  forward(x: Tensor): Tensor {
    return x.silu();
  }
}

/** 1 / (1 + e^-x) (`torch.nn.Sigmoid`). */
export class Sigmoid extends Activation {
  forward(x: Tensor): Tensor {
    return x.sigmoid();
  }
}

/** Hyperbolic tangent (`torch.nn.Tanh`). */
export class Tanh extends Activation {
  forward(x: Tensor): Tensor {
    return x.tanh();
  }
}

/** x as it is (`torch.nn.Identity`). */
export class Identity extends Activation {
  forward(x: Tensor): Tensor {
    return x;
  }
}

/**
 * Makes the axes `first` to `last` into one (`torch.nn.Flatten`); by default all but the batch. An image
 * [N, H, W, C] becomes [N, H * W * C] in that order, PyTorch's in the order C, H, W: a Linear layer after it that was
 * trained there wants `x.permute([0, 3, 1, 2])` before.
 */
export class Flatten extends Module {
  readonly first: number;
  readonly last: number;

  constructor(first = 1, last = -1) {
    super();
    this.first = first;
    this.last = last;
  }

  forward(x: Tensor): Tensor {
    const [first, last] = [this.first, this.last].map((axis) => resolveAxis("flatten", axis, x.rank));
    const { shape } = x;
    return x.reshape([...shape.slice(0, first), sizeOf(shape.slice(first, last + 1)), ...shape.slice(last + 1)]);
  }
}
