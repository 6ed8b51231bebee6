// Float64 coefficients with one row for each step, as tensors that operations look steps up in.

import type { Executor } from "../device/executor.ts";
import { ArgumentError, ShapeError, showShape } from "../errors/index.ts";
import type { DType } from "../ops/index.ts";
import { expectDType, expectSameDType, expectShape } from "../ops/checks.ts";
import { PerStep, ops } from "../ops/index.ts";
import { full } from "../tensor/creation.ts";
import type { StepNumber } from "../tensor/recording.ts";
import { outsideRecording } from "../tensor/recording.ts";
import { scope } from "../tensor/scope.ts";
import { Tensor, apply, tensor } from "../tensor/tensor.ts";

/** Columns of coefficients, cast once for each device and dtype that asks for them. */
export class StepTable {
  readonly columns: readonly Float64Array[];
  private readonly made = new Map<string, Tensor>();

  constructor(columns: readonly Float64Array[]) {
    this.columns = columns;
  }

  /** The table as a tensor [rows, columns] that goes with `like`; it belongs to this object. */
  on(like: Tensor): Tensor {
    const key = `${like.device} ${like.dtype}`;
    const known = this.made.get(key);
    if (known) return known;
    const made = tabulate(this.columns, like.executor, like.dtype === "float64" ? "float64" : "float32");
    this.made.set(key, made);
    return made;
  }

  /**
   * first_t a + second_t b for a table of two columns: a and b [N, ...] of one shape, each image with its own row.
   * One operation, with gradients for a and b.
   */
  mix(op: string, { a, b, t, names }: MixOperands): Tensor {
    expectShape(op, names[1], b, a.shape, `as ${names[0]}`);
    expectSameDType(op, names, a, b);
    const rows = stepsOf(t, a, this.columns[0].length, op);
    expectDType(op, "t", rows, ["int32"]);
    expectShape(op, "t", rows, a.shape.slice(0, 1), "(one timestep for each image)");
    return apply(ops.addNoise, [a, b, rows, this.on(a)], {});
  }

  /** The coefficients of x [N, ...] at steps t, int32 [N]: each column as [N, 1, ...], which broadcasts to x. */
  factors(op: string, t: Tensor, x: Tensor): Tensor[] {
    expectDType(op, "t", t, ["int32"]);
    expectShape(op, "t", t, x.shape.slice(0, 1), "(one timestep for each image)");
    const perImage = x.shape.map((n, axis) => (axis === 0 ? n : 1));
    return scope(() => {
      const rows = apply(ops.embedding, [this.on(x), t], {});
      return this.columns.map((_, k) => rows.slice(null, [k, k + 1]).reshape(perImage));
    });
  }
}

/** What `StepTable.mix` mixes, and where in the table the coefficients are. */
export interface MixOperands {
  /** Tensor of the first column. */
  readonly a: Tensor;
  /** Tensor of the second column. */
  readonly b: Tensor;
  /** int32 [N], or one row for all. */
  readonly t: Tensor | StepNumber;
  /** What the caller calls a and b. */
  readonly names: readonly [string, string];
}

/** t, one number for all images or int32 [N], as int32 [N] on the device of x [N, ...]; a number must be below `rows`. */
export function stepsOf(t: Tensor | StepNumber, x: Tensor, rows: number, op: string): Tensor {
  if (t instanceof Tensor) return t;
  if (t instanceof PerStep) return apply(ops.fill, [], { shape: [x.shape[0]], dtype: "int32", value: t }, x.executor);
  if (!Number.isInteger(t) || t < 0 || t >= rows)
    throw new ArgumentError({ op, problem: `t is ${t}, expected an integer from 0 to ${rows - 1}.` });
  if (x.rank === 0) throw new ShapeError({ op, problem: `x has shape ${showShape(x.shape)}, expected [N, ...].` });
  return full([x.shape[0]], t, { dtype: "int32", device: x.device });
}

function tabulate(columns: readonly Float64Array[], executor: Executor, dtype: DType): Tensor {
  const rows = columns[0].length;
  const flat = Float64Array.from(
    { length: rows * columns.length },
    (_, i) => columns[i % columns.length][Math.floor(i / columns.length)],
  );
  const shape = [rows, columns.length];
  return outsideRecording(() => scope(() => tensor(flat, { shape, dtype, device: executor.name }).keep()));
}
