// The text of an array as numpy prints it: aligned columns, as few digits as tell its values apart, "..." for the middle of
// large ones. (The rules are those of numpy's `array2string` with `separator=", "`.)

import { showShape } from "../errors/index.ts";
import type { DType, Shape } from "../ops/index.ts";
import { sizeOf } from "../ops/index.ts";

/** Larger arrays are summarised. */
const threshold = 1000;
/** What a summary shows at each end of an axis. */
const edgeItems = 3;
/** Columns of a line. */
const lineWidth = 75;
/** Digits after the point. */
const mostDigits = 8;
const separator = ", ";

/** Elements nearer than this to each other are read in one go. */
const readThrough = 4096;
const opening = "tensor(";

/** Writes a number in a column's width. */
type Format = (value: number) => string;

/** Indices along an axis of `n` that are shown. */
function shownIndices(n: number, summarised: boolean): number[] {
  if (!summarised || n <= 2 * edgeItems) return Array.from({ length: n }, (_, i) => i);
  return Array.from({ length: 2 * edgeItems }, (_, i) => (i < edgeItems ? i : n - 2 * edgeItems + i));
}

/** Positions, in row-major order, of the elements of an array that are printed. */
export function shownPositions(shape: Shape): number[] {
  const size = sizeOf(shape);
  if (size === 0) return [];
  let positions = [0];
  for (const n of shape) {
    const indices = shownIndices(n, size > threshold);
    positions = positions.flatMap((position) => indices.map((index) => position * n + index));
  }
  return positions;
}

/**
 * `tensor([[1., 2.]], shape [1, 2], float32, cpu)`. `read` gives `count` elements from the one at `first` on, and is asked
 * for little more than what is printed.
 */
export function printTensor(
  read: (first: number, count: number) => ArrayLike<number>,
  shape: Shape,
  dtype: DType,
  device: string,
): string {
  const array = printArray(readShown(read, shownPositions(shape)), shape, dtype, opening.length);
  const text = `${opening}${array},`;
  const closing = ` ${kindOf(shape, dtype, device)})`;
  const lastLine = text.length - (text.lastIndexOf("\n") + 1);
  const fits = lastLine + closing.length <= lineWidth;
  return fits ? text + closing : `${text}\n${" ".repeat(opening.length - 1)}${closing}`;
}

/** What is left to say of a tensor without elements. */
export function printDisposed(shape: Shape, dtype: DType, device: string): string {
  return `${opening}disposed, ${kindOf(shape, dtype, device)})`;
}

function kindOf(shape: Shape, dtype: DType, device: string): string {
  return `shape ${showShape(shape)}, ${dtype}, ${device}`;
}

/** The elements at rising positions. */
function readShown(read: (first: number, count: number) => ArrayLike<number>, positions: readonly number[]): number[] {
  const shown: number[] = [];
  while (shown.length < positions.length) {
    const first = shown.length;
    let end = first + 1;
    while (end < positions.length && positions[end] - positions[end - 1] < readThrough) end++;
    const run = read(positions[first], positions[end - 1] - positions[first] + 1);
    for (const position of positions.slice(first, end)) shown.push(run[position - positions[first]]);
  }
  return shown;
}

/** The text of an array whose elements at `shownPositions(shape)` are `shown`; later lines are indented by `indent` columns. */
export function printArray(shown: ArrayLike<number>, shape: Shape, dtype: DType, indent = 0): string {
  const size = sizeOf(shape);
  if (size === 0) return "[]";
  const format = dtype === "int32" ? integerFormat(shown) : floatFormat(shown, dtype);
  let next = 0;
  const print = (axis: number, hanging: string, width: number): string => {
    if (axis === shape.length) return format(shown[next++]);
    const n = shape[axis];
    const elided = size > threshold && n > 2 * edgeItems;
    const items = Array.from({ length: elided ? 2 * edgeItems : n }, () => print(axis + 1, `${hanging} `, width - 1));
    if (elided) items.splice(edgeItems, 0, "...");
    const axesBelow = shape.length - axis - 1;
    const text = axesBelow === 0 ? wrap(items, hanging, width - 1) : items.join(`,${"\n".repeat(axesBelow)}${hanging}`);
    return `[${text}]`;
  };
  return print(0, " ".repeat(indent + 1), lineWidth);
}

/** Joins words into lines that end before column `width`; all but the first begin with `hanging`. */
function wrap(words: readonly string[], hanging: string, width: number): string {
  const lines: string[] = [];
  let line = hanging;
  words.forEach((word, i) => {
    if (line.length + word.length > width && line.length > hanging.length) {
      lines.push(line.trimEnd());
      line = hanging;
    }
    line += i < words.length - 1 ? word + separator : word;
  });
  return [...lines, line].join("\n").slice(hanging.length);
}

function integerFormat(values: ArrayLike<number>): Format {
  const width = widest(Array.from(values, String));
  return (value) => String(value).padStart(width);
}

/** Rounds to the array's dtype. */
type Round = (value: number) => number;

function floatFormat(values: ArrayLike<number>, dtype: DType): Format {
  const all = Array.from(values);
  const finite = all.filter(Number.isFinite);
  const round: Round = dtype === "float32" ? Math.fround : (value) => value;
  const format = needsExponent(finite, round) ? exponentFormat(finite, round) : pointFormat(finite, round);
  const show: Format = (value) =>
    Number.isFinite(value) ? format(value) : Number.isNaN(value) ? "nan" : value < 0 ? "-inf" : "inf";
  const width = widest(all.map(show));
  return (value) => show(value).padStart(width);
}

function needsExponent(finite: readonly number[], round: Round): boolean {
  const sizes = finite.filter((value) => value !== 0).map(Math.abs);
  const least = sizes.reduce((a, b) => Math.min(a, b), Infinity);
  const most = sizes.reduce((a, b) => Math.max(a, b), 0);
  return sizes.length > 0 && (most >= 1e8 || least < round(1e-4) || round(most / least) > 1000);
}

/** `1.25`, `-0.5 `: points stand below each other, and zeros at the end are blanks. */
function pointFormat(finite: readonly number[], round: Round): Format {
  const parts = (value: number): [string, string] => {
    const size = Math.abs(value);
    const { digits, exponent } = shortest(size, round);
    const places = Math.min(Math.max(digits - 1 - exponent, 0), mostDigits);
    const text = halfToEven(size.toFixed(places), size.toFixed(exactDigits));
    const [whole, fraction = ""] = text.split(".");
    return [sign(value) + whole, fraction.replace(/0+$/, "")];
  };
  const all = finite.map(parts);
  const left = widest(all.map(([whole]) => whole));
  const right = widest(all.map(([, fraction]) => fraction));
  return (value) => {
    const [whole, fraction] = parts(value);
    return `${whole.padStart(left)}.${fraction.padEnd(right)}`;
  };
}

/** `1.25e+00`, `3.00e-10`: all with as many digits as the number that needs most. */
function exponentFormat(finite: readonly number[], round: Round): Format {
  const parts = (value: number, places: number): [string, string, string] => {
    const size = Math.abs(value);
    const own = shortest(size, round);
    const text = own.digits === places + 1 ? own.text : size.toExponential(places);
    const [mantissa, exponent] = text.split("e");
    const [exactMantissa] = size.toExponential(exactDigits).split("e");
    const [whole, fraction = ""] = halfToEven(mantissa, exactMantissa).split(".");
    return [sign(value) + whole, fraction, exponent];
  };
  const all = finite.map((value) => parts(value, Math.min(shortest(Math.abs(value), round).digits - 1, mostDigits)));
  const places = widest(all.map(([, fraction]) => fraction.replace(/0+$/, "")));
  const exponentDigits = Math.max(2, widest(all.map(([, , exponent]) => exponent)) - 1);
  return (value) => {
    const [whole, fraction, exponent] = parts(value, places);
    return `${whole}.${fraction}e${exponent[0]}${exponent.slice(1).padStart(exponentDigits, "0")}`;
  };
}

/** A number >= 0 in the fewest digits that tell it from its neighbours in the dtype; the first one counts 10^exponent. */
function shortest(value: number, round: Round): { text: string; digits: number; exponent: number } {
  for (let digits = 1; ; digits++) {
    const text = value.toExponential(digits - 1);
    const exponent = Number(text.split("e")[1]);
    if (round(Number(text)) === value) return { text, digits, exponent };
    // Below a power of two numbers lie closer than above: there the nearest text may miss it, and the next one not.
    const above = Number(text) + 10 ** (exponent + 1 - digits);
    if (round(above) === value) return { text: above.toExponential(digits - 1), digits, exponent };
  }
}

/** As many as JavaScript writes; what lies in the middle between two texts of 8 digits has ended long before. */
const exactDigits = 100;

/** Ties are rounded up in `rounded`, as JavaScript does; numpy rounds them to an even digit. */
function halfToEven(rounded: string, exact: string): string {
  const last = rounded.length - 1;
  const rest = exact.slice(rounded.length).replace(".", "");
  const tie = /^50*$/.test(rest) && Number(rounded[last]) % 2 === 1;
  return tie ? rounded.slice(0, last) + String(Number(rounded[last]) - 1) : rounded;
}

function sign(value: number): string {
  return value < 0 || Object.is(value, -0) ? "-" : "";
}

function widest(texts: readonly string[]): number {
  return texts.reduce((width, text) => Math.max(width, text.length), 0);
}
