// Random programs of tensor operations, the same for the same seed: drawn, run, printed as text that runs, and shrunk.

import * as langevin from "langevin";
import type { DType, Shape, Tensor } from "langevin";
import { defaultDevice, noGrad, scope, setDefaultDType, setDefaultDevice, tensor } from "langevin";
import { defaultDType } from "../../ts/tensor/tensor.ts";
import { generator } from "../ops/draw.ts";
import { operations } from "./random-operations.ts";

/** `const name = text;`, a single call, which may name earlier values. */
interface Statement {
  readonly name: string;
  readonly text: string;
  readonly uses: readonly string[];
  /** Masks, indexes and the like, which are no operands of later operations and have no part in the loss. */
  readonly constant: boolean;
  readonly evaluate: (values: ReadonlyMap<string, Tensor>) => Tensor;
}

/** A tensor that the program differentiates by. */
export interface Leaf {
  readonly name: string;
  readonly shape: Shape;
  /** Numbers of few binary digits, which float32 holds exactly. */
  readonly data: readonly number[];
}

/** Leaves and what is computed from them. The loss is made of every value that nothing uses. */
export interface Program {
  readonly seed: number;
  readonly leaves: readonly Leaf[];
  readonly statements: readonly Statement[];
  /** Names of the operations that were drawn. */
  readonly operations: readonly string[];
}

/** A value of a draft: what operations look at to choose their operands. Written into a text it is its name. */
export class Made {
  readonly name: string;
  readonly shape: Shape;
  readonly dtype: DType;
  readonly elements: readonly number[];

  constructor(name: string, value: Tensor) {
    this.name = name;
    this.shape = value.shape;
    this.dtype = value.dtype;
    this.elements = elementsOf(value);
  }

  get rank(): number {
    return this.shape.length;
  }

  get size(): number {
    return this.elements.length;
  }

  get largest(): number {
    return this.elements.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  }

  toString(): string {
    return this.name;
  }
}

const elementsOf = (value: Tensor): number[] => [value.toArray()].flat(16) as number[];

const offered = Object.entries(langevin);

/** The function of a text, in which everything that the library exports can be named. */
function compile<T = Tensor>(text: string, uses: readonly string[]): (values: ReadonlyMap<string, Tensor>) => T {
  const names = offered.map(([name]) => name);
  // eslint-disable-next-line @typescript-eslint/no-implied-eval -- a program is its text, so that what is printed is what ran
  const run = new Function(...names, ...uses, `return ${text};`) as (...values: unknown[]) => T;
  const exported = offered.map(([, value]) => value);
  return (values) => run(...exported, ...uses.map((name) => values.get(name)));
}

/** The most elements of an operand. */
const largestSize = 600;
/** The largest magnitude of its elements. */
export const largestOperand = 3;

/** A program that is being drawn. It is computed on the way, on `ts` in float64, so that operands can be chosen by their values. */
export class Draft {
  readonly leaves: Leaf[] = [];
  readonly statements: Statement[] = [];
  private readonly values = new Map<string, Tensor>();
  /** What operations take as operands. */
  private readonly candidates: Made[] = [];

  /** Uniform in [0, 1). */
  readonly random: () => number;

  constructor(random: () => number) {
    this.random = random;
  }

  /** An integer from `low` to `high`, both included. */
  integer(low: number, high: number): number {
    return low + Math.floor((high - low + 1) * this.random());
  }

  pick<T>(list: readonly T[]): T {
    return list[Math.floor(list.length * this.random())];
  }

  chance(probability: number): boolean {
    return this.random() < probability;
  }

  /** Multiples of 1/1024 in [-2, 2], none of them near 0. */
  numbers(count: number): number[] {
    return Array.from({ length: count }, () => (this.chance(0.5) ? 1 : -1) * (this.integer(64, 2048) / 1024));
  }

  leaf(shape: Shape): Made {
    const name = `v${this.values.size}`;
    const data = this.numbers(shape.reduce((n, m) => n * m, 1));
    this.leaves.push({ name, shape, data });
    return this.enter(name, tensor(data, { shape }), true);
  }

  /** Adds the statement of a single call, whose result later operations may take. */
  make(text: string): Made | undefined {
    const statement = this.statement(text, false);
    const value = statement.evaluate(this.values);
    if (value.size > largestSize || value.rank > 6) return undefined;
    this.statements.push(statement);
    return this.enter(statement.name, value, true);
  }

  /** Adds the statement of a mask, an index or another constant. */
  constant(text: string): Made {
    const statement = this.statement(text, true);
    this.statements.push(statement);
    return this.enter(statement.name, statement.evaluate(this.values), false);
  }

  /** An int32 constant of integers from `low` to `high`. */
  integers(shape: Shape, low: number, high: number): Made {
    const data = Array.from({ length: shape.reduce((n, m) => n * m, 1) }, () => this.integer(low, high));
    return this.constant(`tensor([${data.join(", ")}], { shape: [${shape.join(", ")}], dtype: "int32" })`);
  }

  /** What a text computes, without a statement for it. */
  peek(text: string): number[] {
    return elementsOf(this.statement(text, true).evaluate(this.values));
  }

  /** An operand that fits, late ones more often, or undefined. */
  find(fits: (value: Made) => boolean): Made | undefined {
    const fitting = this.candidates.filter(fits);
    return fitting[Math.floor(fitting.length * Math.sqrt(this.random()))];
  }

  any(): Made {
    return this.find(() => true)!;
  }

  /** An operand of a shape, a new leaf where there is none, and now and then where there is. */
  shaped(shape: Shape): Made {
    const found = this.chance(0.7) && this.find((value) => String(value.shape) === String(shape));
    return found || this.leaf(shape);
  }

  /** Takes back the magnitude of a value that grew too large to be an operand. */
  tame({ name, largest }: Made): void {
    if (!Number.isFinite(largest))
      throw new Error(`${name} of ${JSON.stringify(this.statements, null, 1)} is not finite`);
    if (largest > largestOperand) this.make(`${name}.mul(${2 ** -Math.ceil(Math.log2(largest / largestOperand))})`);
  }

  private statement(text: string, constant: boolean): Statement {
    const uses = [...new Set(text.match(/\bv\d+\b/g))];
    return { name: `v${this.values.size}`, text, uses, constant, evaluate: compile(text, uses) };
  }

  private enter(name: string, value: Tensor, candidate: boolean): Made {
    this.values.set(name, value);
    const made = new Made(name, value);
    if (candidate && made.size <= largestSize && made.largest <= largestOperand) this.candidates.push(made);
    return made;
  }
}

/** Runs `fn` with tensors on a device and in a dtype by default. */
export function withDefaults<T>(device: langevin.DeviceName, dtype: "float32" | "float64", fn: () => T): T {
  const [earlierDevice, earlierDType] = [defaultDevice(), defaultDType()];
  setDefaultDevice(device);
  setDefaultDType(dtype);
  try {
    return fn();
  } finally {
    setDefaultDevice(earlierDevice);
    setDefaultDType(earlierDType);
  }
}

/** The program of a seed, of `length` operations, which may take several statements each. */
export function drawProgram(seed: number, length: number): Program {
  const random = generator(seed);
  return withDefaults("ts", "float64", () =>
    noGrad(() =>
      scope(() => {
        const draft = new Draft(random);
        for (const leastRank of [1, 0, 2]) draft.leaf(drawShape(draft, leastRank));
        const names = Object.keys(operations);
        const drawn: string[] = [];
        for (let tries = 0; drawn.length < length && tries < 20 * length; tries++) {
          const name = draft.pick(names);
          const result = operations[name](draft);
          if (!result) continue;
          draft.tame(result);
          drawn.push(name);
        }
        return { seed, leaves: draft.leaves, statements: draft.statements, operations: drawn };
      }),
    ),
  );
}

/** Small axes, with one now and then that is longer than a vector of the machine. */
function drawShape(draft: Draft, leastRank: number): Shape {
  const shape = Array.from({ length: draft.integer(leastRank, 3) }, () => draft.integer(1, 5));
  if (shape.length > 0 && draft.chance(0.2)) shape[shape.length - 1] = draft.pick([8, 17, 33]);
  return shape;
}

/** Fresh leaves, on the default device and in the default dtype. */
export function leavesOf(program: Program): Tensor[] {
  return program.leaves.map(({ shape, data }) => tensor(data, { shape }).requireGrad());
}

/** All values of a program by name; `around` may look at each, or put another one in its place. */
export function run(
  program: Program,
  leaves: readonly Tensor[],
  around: (compute: () => Tensor, statement: Statement) => Tensor = (compute) => compute(),
): Map<string, Tensor> {
  const values = new Map(program.leaves.map(({ name }, i) => [name, leaves[i]]));
  for (const statement of program.statements)
    values.set(
      statement.name,
      around(() => statement.evaluate(values), statement),
    );
  return values;
}

/** Names of the values that nothing uses, of which the loss is made. */
function ends({ statements, leaves }: Program): string[] {
  const used = new Set(statements.flatMap(({ uses }) => uses));
  const computed = statements.filter(({ constant }) => !constant);
  return [...computed, ...leaves].map(({ name }) => name).filter((name) => !used.has(name));
}

/** A sum with weights that differ, lest what adds up to a constant (as softmax does) hides its gradient. */
const weighText =
  "(x) => x.mul(tensor(Array.from({ length: x.size }, (_, i) => Math.cos(i + 1)), { shape: x.shape })).sum()";
const weigh = compile<(x: Tensor) => Tensor>(weighText, [])(new Map());

/** One number that depends on everything. */
export function lossOf(program: Program, values: ReadonlyMap<string, Tensor>): Tensor {
  return scope(() => ends(program).map((name) => weigh(values.get(name)!)).reduce((sum, term) => sum.add(term))); // prettier-ignore
}

/** The program as text to be run by itself. */
export function print(program: Program): string {
  const names = offered.map(([name]) => name);
  const words = new Set(program.statements.flatMap(({ text }) => text.match(/\w+/g) ?? []));
  const imports = names.filter((name) => words.has(name) || ["setDefaultDType", "tensor"].includes(name));
  return [
    `// seed ${program.seed}`,
    `import { ${imports.join(", ")} } from "langevin";`,
    `setDefaultDType("float64"); // on LANGEVIN_DEVICE=ts`,
    `const weigh = ${weighText};`,
    ...program.leaves.map(
      ({ name, shape, data }) =>
        `const ${name} = tensor([${data.join(", ")}], { shape: [${shape.join(", ")}] }).requireGrad();`,
    ),
    ...program.statements.map(({ name, text }) => `const ${name} = ${text};`),
    `const loss = ${ends(program).map((name) => `weigh(${name})`).reduce((sum, term) => `${sum}.add(${term})`)};`, // prettier-ignore
    `loss.backward();`,
  ].join("\n");
}

/** Drops statements, with all that uses them, as long as the program fails. */
export function shrink(program: Program, fails: (program: Program) => boolean): Program {
  let smallest = program;
  for (let i = smallest.statements.length - 1; i >= 0; i--) {
    const candidate = without(smallest, i);
    if (candidate.statements.length + candidate.leaves.length > 0 && fails(candidate)) smallest = candidate;
    i = Math.min(i, smallest.statements.length);
  }
  return withoutUnused(smallest, fails);
}

function without(program: Program, index: number): Program {
  const gone = new Set([program.statements[index].name]);
  const statements = program.statements.filter(({ name, uses }) => {
    if (uses.some((used) => gone.has(used))) gone.add(name);
    return !gone.has(name);
  });
  return { ...program, statements };
}

/** Drops leaves and constants that nothing uses. */
function withoutUnused(program: Program, fails: (program: Program) => boolean): Program {
  const used = new Set(program.statements.flatMap(({ uses }) => uses));
  const needed = {
    ...program,
    leaves: program.leaves.filter(({ name }) => used.has(name)),
    statements: program.statements.filter(({ name, constant }) => !constant || used.has(name)),
  };
  return needed.leaves.length > 0 && fails(needed) ? needed : program;
}
