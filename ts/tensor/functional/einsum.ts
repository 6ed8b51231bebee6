// einsum: sums of products over named axes, as permutations and batched matrix products.

import { ArgumentError, ShapeError, showShape } from "../../errors/index.ts";
import type { Shape } from "../../ops/index.ts";
import { ops, sizeOf } from "../../ops/index.ts";
import { scope } from "../scope.ts";
import type { Tensor } from "../tensor.ts";
import { apply } from "../tensor.ts";

/** An operand, and the subscript of each of its axes. */
interface Term {
  readonly tensor: Tensor;
  readonly subscripts: readonly string[];
}

/**
 * Sum of products over the axes that the output does not name (`torch.einsum`): `einsum("bij,bkj->bik", a, b)` multiplies
 * a by the transpose of b for each b. A letter names an axis; `...` stands for any leading axes, which broadcast. Without
 * `->` the output has the letters that occur once, in alphabetical order, after those of `...`. Operands are contracted
 * from left to right, each time as one batched matrix product. Throws ArgumentError for an equation that cannot be read
 * or that repeats a subscript within an operand, and ShapeError for sizes that differ.
 */
export function einsum(equation: string, ...operands: Tensor[]): Tensor {
  const { inputs, output } = parse(equation, operands);
  const terms = operands.map((tensor, i): Term => ({ tensor, subscripts: inputs[i] }));
  const sizes = sizesBySubscript(equation, terms);
  return scope(() => {
    let [result, ...rest] = terms.map((term) => withoutRepeated(term, sizes));
    while (rest.length > 0) {
      const [next, ...later] = rest;
      const wanted = new Set([...output, ...later.flatMap((term) => term.subscripts)]);
      result = contract(result, next, wanted);
      rest = later;
    }
    return arrange(sumOut(result, new Set(output)), output);
  });
}

/** How an axis of `...`, counted from its end, is called: such names cannot be written. */
const ellipsisAxis = (fromEnd: number): string => `...${fromEnd}`;

interface Equation {
  readonly inputs: readonly (readonly string[])[];
  readonly output: readonly string[];
}

function parse(equation: string, operands: readonly Tensor[]): Equation {
  const fail = (problem: string, advice?: string): never => {
    throw new ArgumentError({ op: "einsum", problem: `"${equation}": ${problem}`, advice });
  };
  const [left, right, ...more] = equation.replaceAll(" ", "").split("->");
  const parts = left.split(",");
  if (more.length > 0) fail('"->" occurs more than once.');
  if (parts.length !== operands.length)
    fail(`${parts.length} operand${parts.length === 1 ? " is" : "s are"} named, ${operands.length} given.`);
  const read = (part: string, ellipsisRank: number): string[] => {
    const match = /^([a-zA-Z]*)(\.\.\.)?([a-zA-Z]*)$/.exec(part);
    if (!match) return fail(`"${part}" is not made of letters and at most one "...".`);
    const [, before, ellipsis, after] = match;
    const middle = ellipsis ? Array.from({ length: ellipsisRank }, (_, i) => ellipsisAxis(ellipsisRank - i)) : [];
    const subscripts = [...before, ...middle, ...after];
    const repeated = subscripts.find((s, i) => subscripts.indexOf(s) !== i);
    if (repeated !== undefined)
      fail(`"${part}" has the subscript ${repeated} twice.`, "Diagonals are not supported: pick the elements first.");
    return subscripts;
  };
  const inputs = parts.map((part, i) => {
    const { rank, shape } = operands[i];
    const letters = part.replace("...", "").length;
    if (part.includes("...") ? rank < letters : rank !== letters)
      fail(`"${part}" names ${letters} axes, operand ${i} has shape ${showShape(shape)}.`);
    return read(part, rank - letters);
  });
  const ellipsisRank = Math.max(0, ...inputs.map((subscripts) => subscripts.filter((s) => s.startsWith(".")).length));
  const all = inputs.flat();
  const implicit = (): string[] => [
    ...Array.from({ length: ellipsisRank }, (_, i) => ellipsisAxis(ellipsisRank - i)),
    ...all.filter((s) => !s.startsWith(".") && all.indexOf(s) === all.lastIndexOf(s)).sort(),
  ];
  const output = right === undefined ? implicit() : read(right, ellipsisRank);
  const unknown = output.find((s) => !all.includes(s));
  if (unknown !== undefined) fail(`the output has the subscript ${unknown}, which no operand has.`);
  return { inputs, output };
}

/** The size of each subscript; refuses different ones, but that axes of `...` may have size 1 for any size. */
function sizesBySubscript(equation: string, terms: readonly Term[]): ReadonlyMap<string, number> {
  const sizes = new Map<string, readonly [size: number, operand: number]>();
  terms.forEach(({ tensor, subscripts }, operand) => {
    subscripts.forEach((s, axis) => {
      const size = tensor.shape[axis];
      const known = sizes.get(s);
      const broadcast = s.startsWith(".");
      if (known && known[0] !== size && !(broadcast && (size === 1 || known[0] === 1)))
        throw new ShapeError({
          op: "einsum",
          problem: `"${equation}": ${broadcast ? `axis -${s.slice(3)} of ...` : `subscript ${s}`} has size ${known[0]} in operand ${known[1]} and ${size} in operand ${operand}.`,
        });
      if (!known || known[0] === 1) sizes.set(s, [size, operand]);
    });
  });
  return new Map([...sizes].map(([s, [size]]) => [s, size]));
}

/** The term without axes of size 1 that others have in full: a product repeats it along them anyway. */
function withoutRepeated({ tensor, subscripts }: Term, sizes: ReadonlyMap<string, number>): Term {
  const own = subscripts.filter((s, axis) => tensor.shape[axis] === sizes.get(s));
  if (own.length === subscripts.length) return { tensor, subscripts };
  return { tensor: tensor.reshape(own.map((s) => sizes.get(s)!)), subscripts: own };
}

/** Sums over the axes that nobody wants any more. */
function sumOut({ tensor, subscripts }: Term, wanted: ReadonlySet<string>): Term {
  const axes = subscripts.flatMap((s, axis) => (wanted.has(s) ? [] : [axis]));
  if (axes.length === 0) return { tensor, subscripts };
  return { tensor: tensor.sum(axes), subscripts: subscripts.filter((s) => wanted.has(s)) };
}

/** The tensor with its axes in another order. */
function arrange({ tensor, subscripts }: Term, order: readonly string[]): Tensor {
  if (order.every((s, axis) => s === subscripts[axis])) return tensor;
  return tensor.permute(order.map((s) => subscripts.indexOf(s)));
}

/** Batches of matrices, which the product reads transposed where that spares a copy. */
interface Matrices {
  readonly tensor: Tensor;
  readonly transposed: boolean;
}

/** A term as matrices whose rows and columns, and the batch of which if there is one, are several axes each. */
function asMatrices(
  term: Term,
  batch: readonly string[],
  rows: readonly string[],
  columns: readonly string[],
): Matrices {
  const order = (first: readonly string[], second: readonly string[]): string[] => [...batch, ...first, ...second];
  const transposed = order(columns, rows).every((s, axis) => s === term.subscripts[axis]);
  const [first, second] = transposed ? [columns, rows] : [rows, columns];
  const shape = [first, second].map((names) => sizeOf(sizesOf(term, names)));
  if (batch.length > 0) shape.unshift(sizeOf(sizesOf(term, batch)));
  return { tensor: arrange(term, order(first, second)).reshape(shape), transposed };
}

function sizesOf({ tensor, subscripts }: Term, names: readonly string[]): Shape {
  return names.map((s) => tensor.shape[subscripts.indexOf(s)]);
}

/**
 * The product of two terms, summed over what is not wanted, as one matrix product: axes of both that are wanted are its
 * batch, those of both that are not its inner axis, and those of one only its rows or columns.
 */
function contract(left: Term, right: Term, wanted: ReadonlySet<string>): Term {
  const a = sumOut(left, new Set([...wanted, ...right.subscripts]));
  const b = sumOut(right, new Set([...wanted, ...left.subscripts]));
  const shared = a.subscripts.filter((s) => b.subscripts.includes(s));
  const batch = shared.filter((s) => wanted.has(s));
  const inner = shared.filter((s) => !batch.includes(s));
  const rows = a.subscripts.filter((s) => !shared.includes(s));
  const columns = b.subscripts.filter((s) => !shared.includes(s));
  const [x, y] = [asMatrices(a, batch, rows, inner), asMatrices(b, batch, inner, columns)];
  const flags = { transposeA: x.transposed, transposeB: y.transposed };
  const product = apply(ops.matmul, [x.tensor, y.tensor, undefined], flags);
  const shape = [...sizesOf(a, batch), ...sizesOf(a, rows), ...sizesOf(b, columns)];
  return { tensor: product.reshape(shape), subscripts: [...batch, ...rows, ...columns] };
}
