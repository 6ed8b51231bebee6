// Images in memory as a data set: on the device once, from where seeded, shuffled batches are gathered.

import { defaultDevice } from "../device/devices.ts";
import type { DeviceName } from "../device/executor.ts";
import { ArgumentError, ShapeError, showShape } from "../errors/index.ts";
import { sizeOf } from "../ops/index.ts";
import { embedding } from "../tensor/functional/linear.ts";
import { draws } from "../tensor/random.ts";
import { outsideRecording } from "../tensor/recording.ts";
import { scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { defaultDType, tensor, tensorPerStep } from "../tensor/tensor.ts";
import { shuffledOrder } from "./shuffle.ts";

/** What a training step is given of the data. */
export interface Batch {
  /** Images [N, H, W, C], usually in [-1, 1]. */
  readonly x0: Tensor;
  /** Labels int32 [N], where the data has any. */
  readonly labels?: Tensor;
}

/** A source of batches. `batch` is called inside a scope: what it makes is freed after the step. */
export interface Batches {
  /** Images in a batch. */
  readonly size: number;
  /** The batch of iteration `iteration` (from 0) under this 64-bit seed; the same arguments give the same batch. */
  batch(iteration: number, seed: bigint, device?: DeviceName): Batch;
  /**
   * The same in a captured function, where `iteration` tells the number of each of its steps: then `train` runs many
   * steps in one call. Only for data that lie on the device.
   */
  batchOfStep?(iteration: () => number, seed: bigint, device?: DeviceName): Batch;
}

/** Images in memory, and their labels if they have any. */
export interface ImageSetOptions {
  /** Elements in row-major order. */
  readonly images: Float32Array;
  /** [count, H, W, C]. */
  readonly shape: readonly [count: number, height: number, width: number, channels: number];
  /** One label for each image. */
  readonly labels?: Int32Array;
}

/** Images [count, H, W, C] with optional labels. */
export class ImageSet {
  /** Pixels of all images, one after the other, NHWC. */
  readonly images: Float32Array;
  /** Sizes of `images`. */
  readonly shape: readonly [count: number, height: number, width: number, channels: number];
  /** Class of each image; undefined where there are none. */
  readonly labels: Int32Array | undefined;
  private readonly resident = new Map<string, Tensor>();
  /** The order of the epoch that was visited last: all its batches need it. */
  private visited: { readonly seed: bigint; readonly epoch: number; readonly order: Int32Array } | undefined;

  constructor({ images, shape, labels }: ImageSetOptions) {
    if (shape.length !== 4 || sizeOf(shape) !== images.length || shape[0] < 1)
      throw new ShapeError({
        op: "ImageSet",
        problem: `${images.length} elements for shape ${showShape(shape)}.`,
        advice: "The shape is [count, height, width, channels], with at least one image.",
      });
    if (labels && labels.length !== shape[0])
      throw new ShapeError({ op: "ImageSet", problem: `${labels.length} labels for ${shape[0]} images.` });
    this.images = images;
    this.shape = shape;
    this.labels = labels;
  }

  /** Number of images. */
  get count(): number {
    return this.shape[0];
  }

  /** Images `start` to `stop` (exclusive) as a data set of their own. */
  subset(start: number, stop: number): ImageSet {
    if (!Number.isInteger(start) || !Number.isInteger(stop) || start < 0 || stop > this.count || start >= stop)
      throw new ArgumentError({ op: "ImageSet.subset", problem: `${start} to ${stop} of ${this.count} images.` });
    const [, height, width, channels] = this.shape;
    const elements = height * width * channels;
    return new ImageSet({
      images: this.images.subarray(start * elements, stop * elements),
      shape: [stop - start, height, width, channels],
      labels: this.labels?.subarray(start, stop),
    });
  }

  /** Batches of `size` images in an order that is shuffled anew in every epoch; batches run on over epochs' ends. */
  batches(size: number): Batches {
    if (!Number.isInteger(size) || size < 1)
      throw new ArgumentError({ op: "ImageSet.batches", problem: `size is ${size}, expected an integer >= 1.` });
    const batchOfStep = (iteration: () => number, seed: bigint, device = defaultDevice()): Batch => {
      const listed = (values: (index: Int32Array) => Int32Array): Tensor =>
        tensorPerStep(() => values(this.indexes(iteration() * size, size, seed)), {
          shape: [size],
          dtype: "int32",
          device,
        });
      const [, ...image] = this.shape;
      const x0 = embedding(
        this.table(device),
        listed((index) => index),
      ).reshape([size, ...image]);
      const { labels } = this;
      return labels ? { x0, labels: listed((index) => index.map((i) => labels[i])) } : { x0 };
    };
    return {
      size,
      batch: (iteration, seed, device) => batchOfStep(() => iteration, seed, device),
      batchOfStep,
    };
  }

  /** The images at positions `start`, ... of the endless sequence of shuffled epochs. */
  private indexes(start: number, size: number, seed: bigint): Int32Array {
    const index = new Int32Array(size);
    for (let i = 0; this.count > 1 && i < size; i++) {
      const position = start + i;
      index[i] = this.orderOf(seed, Math.floor(position / this.count))[position % this.count];
    }
    return index;
  }

  private orderOf(seed: bigint, epoch: number): Int32Array {
    if (this.visited?.seed !== seed || this.visited.epoch !== epoch)
      this.visited = { seed, epoch, order: shuffledOrder(this.count, seed, epoch, draws.shuffle) };
    return this.visited.order;
  }

  /** The images as a table [count, H W C] on the device, in the default dtype. */
  private table(device: DeviceName): Tensor {
    const dtype = defaultDType();
    const known = this.resident.get(`${device} ${dtype}`);
    if (known && !known.disposed) return known;
    const shape = [this.count, this.images.length / this.count];
    const made = outsideRecording(() => scope(() => tensor(this.images, { shape, device, dtype }).keep()));
    this.resident.set(`${device} ${dtype}`, made);
    return made;
  }
}
