// Runs one op on an executor, its operands laid out densely or spread through bigger memory with sentinels around them.

import type { ElementArray, Executor, Operand } from "../../ts/device/executor.ts";
import type { DType, TensorType } from "../../ts/ops/index.ts";
import { bytesOf, sizeOf } from "../../ts/ops/index.ts";
import type { Case, Value } from "./draw.ts";
import { newElements } from "./draw.ts";
import { firstDifference } from "./tolerance.ts";

/** How operands lie in their buffers: elements before the first row, and between the end of a row and the next one. */
export interface Layout {
  readonly name: string;
  readonly lead: number;
  readonly gap: number;
}

export const denseLayout: Layout = { name: "dense", lead: 0, gap: 0 };
export const layouts: readonly Layout[] = [
  denseLayout,
  { name: "at an offset", lead: 13, gap: 0 },
  { name: "pitched", lead: 3, gap: 5 },
];

/** The layouts of `count` operands of which one is pitched while the others are dense, for each of them. */
export function onePitched(count: number): readonly (readonly Layout[])[] {
  return Array.from({ length: count }, (_, pitched) =>
    Array.from({ length: count }, (_, i) => (i === pitched ? layouts[2] : denseLayout)),
  );
}

/** Around operands and between their rows: a float that shows when it is read, and an index outside every table. */
const sentinels: Record<DType, number> = { float32: -7.5e8, float64: -7.5e8, int32: -0x5eed };
/** In outputs before the op runs. */
const unwritten: Record<DType, number> = { float32: NaN, float64: NaN, int32: -0x7eed1234 };

interface Placed {
  readonly operand: Operand & TensorType;
  readonly memory: ElementArray;
}

const rowsOf = (type: TensorType): number => sizeOf(type.shape.slice(0, -1));
const colsOf = (type: TensorType): number => type.shape[type.shape.length - 1] ?? 1;

/** Where element i of an operand lies. */
function positionIn({ offset, pitch }: Operand, cols: number, i: number): number {
  return offset + Math.floor(i / cols) * pitch + (i % cols);
}

function place(executor: Executor, type: TensorType, elements: ElementArray | undefined, layout: Layout): Placed {
  const [rows, cols] = [rowsOf(type), colsOf(type)];
  const pitch = cols + layout.gap;
  const memory = newElements(type.dtype, layout.lead + rows * pitch + layout.lead);
  memory.fill(sentinels[type.dtype]);
  const buffer = executor.allocate(memory.length * bytesOf(type.dtype));
  const operand = { buffer, offset: layout.lead, shape: type.shape, pitch, dtype: type.dtype };
  for (let i = 0; i < rows * cols; i++)
    memory[positionIn(operand, cols, i)] = elements ? elements[i] : unwritten[type.dtype];
  executor.write(buffer, 0, memory);
  return { operand, memory };
}

/** Reads an operand back, having checked that nothing around its rows changed. */
function collect(executor: Executor, { operand, memory }: Placed): ElementArray {
  const cols = colsOf(operand);
  const elements = newElements(operand.dtype, sizeOf(operand.shape));
  const after = newElements(operand.dtype, memory.length);
  executor.readSync(operand.buffer, 0, after);
  const own = new Uint8Array(memory.length);
  for (let i = 0; i < elements.length; i++) {
    const position = positionIn(operand, cols, i);
    own[position] = 1;
    elements[i] = after[position];
  }
  own.forEach((isOwn, position) => {
    if (!isOwn && after[position] !== sentinels[operand.dtype])
      throw new Error(`element ${position} of the buffer, outside the operand's rows, became ${after[position]}`);
  });
  return elements;
}

/**
 * Runs the case and returns what it wrote: the output, or the inputs that it overwrites. Throws if anything else in
 * memory changed. The layout is that of all operands, or there is one for each, the output's last.
 */
export function runCase(
  executor: Executor,
  { op, inputs, attributes }: Case,
  layout: Layout | readonly Layout[] = denseLayout,
): Value[] {
  const layoutOf = (operand: number): Layout => ("name" in layout ? layout : layout[operand]);
  const type = op.infer(
    inputs.map((value) => value?.type),
    attributes,
  );
  if (op.view) return [{ type, elements: inputs[0]!.elements }];
  const placed = inputs.map((value, i) => value && place(executor, value.type, value.elements, layoutOf(i)));
  const output = op.writes ? undefined : place(executor, type, undefined, layoutOf(inputs.length));
  try {
    executor.submit([{ op, attributes, inputs: placed.map((p) => p?.operand), output: output?.operand }]);
    placed.forEach((input, i) => {
      if (!input || op.writes?.includes(i)) return;
      const before = inputs[i]!.elements;
      collect(executor, input).forEach((element, k) => {
        if (!Object.is(element, before[k])) throw new Error(`input ${op.inputs[i] ?? i} was overwritten at ${k}`);
      });
    });
    // Optional operands that are absent are not written.
    const written = op.writes ? op.writes.map((i) => placed[i]) : [output];
    return written.flatMap((p) => {
      if (!p) return [];
      const { shape, dtype } = p.operand;
      return [{ type: { shape, dtype }, elements: collect(executor, p) }];
    });
  } finally {
    for (const p of [...placed, output]) if (p) executor.release(p.operand.buffer);
  }
}

/**
 * Runs an op whose output lies on the memory of input `index`, which is overwritten. Inputs that are the same value lie on
 * one memory. Throws if anything else in memory changed.
 */
export function runInPlace(
  executor: Executor,
  { op, inputs, attributes }: Case,
  index: number,
  layout = denseLayout,
): Value {
  const places = new Map<Value, Placed>();
  for (const value of inputs)
    if (value && !places.has(value)) places.set(value, place(executor, value.type, value.elements, layout));
  const placed = inputs.map((value) => value && places.get(value)!);
  const target = placed[index]!;
  try {
    const output = target.operand;
    executor.submit([{ op, attributes, inputs: placed.map((p) => p?.operand), output }]);
    for (const [value, p] of places) {
      if (p === target) continue;
      const problem = firstDifference(collect(executor, p), value.elements);
      if (problem) throw new Error(`an input beside input ${index} was overwritten: ${problem}`);
    }
    return { type: { shape: output.shape, dtype: output.dtype }, elements: collect(executor, target) };
  } finally {
    for (const p of places.values()) executor.release(p.operand.buffer);
  }
}

/** Runs an op that has one output. */
export function evaluate(executor: Executor, c: Case, layout = denseLayout): Value {
  return runCase(executor, c, layout)[0];
}
