// Sequential: layers that run one after the other, whose channels are checked when the program is written.

import { ArgumentError } from "../errors/index.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Verdicts } from "./channels.ts";
import { Module } from "./module.ts";

/** A module that makes one tensor of one. */
export interface Layer extends Module {
  forward(x: Tensor): Tensor;
}

/**
 * Layers in a row (`torch.nn.Sequential`), with PyTorch's names: `0.weight`, `2.bias`. `net[i]` is layer i, `net.chain` all
 * of them. Where the numbers of channels are literals, a layer that does not fit those before it is an error in the editor:
 *
 *     new Sequential(new Conv2d(3, 16, 3), new SiLU(), new Conv2d(32, 3, 3))
 *     // ... is not assignable to type '"takes 32 channels, but the layers before it give 16"'
 *
 * For a list of layers that do not run in a row (`torch.nn.ModuleList`, `ModuleDict`) an array or a plain object as a
 * property of a module is enough.
 */
export class Sequential<const Layers extends readonly Layer[] = readonly Layer[]> extends Module {
  readonly [index: number]: Layers[number];
  /** Number of layers. */
  readonly length: Layers["length"];

  /** Throws ArgumentError for what is no Module. */
  constructor(...layers: { readonly [I in keyof Layers]: Layers[I] & Verdicts<Layers>[I & keyof Verdicts<Layers>] }) {
    super();
    layers.forEach((layer: unknown, i) => {
      if (!(layer instanceof Module))
        throw new ArgumentError({
          op: "Sequential",
          problem: `layer ${i} is ${typeof layer === "function" ? "a function" : String(layer)}.`,
          advice: "Every layer is a Module: new ReLU(), not relu.",
        });
    });
    this.length = layers.length;
    Object.assign(this, layers);
  }

  /** The layers, each with its type. */
  get chain(): Layers {
    return Array.from({ length: this.length }, (_, i) => this[i]) as readonly Layer[] as Layers;
  }

  forward(x: Tensor): Tensor {
    return this.chain.reduce<Tensor>((h, layer) => layer.forward(h), x);
  }
}
