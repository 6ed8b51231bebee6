// Layers that normalise: GroupNorm, LayerNorm, RMSNorm. Their weights begin as 1, their biases as 0.

import { ArgumentError, showValue } from "../errors/index.ts";
import type { Shape } from "../ops/index.ts";
import { ones, zeros } from "../tensor/creation.ts";
import { groupNorm, layerNorm, rmsNorm } from "../tensor/functional/norm.ts";
import type { Parameter } from "../tensor/parameter.ts";
import type { Tensor, TensorOptions } from "../tensor/tensor.ts";
import { parameterOf } from "./init.ts";
import { Module } from "./module.ts";

/** What the layers that normalise have in common. */
export interface NormLayerOptions extends TensorOptions {
  /** Added to the variance, so that nothing is divided by 0; default 1e-5. */
  readonly epsilon?: number;
  /** Whether the layer learns a weight, and a bias where it has one; default true. */
  readonly affine?: boolean;
}

function expectSize(layer: string, name: string, value: number): void {
  if (!Number.isInteger(value) || value < 1)
    throw new ArgumentError({ op: layer, problem: `${name} is ${showValue(value)}, expected an integer >= 1.` });
}

/** The sizes of the axes that are normalised; a number is the last axis. */
function normalisedShape(layer: string, shape: number | Shape): Shape {
  const sizes = typeof shape === "number" ? [shape] : shape;
  if (!Array.isArray(sizes))
    throw new ArgumentError({
      op: layer,
      problem: `shape is ${showValue(shape)}, expected a size or a list of sizes.`,
    });
  if (sizes.length === 0)
    throw new ArgumentError({ op: layer, problem: "no axis is normalised.", advice: "Name at least one size." });
  for (const n of sizes as Shape) expectSize(layer, "a size", n);
  return [...(sizes as Shape)];
}

const onesOf = (shape: Shape, options: NormLayerOptions): Parameter | undefined =>
  options.affine === false ? undefined : parameterOf(shape, "plain", options, () => ones(shape, options));
const zerosOf = (shape: Shape, options: NormLayerOptions): Parameter | undefined =>
  options.affine === false ? undefined : parameterOf(shape, "plain", options, () => zeros(shape, options));

/**
 * Group normalisation (`torch.nn.GroupNorm`): [N, ..., channels] -> the same shape; see `groupNorm`. As many groups as
 * channels make it `torch.nn.InstanceNorm2d`.
 */
export class GroupNorm<const Channels extends number = number> extends Module {
  /** Number of groups, which share the channels equally. */
  readonly groups: number;
  /** Channels of x. */
  readonly inChannels: Channels;
  /** Channels of the result: those of x. */
  readonly outChannels: Channels;
  /** What is added to the variance, or the mean square, before the root. */
  readonly epsilon: number;
  /** Scale of each channel or element; undefined where the layer was made without. */
  readonly weight: Parameter | undefined;
  /** What is added to each; undefined where the layer was made without. */
  readonly bias: Parameter | undefined;

  constructor(groups: number, channels: Channels, options: NormLayerOptions = {}) {
    super();
    expectSize("GroupNorm", "groups", groups);
    expectSize("GroupNorm", "channels", channels);
    if (channels % groups !== 0)
      throw new ArgumentError({
        op: "GroupNorm",
        problem: `${channels} channels do not divide into ${groups} groups.`,
        advice: "The number of groups must divide the number of channels.",
      });
    this.groups = groups;
    this.inChannels = this.outChannels = channels;
    this.epsilon = options.epsilon ?? 1e-5;
    this.weight = onesOf([channels], options);
    this.bias = zerosOf([channels], options);
  }

  forward(x: Tensor): Tensor {
    return groupNorm(x, this.groups, this.weight, this.bias, { epsilon: this.epsilon });
  }
}

/** Layer normalisation over the last axes (`torch.nn.LayerNorm`): [..., ...shape] -> the same shape; see `layerNorm`. */
export class LayerNorm<const Channels extends number = number> extends Module {
  /** Channels of x: the last of the sizes. */
  readonly inChannels: Channels;
  /** Channels of the result: those of x. */
  readonly outChannels: Channels;
  /** Sizes of the last axes, over which x is normalised. */
  readonly shape: Shape;
  /** What is added to the variance, or the mean square, before the root. */
  readonly epsilon: number;
  /** Scale of each channel or element; undefined where the layer was made without. */
  readonly weight: Parameter | undefined;
  /** What is added to each; undefined where the layer was made without. */
  readonly bias: Parameter | undefined;

  constructor(shape: Channels | readonly [...number[], Channels] | Shape, options: NormLayerOptions = {}) {
    super();
    this.shape = normalisedShape("LayerNorm", shape);
    this.inChannels = this.outChannels = this.shape[this.shape.length - 1] as Channels;
    this.epsilon = options.epsilon ?? 1e-5;
    this.weight = onesOf(this.shape, options);
    this.bias = zerosOf(this.shape, options);
  }

  forward(x: Tensor): Tensor {
    return layerNorm(x, this.shape, this.weight, this.bias, { epsilon: this.epsilon });
  }
}

/** Normalisation by the root mean square over the last axes (`torch.nn.RMSNorm`): see `rmsNorm`. It has no bias. */
export class RMSNorm<const Channels extends number = number> extends Module {
  /** Channels of x: the last of the sizes. */
  readonly inChannels: Channels;
  /** Channels of the result: those of x. */
  readonly outChannels: Channels;
  /** Sizes of the last axes, over which x is normalised. */
  readonly shape: Shape;
  /** What is added to the variance, or the mean square, before the root. */
  readonly epsilon: number;
  /** Scale of each channel or element; undefined where the layer was made without. */
  readonly weight: Parameter | undefined;

  constructor(shape: Channels | readonly [...number[], Channels] | Shape, options: NormLayerOptions = {}) {
    super();
    this.shape = normalisedShape("RMSNorm", shape);
    this.inChannels = this.outChannels = this.shape[this.shape.length - 1] as Channels;
    this.epsilon = options.epsilon ?? 1e-5;
    this.weight = onesOf(this.shape, options);
  }

  forward(x: Tensor): Tensor {
    return rmsNorm(x, this.shape, this.weight, { epsilon: this.epsilon });
  }
}
