// The interface between tensors and whatever computes: buffers, operands, commands, and what a backend must not know
// (autograd, layers, scopes, plans).

import type { AnyAttributes, AnyOp, DType, Shape } from "../ops/index.ts";

/** Names of the executors, fastest first: the order in which the default device is chosen. */
export const deviceNames = ["cuda", "cpu", "ts"] as const;
/** Name of a device, as users give it. */
export type DeviceName = (typeof deviceNames)[number];

/** Typed arrays that hold tensor elements: float32, int32, float64. */
export type ElementArray = Float32Array | Int32Array | Float64Array;

/** A piece of device memory, identified by a number that is unique within its executor and never reused. */
export type BufferId = number;

/**
 * A rectangular view of a buffer. Elements of the last axis are adjacent; rows of the last axis lie `pitch` elements
 * apart, and outer axes are dense over rows. `pitch` equals the last size where the operand is dense.
 */
export interface Operand {
  readonly buffer: BufferId;
  /** Position of the first element, counted in elements. */
  readonly offset: number;
  readonly shape: Shape;
  readonly pitch: number;
  readonly dtype: DType;
}

/** One op on given operands. In-place ops have no output; they overwrite the inputs that `op.writes` lists. */
export interface Command {
  readonly op: AnyOp;
  readonly attributes: AnyAttributes;
  readonly inputs: readonly (Operand | undefined)[];
  readonly output: Operand | undefined;
}

/** Memory of an executor, in bytes and buffers. `reserved` counts what the allocator keeps for reuse, too. */
export interface MemoryStats {
  /** Buffers that tensors hold. */
  readonly liveBuffers: number;
  /** Bytes of these buffers. */
  readonly liveBytes: number;
  /** Bytes that the allocator has from the system, those that it keeps for reuse among them. */
  readonly reservedBytes: number;
}

/**
 * Runs commands in the order in which they are submitted. `submit` and `release` return before the work is done;
 * because everything is in order, a released buffer may be handed out again at once.
 */
export interface Executor {
  readonly name: DeviceName;
  /** Threads that kernels use. */
  readonly threads: number;
  /** Whether the executor computes in this dtype. */
  supports(dtype: DType): boolean;
  /** Returns uninitialised memory. Throws DeviceError when there is none. */
  allocate(bytes: number): BufferId;
  release(buffer: BufferId): void;
  submit(commands: readonly Command[]): void;
  /** Copies `source` into the buffer, in order with the commands; the caller may reuse `source` at once. */
  write(buffer: BufferId, byteOffset: number, source: ElementArray): void;
  /** Fills `target` from the buffer once all earlier commands are done. */
  read(buffer: BufferId, byteOffset: number, target: ElementArray): Promise<void>;
  /** The same, blocking the calling thread. */
  readSync(buffer: BufferId, byteOffset: number, target: ElementArray): void;
  /** Resolves once all earlier commands are done; rejects with what went wrong in them. */
  synchronize(): Promise<void>;
  memory(): MemoryStats;
}

/** The operand that covers a whole dense buffer region. */
export function dense(buffer: BufferId, offset: number, shape: Shape, dtype: DType): Operand {
  return { buffer, offset, shape, pitch: shape.length === 0 ? 1 : shape[shape.length - 1], dtype };
}
