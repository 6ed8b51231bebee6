// Classifier-free guidance: a conditional network that is led away from what it says without the condition.

import { ArgumentError } from "../errors/index.ts";
import { concat, fullLike } from "../tensor/creation.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Network } from "./solver/solver.ts";

/** A network that is told classes: x [N, H, W, C], t [N], int32 labels [N]. */
export type ConditionalNetwork = (x: Tensor, t: Tensor, classLabels: Tensor) => Tensor;

/** How a network is guided. */
export interface GuidanceOptions {
  /** int32 [N], the class of each image. */
  readonly classLabels: Tensor;
  /** The class that stands for none, which the network saw in a part of training. */
  readonly nullLabel: number;
  /** w: 0 for no class, 1 for the class as it is, more for more of it. */
  readonly scale: number;
}

/**
 * Ho & Salimans 2022, eq. 6 with w + 1 for w, as everybody counts: p = p_null + w (p_class - p_null), for any prediction p.
 * Both are computed in one call of twice the batch. Where the network also says something about the variance (it
 * returns twice the channels), that of the class is taken.
 */
export function guided(network: ConditionalNetwork, options: GuidanceOptions): Network {
  const { classLabels, nullLabel, scale } = options;
  if (!Number.isFinite(scale))
    throw new ArgumentError({ op: "guided", problem: `scale is ${scale}, expected a finite number.` });
  if (scale === 1) return (x, t) => network(x, t, classLabels);
  const none = (): Tensor => fullLike(classLabels, nullLabel);
  if (scale === 0) return (x, t) => network(x, t, none());
  return (x, t) => {
    const both = network(concat([x, x], 0), concat([t, t], 0), concat([classLabels, none()], 0));
    const [conditional, unconditional] = both.chunk(2);
    const channels = x.shape.at(-1)!;
    const [ofClass, ...variance] = conditional.split(channels, -1);
    const [ofNone] = unconditional.split(channels, -1);
    const led = ofNone.add(ofClass.sub(ofNone).mul(scale));
    return variance.length === 0 ? led : concat([led, ...variance], -1);
  };
}
