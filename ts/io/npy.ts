// NPY, numpy's format of one array: a magic word, the text of a Python dict that says type and shape, then the elements.

import { ArgumentError, FormatError } from "../errors/index.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { writeFileAtomically } from "./atomic-file.ts";
import { permute } from "./layout.ts";
import { withFile } from "./open-file.ts";
import type { RawDType, RawTensor } from "./raw-tensor.ts";
import { bytesOfRaw, expectBytes, flawOfRaw, rawArrays, rawBytes, rawOf, rawTensor } from "./raw-tensor.ts";

/** What numpy calls the dtypes that it has, without the order of their bytes. */
const dtypes = {
  f8: "F64",
  f4: "F32",
  f2: "F16",
  i8: "I64",
  i4: "I32",
  i2: "I16",
  i1: "I8",
  u8: "U64",
  u4: "U32",
  u2: "U16",
  u1: "U8",
  b1: "BOOL",
} as const satisfies Record<string, RawDType>;

const magic = "\x93NUMPY";
/** The magic word, two bytes of version, and up to four for the length of the dict. */
const longestPrefix = 12;
/** What numpy reads unless told to trust the file. */
const longestHeader = 10_000;
/** Axes of an array that every numpy reads. */
const mostAxes = 32;
/** numpy aligns the elements to this many bytes. */
const alignment = 64;

/** Where the dict lies in the file. */
interface Span {
  readonly start: number;
  readonly end: number;
}

/** What the dict says. */
interface Header {
  readonly dtype: RawDType;
  readonly shape: readonly number[];
  readonly bigEndian: boolean;
  /** Whether the first axis is the one whose elements are adjacent. */
  readonly fortranOrder: boolean;
}

/** Where bytes come from, for error messages. */
interface Source {
  /** Who reads them. */
  readonly op: string;
  readonly file: string;
}

/**
 * Reads an array that `numpy.save` wrote, of format version 1.0 to 3.0, in any order of axes and bytes; it comes back in
 * row-major order. Float16 stays bits (see `toFloat32`). Throws FormatError unless the whole file is one array of
 * booleans, integers or floats.
 */
export async function readNpy(path: string): Promise<RawTensor> {
  const source = { op: "readNpy", file: path };
  return withFile("readNpy", path, async (file) => {
    const { start, end } = headerSpan(await file.read(0, Math.min(file.size, longestPrefix)), file.size, source);
    const header = parseHeader(await file.read(start, end - start), file.size - end, source);
    return decode(header, await file.read(end, file.size - end));
  });
}

/**
 * Reads the bytes of an NPY file as `readNpy` does, for where there is no file system; `file` is its name for error
 * messages. The result is a copy.
 */
export function parseNpy(bytes: Uint8Array, file = "the given buffer"): RawTensor {
  expectBytes("parseNpy", bytes);
  const source = { op: "parseNpy", file };
  const { start, end } = headerSpan(bytes.subarray(0, longestPrefix), bytes.length, source);
  const header = parseHeader(bytes.subarray(start, end), bytes.length - end, source);
  return decode(header, new Uint8Array(bytes.subarray(end)));
}

/**
 * Writes an array as `numpy.save` does, whole or not at all: a tensor, once it is computed, or a raw one of a dtype that
 * numpy has.
 */
export async function writeNpy(path: string, array: Tensor | RawTensor): Promise<void> {
  await writeFileAtomically(path, serialize("writeNpy", await rawOf("writeNpy", "the array", array)));
}

/** The bytes of an NPY file of format version 1.0: what `writeNpy` writes. */
export async function serializeNpy(array: Tensor | RawTensor): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(Buffer.concat(serialize("serializeNpy", await rawOf("serializeNpy", "the array", array))));
}

function headerSpan(prefix: Uint8Array, fileLength: number, source: Source): Span {
  if (Buffer.from(prefix.subarray(0, magic.length)).toString("latin1") !== magic)
    throw malformed(source, "it does not begin with \\x93NUMPY.");
  const [major, minor] = prefix.subarray(magic.length);
  if (!(major >= 1 && major <= 3 && minor === 0))
    throw malformed(source, `its format version is ${major}.${minor}, and 1.0, 2.0 and 3.0 are known.`);
  const start = major === 1 ? 10 : 12;
  if (prefix.length < start) throw malformed(source, "it ends within its first 12 bytes.");
  const view = new DataView(prefix.buffer, prefix.byteOffset);
  const length = major === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  if (length > longestHeader)
    throw malformed(source, `its header claims ${length} bytes, and at most ${longestHeader} are allowed.`);
  if (start + length > fileLength)
    throw malformed(source, `its header claims ${length} bytes, but only ${fileLength - start} follow.`);
  return { start, end: start + length };
}

function parseHeader(bytes: Uint8Array, dataLength: number, source: Source): Header {
  const { descr, fortran_order: order, shape: sizes } = parseDict(Buffer.from(bytes).toString("latin1"), source);
  const [, byteOrder, name] = /^'([<>|])(\w+)'$/.exec(descr) ?? [];
  if (name === undefined || !Object.hasOwn(dtypes, name) || (byteOrder === "|" && !/1$/.test(name))) {
    const known = Object.keys(dtypes).join(", ");
    throw malformed(source, `its descr is ${descr}; known are ${known} behind < or >.`);
  }
  if (order !== "True" && order !== "False") throw malformed(source, `its fortran_order is ${order}.`);
  const shape = parseTuple(sizes);
  if (!shape) throw malformed(source, `its shape is ${sizes}, expected a tuple of sizes.`);
  const dtype = dtypes[name as keyof typeof dtypes];
  const expected = rawBytes(dtype, shape);
  if (expected !== dataLength)
    throw malformed(
      source,
      `it is ${name} ${sizes}, which takes ${expected} bytes, but ${dataLength} follow its header.`,
    );
  return { dtype, shape, bigEndian: byteOrder === ">", fortranOrder: order === "True" };
}

/** One entry of the dict: a string, a word or a tuple under its key. */
const entry = String.raw`\s*'(\w+)'\s*:\s*('[^'\\]*'|\w+|\([\d\sL,]*\))\s*`;
const dict = new RegExp(String.raw`^\s*\{${entry},${entry},${entry}(?:,\s*)?\}\s*$`);

/** The texts of the three values of the header, which is a literal dict of Python with exactly these keys. */
function parseDict(text: string, source: Source): Record<"descr" | "fortran_order" | "shape", string> {
  const [, ...found] = dict.exec(text) ?? [];
  const values = new Map(found.flatMap((key, i) => (i % 2 === 0 ? [[key, found[i + 1]]] : [])));
  const [descr, fortran_order, shape] = ["descr", "fortran_order", "shape"].map((key) => values.get(key));
  if (descr === undefined || fortran_order === undefined || shape === undefined)
    throw malformed(
      source,
      "its header is not a dict of descr, fortran_order and shape, as those of plain arrays are.",
    );
  return { descr, fortran_order, shape };
}

/** The sizes in `()`, `(3,)`, `(3, 4)`; numpy on Python 2 wrote `(3L, 4L)`. */
function parseTuple(text: string): number[] | undefined {
  const items = text.slice(1, -1).split(",");
  const tuple = text.startsWith("(") && (items.length > 1 || items[0].trim() === "");
  if (items[items.length - 1].trim() === "") items.pop();
  if (!tuple || !items.every((item) => /^\s*\d+L?\s*$/.test(item))) return undefined;
  const sizes = items.map((item) => parseInt(item, 10));
  return sizes.every(Number.isSafeInteger) ? sizes : undefined;
}

function decode({ dtype, shape, bigEndian, fortranOrder }: Header, bytes: Uint8Array<ArrayBuffer>): RawTensor {
  if (bigEndian) reverseEach(bytes, rawArrays[dtype].BYTES_PER_ELEMENT);
  if (!fortranOrder) return rawTensor(dtype, shape, bytes.buffer, 0);
  const axes = shape.map((_, axis) => shape.length - 1 - axis);
  const { data } = permute(rawTensor(dtype, shape, bytes.buffer, 0).data, shape.toReversed(), axes);
  return { dtype, shape, data } as RawTensor;
}

/** Turns the bytes of each element around. */
function reverseEach(bytes: Uint8Array, width: number): void {
  for (let start = 0; start < bytes.length; start += width) bytes.subarray(start, start + width).reverse();
}

function serialize(op: string, array: RawTensor): Uint8Array[] {
  const refuse = (problem: string, advice?: string): ArgumentError =>
    new ArgumentError({ op, problem: `the array ${problem}`, advice });
  const flaw = flawOfRaw(array);
  if (flaw !== undefined) throw refuse(flaw);
  const { dtype, shape } = array;
  const [name] = Object.entries(dtypes).find(([, known]) => known === dtype) ?? [];
  if (name === undefined) throw refuse(`is ${dtype}, which numpy does not have.`, "Convert it with toFloat32.");
  if (shape.length > mostAxes) throw refuse(`has ${shape.length} axes, and numpy reads at most ${mostAxes}.`);
  const descr = (name.endsWith("1") ? "|" : "<") + name;
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(", ")})`;
  const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': ${tuple}, }`;
  const start = magic.length + 4;
  const end = Math.ceil((start + text.length + 1) / alignment) * alignment;
  const header = Buffer.alloc(end, " ");
  header.write(`${magic}\x01\x00`, "latin1");
  header.writeUInt16LE(end - start, magic.length + 2);
  header.write(text, start);
  header.write("\n", end - 1);
  return [header, bytesOfRaw(array)];
}

function malformed({ op, file }: Source, problem: string): FormatError {
  return new FormatError({ op, problem: `${file} is not a readable NPY file: ${problem}` });
}
