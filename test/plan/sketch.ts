// Small recorded programs written by hand, and what they compute: as a plan on ts, and command by command in memory of their own.

import { expect } from "chai";

import type { BufferId, Executor, Operand } from "../../ts/device/executor.ts";
import { dense, tensorTypeOf } from "../../ts/device/executor.ts";
import { TsExecutor } from "../../ts/device/ts/executor.ts";
import type { AnyAttributes, AnyOp, DType, Shape } from "../../ts/ops/index.ts";
import { PerStep, bytesOf, ops, sizeOf } from "../../ts/ops/index.ts";
import { Plan } from "../../ts/plan/plan.ts";
import { rewritten } from "../../ts/plan/rewrites/index.ts";
import type {
  RecordedBuffer,
  RecordedCommand,
  RecordedList,
  RecordedNode,
  RecordedProgram,
} from "../../ts/plan/recorded.ts";
import { HostTable, isLoop, listsOf } from "../../ts/plan/recorded.ts";

/** Numbers that are all different and not alike in anything. */
function numbers(count: number, seed: number): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => Math.sin(1 + 7 * seed + 3 * i));
}

/** A program in the making. Memory that it does not make itself is on the executor, and has the same values before each run. */
export class Sketch {
  readonly executor: Executor = new TsExecutor();
  readonly buffers = new Map<BufferId, RecordedBuffer>();
  readonly #given = new Map<Operand, Float32Array>();
  readonly #nodes: RecordedNode[] = [];
  #open = this.#nodes;
  /** Rows of host data that were computed in this run. */
  #rows = 0;

  /** Memory of the program, not written to. */
  memory(shape: Shape, dtype: DType = "float32", data?: RecordedBuffer["data"]): Operand {
    const id = -1 - this.buffers.size;
    this.buffers.set(id, { bytes: sizeOf(shape) * bytesOf(dtype), data });
    return dense(id, 0, shape, dtype);
  }

  /** Memory from outside. */
  given(...shape: number[]): Operand {
    const values = numbers(sizeOf(shape), this.#given.size);
    const operand = dense(this.executor.allocate(values.byteLength), 0, shape, "float32");
    this.#given.set(operand, values);
    return operand;
  }

  /** Host data that are the same in every step. */
  constant(...shape: number[]): Operand {
    const elements = numbers(sizeOf(shape), 100 + this.buffers.size);
    return this.memory(shape, "float32", [{ byteOffset: 0, elements }]);
  }

  /** A row of host data that is another one in each run of the list: the table that `row` with this number reads. */
  table(...shape: number[]): { readonly table: Operand; readonly number: PerStep } {
    const id = -1 - this.buffers.size;
    const table = new HostTable("float32", sizeOf(shape));
    this.buffers.set(id, { bytes: 4 * sizeOf(shape), table });
    const number = new PerStep(0);
    this.list().actions.push({
      numbers: [number],
      run: () => [table.add(numbers(sizeOf(shape), 200 + this.#rows++))],
    });
    return { table: dense(id, 0, [1, ...shape], "float32"), number };
  }

  /** Applies an op: its result lies in memory of its own, unless it is given some. */
  run(
    op: AnyOp,
    inputs: readonly (Operand | undefined)[],
    attributes: AnyAttributes = {},
    output?: Operand,
    perStep: RecordedCommand["perStep"] = [],
  ): Operand {
    const types = inputs.map((operand) => operand && tensorTypeOf(operand));
    const { shape, dtype } = op.infer(types, attributes);
    const made = output ?? this.memory(shape, dtype);
    this.list().commands.push({ op, attributes, inputs, output: made, perStep, layer: "" });
    return made;
  }

  /** Applies an op that writes in place. */
  write(op: AnyOp, ...inputs: Operand[]): void {
    this.list().commands.push({ op, attributes: {}, inputs, output: undefined, perStep: [], layer: "" });
  }

  /** target = source. */
  assign(target: Operand, source: Operand): void {
    this.write(ops.assign, target, source);
  }

  concat(axis: number, ...parts: Operand[]): Operand {
    return this.run(ops.concat, parts, { axis });
  }

  /** What `body` does, several times. */
  loop(times: number, body: () => void): void {
    const outer = this.#open;
    const nodes: RecordedNode[] = (this.#open = []);
    body();
    this.#open = outer;
    outer.push({ times, body: nodes, index: { value: 0 }, first: 0 });
  }

  /** The list that commands go to. */
  list(): RecordedList {
    const last = this.#open.at(-1);
    if (last && !isLoop(last)) return last;
    const list: RecordedList = { commands: [], actions: [] };
    this.#open.push(list);
    return list;
  }

  program(...outputs: Operand[]): RecordedProgram {
    return { nodes: this.#nodes, buffers: this.buffers, outputs };
  }

  /** Runs `start`, and reads operands and all memory from outside, which is before as it was given. */
  observe(start: () => readonly Operand[]): number[][] {
    this.#rows = 0;
    for (const [{ buffer }, values] of this.#given) this.executor.write(buffer, 0, values);
    const outputs = start();
    return [...outputs, ...this.#given.keys()].map((operand) => this.read(operand));
  }

  /** The elements of an operand on the executor. */
  read({ buffer, offset, shape, pitch, dtype }: Operand): number[] {
    const count = sizeOf(shape);
    const cols = shape.at(-1) ?? 1;
    const row = dtype === "int32" ? new Int32Array(cols) : new Float32Array(cols);
    return Array.from({ length: count / cols }, (_, r) => {
      this.executor.readSync(buffer, 4 * (offset + r * pitch), row);
      return [...row];
    }).flat();
  }
}

/** Rows of the first axis, as a view. */
export function rows(operand: Operand, from: number, to: number): Operand {
  const [, ...rest] = operand.shape;
  return { ...operand, offset: operand.offset + from * sizeOf(rest), shape: [to - from, ...rest] };
}

/** The same elements under another shape. */
export function reshaped(operand: Operand, ...shape: number[]): Operand {
  return dense(operand.buffer, operand.offset, shape, tensorTypeOf(operand).dtype);
}

/** The names of all commands, in order. */
export function namesOf({ nodes }: Pick<RecordedProgram, "nodes">): string[] {
  return listsOf(nodes).flatMap(({ commands }) => commands.map(({ op }) => op.name));
}

/** Runs each command for itself, every buffer in memory of its own, loops unrolled. */
export function runPlainly(sketch: Sketch, program: RecordedProgram): Operand[] {
  const { executor } = sketch;
  const buffers = new Map(
    [...program.buffers].map(([id, { bytes, data }]) => {
      const buffer = executor.allocate(bytes);
      executor.write(buffer, 0, new Float32Array(bytes / 4).fill(NaN));
      for (const { byteOffset, elements } of data ?? []) executor.write(buffer, byteOffset, elements);
      return [id, buffer];
    }),
  );
  const located = (operand: Operand): Operand => ({
    ...operand,
    buffer: buffers.get(operand.buffer) ?? operand.buffer,
  });
  const values = new Map<PerStep, number>();
  const visit = (nodes: readonly RecordedNode[]): void => {
    for (const node of nodes) {
      if (isLoop(node)) {
        for (let i = 0; i < node.times; i++) visit(node.body);
        continue;
      }
      for (const { numbers, run } of node.actions) run().forEach((value, i) => values.set(numbers[i], value));
      // Tables have one row here, which each run of a list writes anew.
      for (const [id, { table }] of program.buffers) {
        const row = table?.take();
        if (row) executor.write(buffers.get(id)!, 0, row);
      }
      for (const { op, inputs, output, attributes, perStep } of node.commands) {
        const given = Object.fromEntries(perStep.map(({ attribute, number }) => [attribute, values.get(number)!]));
        executor.submit([
          {
            op,
            attributes: { ...attributes, ...given },
            inputs: inputs.map((operand) => operand && located(operand)),
            output: output && located(output),
          },
        ]);
      }
    }
  };
  visit(program.nodes);
  return program.outputs.map(located);
}

/** The program as a plan with poisoned memory. */
export function planOf(sketch: Sketch, fuse: boolean, ...outputs: Operand[]): Plan {
  const options = { steps: 4, reports: [], fuse, checkFinite: false, poison: true };
  return new Plan(sketch.program(...outputs), sketch.executor, options);
}

/** The program as plans that fuse nothing rewrite it, having seen that it computes the same. */
export function placedProgram(sketch: Sketch, ...outputs: Operand[]): RecordedProgram {
  expectSame(sketch, false, outputs);
  expectSame(sketch, true, outputs);
  return rewritten(sketch.program(...outputs), false);
}

/** The program as plans rewrite it that fuse, having seen that it computes the same. */
export function fusedProgram(sketch: Sketch, ...outputs: Operand[]): RecordedProgram {
  expectSame(sketch, true, outputs);
  return rewritten(sketch.program(...outputs), true);
}

/** Expects of a plan what the commands compute one by one in memory of their own, also when it runs again. */
function expectSame(sketch: Sketch, fuse: boolean, outputs: readonly Operand[]): void {
  const program = sketch.program(...outputs);
  const expected = sketch.observe(() => runPlainly(sketch, program));
  expect(expected.flat()).not.to.include(NaN);
  const plan = planOf(sketch, fuse, ...outputs);
  for (let run = 0; run < 2; run++) {
    const got = sketch.observe(() => {
      plan.run();
      return outputs.map((_, i) => plan.result(i));
    });
    expect(got).to.deep.equal(expected);
  }
  plan.unload();
}
