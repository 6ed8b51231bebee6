// The layers that hold weights: Conv2d, ConvTranspose2d, Linear, Embedding.

import { ArgumentError, showValue } from "../errors/index.ts";
import type { TorchLayout } from "../io/layout.ts";
import type { Shape } from "../ops/index.ts";
import type { Conv2dOptions, ConvTranspose2dOptions } from "../tensor/functional/conv.ts";
import { conv2d, convTranspose2d, convTransposeWindow, convWindow } from "../tensor/functional/conv.ts";
import { embedding, linear } from "../tensor/functional/linear.ts";
import type { Pair } from "../tensor/functional/window.ts";
import { pair } from "../tensor/functional/window.ts";
import type { Parameter } from "../tensor/parameter.ts";
import type { Tensor, TensorOptions } from "../tensor/tensor.ts";
import type { WeightInit } from "./init.ts";
import { initialised, uniformByFanIn } from "./init.ts";
import { Module } from "./module.ts";

/** Options that all layers share: where and as what the weights are made. */
export interface LayerOptions extends TensorOptions {
  /** Whether the layer adds a bias; default true. */
  readonly bias?: boolean;
  /** How the weights begin; default: as PyTorch's. Where it is given, the bias begins as 0. */
  readonly init?: WeightInit;
}

/** The weights of a layer. */
function weights(shape: Shape, fanIn: number, layout: TorchLayout, options: LayerOptions): Parameter {
  const { init } = options;
  return init ? initialised(init, shape, layout, options) : uniformByFanIn(shape, fanIn, layout, options);
}

/** The bias of a layer, if it has one. */
function biases(count: number, fanIn: number, options: LayerOptions): Parameter | undefined {
  if (options.bias === false) return undefined;
  const { init } = options;
  return init ? initialised("zeros", [count], "plain", options) : uniformByFanIn([count], fanIn, "plain", options);
}

function expectCount(layer: string, name: string, value: number): void {
  if (!Number.isInteger(value) || value < 1)
    throw new ArgumentError({ op: layer, problem: `${name} is ${showValue(value)}, expected an integer >= 1.` });
}

/** Refuses groups that do not divide the channels. */
function expectGroups(layer: string, groups: number, inChannels: number, outChannels: number): void {
  expectCount(layer, "groups", groups);
  if (inChannels % groups !== 0 || outChannels % groups !== 0)
    throw new ArgumentError({
      op: layer,
      problem: `groups is ${groups}, which does not divide ${inChannels} input and ${outChannels} output channels.`,
    });
}

/** Convolution over NHWC images (`torch.nn.Conv2d`): [N, H, W, inChannels] -> [N, H', W', outChannels]. */
export class Conv2d<In extends number = number, Out extends number = number> extends Module {
  /** Channels of x. */
  readonly inChannels: In;
  /** Channels of the result. */
  readonly outChannels: Out;
  /** The weights, in this library's memory layout. */
  readonly weight: Parameter;
  /** One number for each output channel; undefined where the layer was made without. */
  readonly bias: Parameter | undefined;
  /** Stride, padding, dilation and groups. */
  readonly options: Conv2dOptions;

  constructor(inChannels: In, outChannels: Out, kernel: Pair, options: Conv2dOptions & LayerOptions = {}) {
    super();
    const { groups = 1 } = options;
    expectCount("Conv2d", "inChannels", inChannels);
    expectCount("Conv2d", "outChannels", outChannels);
    expectGroups("Conv2d", groups, inChannels, outChannels);
    convWindow("Conv2d", options);
    const [kh, kw] = pair("Conv2d", "kernel", kernel, 1);
    const fanIn = (inChannels / groups) * kh * kw;
    this.inChannels = inChannels;
    this.outChannels = outChannels;
    this.options = options;
    this.weight = weights([kh, kw, inChannels / groups, outChannels], fanIn, "OIHW", options);
    this.bias = biases(outChannels, fanIn, options);
  }

  forward(x: Tensor): Tensor {
    return conv2d(x, this.weight, this.bias, this.options);
  }
}

/** Transposed convolution (`torch.nn.ConvTranspose2d`): [N, H, W, inChannels] -> [N, H', W', outChannels]. */
export class ConvTranspose2d<In extends number = number, Out extends number = number> extends Module {
  /** Channels of x. */
  readonly inChannels: In;
  /** Channels of the result. */
  readonly outChannels: Out;
  /** The weights, in this library's memory layout. */
  readonly weight: Parameter;
  /** One number for each output channel; undefined where the layer was made without. */
  readonly bias: Parameter | undefined;
  /** Stride, padding, dilation, groups and output padding. */
  readonly options: ConvTranspose2dOptions;

  constructor(inChannels: In, outChannels: Out, kernel: Pair, options: ConvTranspose2dOptions & LayerOptions = {}) {
    super();
    const { groups = 1 } = options;
    expectCount("ConvTranspose2d", "inChannels", inChannels);
    expectCount("ConvTranspose2d", "outChannels", outChannels);
    expectGroups("ConvTranspose2d", groups, inChannels, outChannels);
    convTransposeWindow("ConvTranspose2d", options);
    const [kh, kw] = pair("ConvTranspose2d", "kernel", kernel, 1);
    // PyTorch reads fan-in off axis 1 of its [in, out / groups, kh, kw] weight, which are the output channels.
    const fanIn = (outChannels / groups) * kh * kw;
    this.inChannels = inChannels;
    this.outChannels = outChannels;
    this.options = options;
    this.weight = weights([kh, kw, outChannels / groups, inChannels], fanIn, "IOHW", options);
    this.bias = biases(outChannels, fanIn, options);
  }

  forward(x: Tensor): Tensor {
    return convTranspose2d(x, this.weight, this.bias, this.options);
  }
}

/** x W + b over the last axis (`torch.nn.Linear`): [..., inFeatures] -> [..., outFeatures]. */
export class Linear<In extends number = number, Out extends number = number> extends Module {
  /** Size of the last axis of x. */
  readonly inFeatures: In;
  /** Size of the last axis of the result. */
  readonly outFeatures: Out;
  /** The weights, in this library's memory layout. */
  readonly weight: Parameter;
  /** One number for each output channel; undefined where the layer was made without. */
  readonly bias: Parameter | undefined;

  constructor(inFeatures: In, outFeatures: Out, options: LayerOptions = {}) {
    super();
    expectCount("Linear", "inFeatures", inFeatures);
    expectCount("Linear", "outFeatures", outFeatures);
    this.inFeatures = inFeatures;
    this.outFeatures = outFeatures;
    this.weight = weights([inFeatures, outFeatures], inFeatures, "OI", options);
    this.bias = biases(outFeatures, inFeatures, options);
  }

  forward(x: Tensor): Tensor {
    return linear(x, this.weight, this.bias);
  }
}

/** A table of `count` vectors of `width` numbers (`torch.nn.Embedding`): int32 [...] -> [..., width]. */
export class Embedding<Width extends number = number> extends Module {
  /** Size of the last axis of the result: that of one vector. */
  readonly outFeatures: Width;
  /** The weights, in this library's memory layout. */
  readonly weight: Parameter;

  constructor(count: number, width: Width, options: Omit<LayerOptions, "bias"> = {}) {
    super();
    expectCount("Embedding", "count", count);
    expectCount("Embedding", "width", width);
    this.outFeatures = width;
    this.weight = initialised(options.init ?? { normal: 1 }, [count, width], "plain", options);
  }

  forward(index: Tensor): Tensor {
    return embedding(this.weight, index);
  }
}
