// Activations as layers, and the layers that only pass on or reshape.

import { ArgumentError, showValue } from "../errors/index.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { Module } from "./module.ts";

/** A function of each element. */
abstract class Activation extends Module {
  /** The result has as many channels as x; see `channels.ts`. */
  readonly keepsChannels = true;
  /** x of any shape -> the same shape. */
  abstract override forward(x: Tensor): Tensor;
}

/** max(x, 0) (`torch.nn.ReLU`). */
export class ReLU extends Activation {
  /** Applies the layer to x. */
  forward(x: Tensor): Tensor {
    return x.relu();
  }
}

/** min(max(x, 0), 6) (`torch.nn.ReLU6`). */
export class ReLU6 extends Activation {
  forward(x: Tensor): Tensor {
    return x.relu6();
  }
}

/** x above 0, slope * x below (`torch.nn.LeakyReLU`, whose `negative_slope` is `slope`). */
export class LeakyReLU extends Activation {
  /** What x is multiplied by below 0. */
  readonly slope: number;

  constructor(options: { readonly slope?: number } = {}) {
    super();
    this.slope = options.slope ?? 0.01;
  }

  forward(x: Tensor): Tensor {
    return x.leakyRelu({ slope: this.slope });
  }
}

/** x above 0, alpha * (e^x - 1) below (`torch.nn.ELU`). */
export class ELU extends Activation {
  /** The limit towards minus infinity is -alpha. */
  readonly alpha: number;

  constructor(options: { readonly alpha?: number } = {}) {
    super();
    this.alpha = options.alpha ?? 1;
  }

  forward(x: Tensor): Tensor {
    return x.elu({ alpha: this.alpha });
  }
}

/** x times the probability of less than x under the normal distribution, or its approximation by tanh (`torch.nn.GELU`). */
export class GELU extends Activation {
  /** Whether the probability is approximated by tanh. */
  readonly approximate: "none" | "tanh";

  constructor(options: { readonly approximate?: "none" | "tanh" } = {}) {
    super();
    this.approximate = options.approximate ?? "none";
  }

  forward(x: Tensor): Tensor {
    return x.gelu({ approximate: this.approximate });
  }
}

/** ln(1 + e^x) (`torch.nn.Softplus`). */
export class Softplus extends Activation {
  forward(x: Tensor): Tensor {
    return x.softplus();
  }
}

/** x * tanh(softplus(x)) (`torch.nn.Mish`). */
export class Mish extends Activation {
  forward(x: Tensor): Tensor {
    return x.mish();
  }
}

/** x * sigmoid(x) (`torch.nn.SiLU`). */
export class SiLU extends Activation {
  /** Applies the layer to x. */
  forward(x: Tensor): Tensor {
    return x.silu();
  }
}

/** 1 / (1 + e^-x) (`torch.nn.Sigmoid`). */
export class Sigmoid extends Activation {
  /** Applies the layer to x. */
  forward(x: Tensor): Tensor {
    return x.sigmoid();
  }
}

/** Hyperbolic tangent (`torch.nn.Tanh`). */
export class Tanh extends Activation {
  /** Applies the layer to x. */
  forward(x: Tensor): Tensor {
    return x.tanh();
  }
}

/** Lines along an axis as numbers that add up to 1 (`torch.nn.Softmax`), by default along the channels; see `Tensor.softmax`. */
export class Softmax extends Module {
  /** The result has as many channels as x; see `channels.ts`. */
  readonly keepsChannels = true;
  /** Along which axis; negative ones count from the end. */
  readonly axis: number;

  constructor(axis = -1) {
    super();
    if (!Number.isInteger(axis))
      throw new ArgumentError({ op: "Softmax", problem: `axis is ${showValue(axis)}, expected an integer.` });
    this.axis = axis;
  }

  /** Applies the layer to x. */
  forward(x: Tensor): Tensor {
    return x.softmax(this.axis);
  }
}

/** x as it is (`torch.nn.Identity`). */
export class Identity extends Activation {
  /** Applies the layer to x. */
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
  /** The first axis that is merged; negative ones count from the end. */
  readonly first: number;
  /** The last one. */
  readonly last: number;

  constructor(first = 1, last = -1) {
    super();
    this.first = first;
    this.last = last;
  }

  /** Applies the layer to x. */
  forward(x: Tensor): Tensor {
    return x.flatten(this.first, this.last);
  }
}
