// Value: memory with a shape and a lifetime, which is a tensor without its operations.

import type { DeviceName, Executor, Operand } from "../device/executor.ts";
import { dense } from "../device/executor.ts";
import { ArgumentError, CaptureError, LifetimeError, showShape, showValue } from "../errors/index.ts";
import type { DType, Shape, TensorType } from "../ops/index.ts";
import { bytesOf, sizeOf } from "../ops/index.ts";
import type { Elements } from "./elements.ts";
import { newArray } from "./elements.ts";
import type { Owned, Scope } from "./scope.ts";
import type { Recording } from "./recording.ts";
import { Counter, currentRecording } from "./recording.ts";
import { disown } from "./scope.ts";
import type { Storage } from "./storage.ts";
import type { TapeNode } from "./tape.ts";

/** Where a tensor's elements lie. */
export interface Place {
  readonly storage: Storage;
  /** In elements. */
  readonly offset: number;
}

/** What has to be let go of when a value dies; shared with the finalizer, which must not hold the value. */
class Holding {
  readonly place: Place;
  readonly release: () => void;
  disposed = false;

  constructor(place: Place, node: { release(): void } | undefined) {
    this.place = place;
    this.release = () => {
      place.storage.release();
      node?.release();
    };
  }

  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.release();
  }
}

/** The safety net for values that neither a scope nor `dispose` frees. */
const finalizer = new FinalizationRegistry<Holding>((holding) => {
  holding.dispose();
});

/** What a value is made with besides its place and type. */
export interface ValueOptions<Self> {
  readonly version?: Counter;
  readonly node?: TapeNode<Self>;
}

/** Elements in device memory with their shape, dtype and place on the tape; `Self` is the tensor class built on it. */
export abstract class Value<Self> implements Owned {
  /** Sizes of the axes, outermost first. */
  readonly shape: Shape;
  /** Type of the elements. */
  readonly dtype: DType;
  /** @internal */
  owner: Scope | undefined;
  /** @internal Counts in-place writes; shared by views. */
  readonly version: Counter;
  /** @internal What made this value, if that was recorded. */
  readonly node: TapeNode<Self> | undefined;
  /** @internal The recording during which this value was made. */
  readonly madeIn: Recording | undefined = currentRecording();
  private readonly holding: Holding;

  /** @internal Takes over one hold on the storage and one on the node. */
  constructor(place: Place, type: TensorType, options: ValueOptions<Self> = {}) {
    this.shape = type.shape;
    this.dtype = type.dtype;
    this.version = options.version ?? new Counter();
    this.node = options.node;
    this.holding = new Holding(place, options.node);
  }

  /** Number of axes. */
  get rank(): number {
    return this.shape.length;
  }

  /** Number of elements. */
  get size(): number {
    return sizeOf(this.shape);
  }

  /** Where the tensor is computed: `cpu`, `ts`, `cuda`. */
  get device(): DeviceName {
    return this.executor.name;
  }

  /** @internal */
  get executor(): Executor {
    return this.holding.place.storage.executor;
  }

  /** Whether the tensor was disposed, by `dispose` or by the end of its scope. */
  get disposed(): boolean {
    return this.holding.disposed;
  }

  /** Frees the tensor's hold on its memory now. Further use throws; views and gradients in flight are not affected. */
  dispose(): void {
    const recording = currentRecording();
    if (recording && recording !== this.madeIn)
      throw new CaptureError({
        op: "dispose",
        problem: `a tensor of shape ${showShape(this.shape)} from outside was disposed in a captured function.`,
        advice: "Dispose it outside: a plan's steps all use it.",
      });
    this.owner = undefined;
    finalizer.unregister(this);
    this.holding.dispose();
  }

  /** `using` calls `dispose` where its block ends. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Takes the tensor out of the scope it was made in, so that it lives until `dispose` or garbage collection. */
  keep(): this {
    disown(this);
    return this;
  }

  /** @internal */
  onOrphaned(): void {
    finalizer.register(this, this.holding, this);
  }

  /** @internal The tensor as an operand of `op`; throws when it was disposed. */
  operand(op: string): Operand {
    const { storage, offset } = this.place(op);
    return dense(storage.buffer, storage.byteOffset / bytesOf(this.dtype) + offset, this.shape, this.dtype);
  }

  /** @internal */
  place(op: string): Place {
    if (this.holding.disposed)
      throw new LifetimeError({
        op,
        problem: `a tensor of shape ${showShape(this.shape)} was used after it was disposed.`,
        advice: "Return it from its scope, call keep() on it, or make it outside.",
      });
    const { place } = this.holding;
    const { storage } = place;
    const recording = currentRecording();
    if (storage.recording !== recording) {
      if (storage.recording)
        throw new CaptureError({
          op,
          problem: `a tensor of shape ${showShape(this.shape)} of a captured function was used outside of it.`,
          advice: "Such tensors hold no values: return it from the function, and use what the call gives.",
        });
      recording!.use(storage, storage.executor);
    }
    return place;
  }

  /** @internal The elements, or `count` of them from the one at `first` on; blocks until they are computed. */
  elements(op: string, first = 0, count = this.size): Elements {
    expectReadable(op);
    const { storage, offset } = this.place(op);
    const target = newArray(this.dtype, count);
    storage.executor.readSync(storage.buffer, storage.byteOffset + (offset + first) * bytesOf(this.dtype), target);
    return target;
  }

  /** @internal The elements, once they are computed. */
  async read(op: string): Promise<Elements> {
    expectReadable(op);
    const { storage, offset } = this.place(op);
    const target = newArray(this.dtype, this.size);
    storage.retain();
    try {
      await storage.executor.read(storage.buffer, storage.byteOffset + offset * bytesOf(this.dtype), target);
    } finally {
      storage.release();
    }
    return target;
  }
}

/** Refuses to read where nothing is computed yet. */
function expectReadable(op: string): void {
  if (currentRecording())
    throw new CaptureError({
      op,
      problem: "a value was read in a captured function, where nothing is computed yet.",
      advice:
        "Return the tensor and read it outside; for decisions by value use where(), or run the steps eagerly (eager: true).",
    });
}

/** @internal Refuses an operand that is no tensor, as callers without types may give one. */
export function expectTensor(op: string, name: string, value: unknown): void {
  if (!(value instanceof Value))
    throw new ArgumentError({ op, problem: `${name} is ${showValue(value)}, expected a tensor.` });
}
