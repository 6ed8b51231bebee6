// What the blocks of a U-Net have in common: their settings, and what they take and give.

import type { Tensor } from "../../tensor/tensor.ts";
import type { DownsamplePadding } from "./resample.ts";
import type { ResnetSettings } from "./resnet-block.ts";

/** What all blocks of a U-Net are built with. */
export interface BlockSettings extends ResnetSettings {
  /** Groups of the normalisations; undefined only for blocks that choose them themselves, see `groupsFor`. */
  readonly groups: number | undefined;
  /** Channels of a head of attention; undefined: all, in one head. */
  readonly headDim: number | undefined;
  /** Zeros around images that a convolution halves. */
  readonly downsamplePadding: DownsamplePadding;
}

/** Channels of a block on the way down, and what it is made of. */
export interface DownBlockOptions extends BlockSettings {
  /** Number of resnet blocks, at least 1. */
  readonly layers: number;
  /** Channels of x. */
  readonly inChannels: number;
  /** Channels of the result. */
  readonly outChannels: number;
}

/** Channels of a block on the way up, and what it is made of. */
export interface UpBlockOptions extends BlockSettings {
  /** Number of resnet blocks, at least 1: one more than on the way down. */
  readonly layers: number;
  /** Channels of x. */
  readonly inChannels: number;
  /** Channels of the result. */
  readonly outChannels: number;
  /** Channels of the last skip that the block takes; the others have `outChannels`. */
  readonly skipChannels: number;
}

/** What a block on the way down gives. */
export interface DownResult {
  /** What the way up will take, in the order of computation; the last one goes on. */
  readonly skips: readonly Tensor[];
  /** The input image at the size of the result, as far as blocks made it so. */
  readonly image: Tensor;
}

/** What a block on the way up gives. */
export interface UpResult {
  /** What goes on. */
  readonly x: Tensor;
  /** A sum of images that blocks have given so far; undefined where none has. */
  readonly image: Tensor | undefined;
}

/** As many groups as give each four channels, at most 32 (NCSN++'s choice). */
export function groupsFor(channels: number): number {
  return Math.min(Math.floor(channels / 4), 32);
}

/** Channels of the input of resnet block i on the way up: of what comes, and of the skip beside it. */
export function joinedChannels({ layers, inChannels, outChannels, skipChannels }: UpBlockOptions, i: number): number {
  return (i === 0 ? inChannels : outChannels) + (i === layers - 1 ? skipChannels : outChannels);
}
