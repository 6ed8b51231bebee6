// Whether two recordings are the same program: what differs would be fixed in the plan though it changes.

import type { BufferId, Operand } from "../device/executor.ts";
import { CaptureError, showShape, showValue } from "../errors/index.ts";
import type { PerStep } from "../ops/index.ts";
import type { RecordedBuffer, RecordedCommand, RecordedLoop, RecordedNode } from "./recorded.ts";
import { isLoop } from "./recorded.ts";

/** A stretch of a recording: what was recorded, and which buffers and numbers are its own. */
export interface Stretch {
  readonly nodes: readonly RecordedNode[];
  readonly buffers: ReadonlyMap<BufferId, RecordedBuffer>;
  /** How many buffers there were when it began. */
  readonly firstBuffer: number;
  /** What outlives it. */
  readonly outputs?: readonly Operand[];
}

/** The first difference of two stretches. */
export interface Difference {
  /** The op at which they differ, and the path of its layer. */
  readonly op: string;
  readonly layer: string;
  /** In words: `value is 0.1 in one and 0.2 in the other`. */
  readonly what: string;
}

/** The first difference of two stretches, if there is one. */
export function difference(a: Stretch, b: Stretch): Difference | undefined {
  const comparison = new Comparison(a, b);
  return comparison.nodes(a.nodes, b.nodes) ?? comparison.outputs(a.outputs ?? [], b.outputs ?? []);
}

/** The error for something that would be fixed in a plan though it changes. */
export function bakedIn(what: string, { op, layer, what: how }: Difference): CaptureError {
  const error = new CaptureError({
    op,
    problem: `${what} was recorded twice and differs: ${how}. It would be baked into the plan.`,
    advice:
      "What changes from step to step must be a tensor, a learning rate that is a function, or seeded noise; or run the steps eagerly (eager: true).",
  });
  if (layer) error.enterModule(layer);
  return error;
}

class Comparison {
  readonly #a: Stretch;
  readonly #b: Stretch;
  /** Numbers of `a` that stand where numbers of `b` do. */
  readonly #numbers = new Map<PerStep, PerStep>();

  constructor(a: Stretch, b: Stretch) {
    this.#a = a;
    this.#b = b;
  }

  nodes(a: readonly RecordedNode[], b: readonly RecordedNode[]): Difference | undefined {
    for (let i = 0; i < Math.max(a.length, b.length); i++) {
      const found = this.#node(a.at(i), b.at(i));
      if (found) return found;
    }
    return undefined;
  }

  outputs(a: readonly Operand[], b: readonly Operand[]): Difference | undefined {
    if (a.length !== b.length)
      return { op: "capture", layer: "", what: `there are ${a.length} results in one and ${b.length} in the other` };
    for (const [i, operand] of a.entries()) {
      const found = this.#operand(operand, b[i]);
      if (found) return { op: "capture", layer: "", what: `result ${i} ${found}` };
    }
    return undefined;
  }

  #node(a: RecordedNode | undefined, b: RecordedNode | undefined): Difference | undefined {
    if (a && b && isLoop(a) && isLoop(b)) return this.#loop(a, b);
    if ((a && isLoop(a)) || (b && isLoop(b))) return { op: "repeat", layer: "", what: "one has a loop more" };
    const [listA, listB] = [a, b];
    const actionsA = listA?.actions ?? [];
    const actionsB = listB?.actions ?? [];
    actionsA.forEach(({ numbers }, i) => {
      numbers.forEach((number, k) => {
        const other = actionsB.at(i)?.numbers.at(k);
        if (other) this.#numbers.set(number, other);
      });
    });
    const commandsA = listA?.commands ?? [];
    const commandsB = listB?.commands ?? [];
    for (let i = 0; i < Math.max(commandsA.length, commandsB.length); i++) {
      const [one, other] = [commandsA.at(i), commandsB.at(i)];
      if (!one || !other) {
        const { op, layer } = (one ?? other)!;
        return { op: op.name, layer, what: "it is there once and not the other time" };
      }
      const what = this.#command(one, other);
      if (what) return { op: one.op.name, layer: one.layer, what };
    }
    if (actionsA.length !== actionsB.length)
      return { op: commandsA.at(0)?.op.name ?? "capture", layer: "", what: "one counts more than the other" };
    return undefined;
  }

  #loop(a: RecordedLoop, b: RecordedLoop): Difference | undefined {
    if (a.times !== b.times || a.first !== b.first)
      return { op: "repeat", layer: "", what: `it runs ${a.times} and ${b.times} times` };
    return this.nodes(a.body, b.body);
  }

  #command(a: RecordedCommand, b: RecordedCommand): string | undefined {
    if (a.op !== b.op) return `the other one has ${b.op.name} in its place`;
    const perStep = new Set(a.perStep.map(({ attribute }) => attribute));
    for (const [name, value] of Object.entries(a.attributes)) {
      const other = b.attributes[name];
      if (!perStep.has(name) && !sameValue(value, other))
        return `${name} is ${show(value)} in one and ${show(other)} in the other`;
    }
    if (a.perStep.length !== b.perStep.length || a.perStep.some((entry, i) => !this.#sameNumber(entry, b.perStep[i])))
      return "a number comes from different counts";
    if (a.inputs.length !== b.inputs.length) return `it has ${a.inputs.length} and ${b.inputs.length} operands`;
    for (const [i, operand] of [...a.inputs, a.output].entries()) {
      const other = [...b.inputs, b.output][i];
      const name = i < a.inputs.length ? (a.op.inputs.at(i)?.replace("?", "") ?? `operand ${i}`) : "the result";
      const found = this.#operand(operand, other);
      if (found) return `${name} ${found}`;
    }
    return undefined;
  }

  #sameNumber(a: RecordedCommand["perStep"][number], b: RecordedCommand["perStep"][number]): boolean {
    return a.attribute === b.attribute && (this.#numbers.get(a.number) ?? a.number) === b.number;
  }

  #operand(a: Operand | undefined, b: Operand | undefined): string | undefined {
    if (!a || !b) return a === b ? undefined : "is there once and not the other time";
    if (a.dtype !== b.dtype || showShape(a.shape) !== showShape(b.shape))
      return `is ${a.dtype} ${showShape(a.shape)} in one and ${b.dtype} ${showShape(b.shape)} in the other`;
    if (a.offset !== b.offset || a.pitch !== b.pitch) return "lies elsewhere";
    return this.#buffer(a.buffer, b.buffer);
  }

  #buffer(a: BufferId, b: BufferId): string | undefined {
    const placeA = place(a, this.#a);
    const placeB = place(b, this.#b);
    if (placeA !== placeB) return "is another tensor in each";
    if (a >= 0 || placeA.startsWith("outer")) return undefined;
    const [one, other] = [this.#a.buffers.get(a), this.#b.buffers.get(b)];
    if (one?.bytes !== other?.bytes) return "is of different size";
    const [dataA, dataB] = [one?.data ?? [], other?.data ?? []];
    const same =
      dataA.length === dataB.length &&
      dataA.every(({ byteOffset, elements }, i) => {
        const given = dataB[i].elements;
        return (
          byteOffset === dataB[i].byteOffset &&
          elements.length === given.length &&
          elements.every((x, k) => Object.is(x, given[k]))
        );
      });
    return same ? undefined : "holds host data that differ";
  }
}

function place(buffer: BufferId, { firstBuffer }: Stretch): string {
  if (buffer >= 0) return String(buffer);
  const number = -1 - buffer;
  return number < firstBuffer ? `outer ${number}` : `own ${number - firstBuffer}`;
}

function sameValue(a: unknown, b: unknown): boolean {
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((x, i) => Object.is(x, b[i]));
  return Object.is(a, b);
}

function show(value: unknown): string {
  if (Object.is(value, -0)) return "-0";
  return Array.isArray(value) ? showShape(value as number[]) : showValue(value);
}
