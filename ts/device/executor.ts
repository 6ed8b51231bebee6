// The interface between tensors and whatever computes: buffers, operands, commands, and what a backend must not know
// (autograd, layers, scopes, plans).

import { DeviceError } from "../errors/index.ts";
import type { Alignment, AnyAttributes, AnyOp, DType, Shape, StoredType, TensorType } from "../ops/index.ts";

/** Names of the executors, fastest first: the order in which the default device is chosen. */
export const deviceNames = ["cuda", "cpu", "ts"] as const;
/** Name of a device, as users give it. */
export type DeviceName = (typeof deviceNames)[number];

/** Typed arrays that hold tensor elements: float32, int32, float64. */
export type ElementArray = Float32Array | Int32Array | Float64Array;

/**
 * What the products of a program (convolutions, matmul, their gradients) may round their operands to: nothing, 11 bits of
 * significand (NVIDIA's TensorFloat-32) or 8 (bfloat16). Sums and all else are in float32.
 */
export type Precision = "float32" | "tf32" | "bf16";
/** All of them, the most precise first; their places are their numbers in native code. */
export const precisions: readonly Precision[] = ["float32", "tf32", "bf16"];

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
  /** "bfloat16" only in programs of precision "bf16": a result of `roundToBf16`, and factors of products. */
  readonly dtype: StoredType;
}

/** One op on given operands. In-place ops have no output; they overwrite the inputs that `op.writes` lists. */
export interface Command {
  readonly op: AnyOp;
  readonly attributes: AnyAttributes;
  readonly inputs: readonly (Operand | undefined)[];
  readonly output: Operand | undefined;
  /**
   * In a program: runs part by part with the commands before it, up to the first that is not joined. That one has `parts` or
   * an `epilogue`, all others have `parts` and results of the same shape; what one of them writes and another one uses is,
   * element for element, the same.
   */
  readonly joined?: boolean;
}

/** The shape of what a command writes. */
export function writtenShape({ op, inputs, output }: Command): Shape {
  return (op.writes ? inputs[op.writes[0]]! : output!).shape;
}

/** How input `index` of an op with `parts` lies beside its result. */
export function alignmentOf({ parts }: AnyOp, index: number): Alignment {
  return parts![Math.min(index, parts!.length - 1)];
}

/** What runs next in a program: a command list, by its number, or other things several times over. */
export type ProgramStep = { readonly list: number } | { readonly times: number; readonly body: readonly ProgramStep[] };

/** An attribute of a command whose value changes between runs: an `int` or `float` attribute. */
export interface AttributePlace {
  readonly list: number;
  /** Number of the command in its list. */
  readonly command: number;
  readonly attribute: string;
}

/** A number that is given anew for each run of a command list; before that run it is put into all its places. */
export interface Slot {
  /** The list before whose runs the number changes. Its places may lie in this list and in others. */
  readonly list: number;
  readonly places: readonly AttributePlace[];
}

/**
 * Memory that only the commands of a step use, none before it was written, and whose content does not matter afterwards. An
 * executor may keep what lies there elsewhere.
 */
export interface Temporary {
  readonly buffer: BufferId;
  readonly byteOffset: number;
  readonly bytes: number;
  /** The first and the last command that use it, counted over all lists. */
  readonly start: number;
  readonly end: number;
}

/** Command lists and the order in which they run. Their buffers must stay alive, and where they are, while it is loaded. */
export interface Program {
  readonly lists: readonly (readonly Command[])[];
  /** One step of the program. */
  readonly steps: readonly ProgramStep[];
  /** In the order in which a list's values are given. */
  readonly slots: readonly Slot[];
  /** Scalars that are reported to the caller after each step. */
  readonly reports: readonly Operand[];
  /** At no time do two of them share memory. */
  readonly temporaries?: readonly Temporary[];
  /** Whether to search every floating output for numbers that are not finite, and to stop at the first one. */
  readonly checkFinite: boolean;
  /** Default float32. */
  readonly precision?: Precision;
}

/** A loaded program, by a number that is unique within its executor and never reused. */
export type ProgramId = number;

/** How often a program is to run, and what is given to it and told of it. */
export interface ReplayOptions {
  /** Number of steps, at least 1. */
  readonly steps: number;
  /** Values of the slots: those of each list that runs, one list after the other, in the order of all runs. Copied. */
  readonly values: Float64Array;
  /** [steps, program.reports.length]: row k holds the reports of step k once that is done. */
  readonly reports?: Float64Array;
  /** Called on the event loop after steps are done, with how many are; several may be told at once. Not called after the end. */
  readonly onProgress?: (steps: number) => void;
}

/** What went wrong in a program, and where. */
export interface ReplayFailure {
  readonly op: string;
  readonly problem: string;
  readonly list: number;
  /** Number of the command in its list. */
  readonly command: number;
}

/** How a replay ended: complete, stopped, or by a failure, after which nothing more of it ran. */
export interface ReplayEnd {
  /** Steps that are complete. */
  readonly steps: number;
  /** Runs of command lists that are complete, in all steps together. */
  readonly lists: number;
  readonly failure?: ReplayFailure;
}

/** A run of a program that is going on or waits for its turn. */
export interface Replay {
  readonly ended: Promise<ReplayEnd>;
  /** Ends it before the next command list (on `cuda` within a bounded number of steps). */
  stop(): void;
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
  /** Whether commands of a program run at the same time where none needs what another one leaves; default: one by one. */
  readonly sideBySide?: boolean;
  /** Whether the executor computes in this dtype. */
  supports(dtype: DType): boolean;
  /** The precisions of programs that it runs. */
  readonly precisions: readonly Precision[];
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
  /** Checks a program and holds it ready to run. Throws DeviceError for what cannot run. */
  load(program: Program): ProgramId;
  /** How it carries the program out, in a sentence, where it has a choice. */
  describe?(program: ProgramId): string;
  /** Lets go of a program, in order: replays that were started before go on. */
  unload(program: ProgramId): void;
  /** Runs one step of a program as `submit` runs commands: errors come up in a later read or `synchronize`. */
  run(program: ProgramId, values: Float64Array): void;
  /** Starts a replay and returns at once; what is submitted afterwards runs after it. */
  replay(program: ProgramId, options: ReplayOptions): Replay;
}

/** Throws DeviceError, in the name of `op`, for a precision that the device does not have. */
export function expectPrecision(op: string, executor: Executor, precision: Precision): void {
  if (executor.precisions.includes(precision)) return;
  throw new DeviceError({
    op,
    problem: `precision is "${precision}", which device "${executor.name}" here does not have (it has ${executor.precisions.join(", ")}).`,
    advice: "Leave precision out; tf32 and bf16 take a GPU of compute capability 8.0 or more (Ampere and later).",
  });
}

/** The type of the tensor that lies there: what is stored in 16 bits is a float32 one. */
export function tensorTypeOf({ shape, dtype }: Operand): TensorType {
  return { shape, dtype: dtype === "bfloat16" ? "float32" : dtype };
}

/** The operand that covers a whole dense buffer region. */
export function dense(buffer: BufferId, offset: number, shape: Shape, dtype: DType): Operand {
  return { buffer, offset, shape, pitch: shape.length === 0 ? 1 : shape[shape.length - 1], dtype };
}
