// The safetensors format: an 8-byte little-endian header length, a JSON header, then the raw little-endian data of all
// tensors without gaps. A header from a stranger is checked in full before anything is read by its numbers.

import { ArgumentError, FormatError, showShape, showValue } from "../errors/index.ts";
import { Tensor } from "../tensor/tensor.ts";
import { writeFileAtomically } from "./atomic-file.ts";
import { withFile } from "./open-file.ts";
import type { RawDType, RawTensor } from "./raw-tensor.ts";
import { bytesOfRaw, flawOfRaw, isListOfSizes, isRawDType, knownRawDTypes, rawArrays } from "./raw-tensor.ts";
import { expectBytes, rawBytes, rawOf, rawTensor } from "./raw-tensor.ts";

/** What a file holds: its tensors in the order of the header, and the strings of `__metadata__`. */
export interface Safetensors {
  /** By name, in the order of the file. */
  readonly tensors: ReadonlyMap<string, RawTensor>;
  /** What the header says under `__metadata__`; empty where it has none. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** Where a tensor lies, counted in bytes from the end of the header. */
interface Entry {
  readonly name: string;
  readonly dtype: RawDType;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

/** Where bytes come from, for error messages. */
interface Source {
  /** Who reads them. */
  readonly op: string;
  readonly file: string;
}

interface Header {
  readonly entries: readonly Entry[];
  readonly metadata: Readonly<Record<string, string>>;
}

/** What the reference implementation allows a header to take. */
const longestHeader = 100_000_000;
const lengthBytes = 8;
/** The header, in it a tensor, in that a list. */
const deepestNesting = 3;
const metadataKey = "__metadata__";

/**
 * Reads the bytes of a file (`safetensors.torch.load`), for where there is no file system; `file` is its name for error
 * messages. Tensors are views of `bytes` where they are aligned to their elements, copies elsewhere. Throws FormatError for
 * bytes that are no such file.
 */
export function parseSafetensors(bytes: Uint8Array, file = "the given buffer"): Safetensors {
  expectBytes("parseSafetensors", bytes);
  const source = { op: "parseSafetensors", file };
  const length = headerLength(bytes.subarray(0, lengthBytes), bytes.length, source);
  const start = lengthBytes + length;
  const { entries, metadata } = parseHeader(bytes.subarray(lengthBytes, start), bytes.length - start, source);
  const tensors = entries.map(({ name, dtype, shape, begin, end }): [string, RawTensor] => {
    const position = bytes.byteOffset + start + begin;
    const aligned = position % rawArrays[dtype].BYTES_PER_ELEMENT === 0;
    const piece = aligned ? bytes : new Uint8Array(bytes.subarray(start + begin, start + end));
    return [name, rawTensor(dtype, shape, piece.buffer, aligned ? position : piece.byteOffset)];
  });
  return { tensors: new Map(tensors), metadata };
}

/**
 * Reads a file (`safetensors.torch.load_file`); each tensor gets memory of its own, so files may be larger than any one
 * buffer. Throws FormatError for what is no such file.
 */
export async function readSafetensors(path: string): Promise<Safetensors> {
  return withSafetensors("readSafetensors", path, async ({ entries, metadata, read }) => {
    const tensors = new Map<string, RawTensor>();
    for (const name of entries.keys()) tensors.set(name, await read(name));
    return { tensors, metadata };
  });
}

/** A file that is open: its header was read and checked, its tensors are read when they are asked for. */
export interface OpenSafetensors {
  /** What the header says of each tensor, in the order of the file. */
  readonly entries: ReadonlyMap<string, Pick<RawTensor, "dtype" | "shape">>;
  /** As in `Safetensors`. */
  readonly metadata: Readonly<Record<string, string>>;
  /** A tensor that is among the entries, in memory of its own. */
  readonly read: (name: string) => Promise<RawTensor>;
}

/** Opens a file on behalf of `op`, hands it to `use`, and closes it whatever happens. Throws FormatError for what is no such file. */
export async function withSafetensors<T>(
  op: string,
  path: string,
  use: (file: OpenSafetensors) => Promise<T>,
): Promise<T> {
  const source = { op, file: path };
  return withFile(op, path, async (file) => {
    const prefix = await file.read(0, Math.min(file.size, lengthBytes));
    const header = await file.read(lengthBytes, headerLength(prefix, file.size, source));
    const start = lengthBytes + header.length;
    const { entries: list, metadata } = parseHeader(header, file.size - start, source);
    const entries = new Map(list.map((entry) => [entry.name, entry]));
    const read = async (name: string): Promise<RawTensor> => {
      const { dtype, shape, begin, end } = entries.get(name)!;
      return rawTensor(dtype, shape, (await file.read(start + begin, end - begin)).buffer, 0);
    };
    return use({ entries, metadata, read });
  });
}

function headerLength(prefix: Uint8Array, fileLength: number, source: Source): number {
  if (prefix.length < lengthBytes)
    throw malformed(source, `it has ${fileLength} bytes, and the length of the header alone takes ${lengthBytes}.`);
  const length = new DataView(prefix.buffer, prefix.byteOffset).getBigUint64(0, true);
  if (length > longestHeader)
    throw malformed(source, `its header claims ${length} bytes, and at most ${longestHeader} are allowed.`);
  if (Number(length) > fileLength - lengthBytes)
    throw malformed(source, `its header claims ${length} bytes, but only ${fileLength - lengthBytes} follow.`);
  return Number(length);
}

function parseHeader(bytes: Uint8Array, dataLength: number, source: Source): Header {
  if (bytes[0] !== "{".charCodeAt(0)) throw malformed(source, "its header does not begin with {.");
  const json = parseStrictJson(decodeUtf8(bytes, source), source);
  const { [metadataKey]: metadata = {}, ...tensors } = json as Record<string, unknown>;
  const entries = Object.entries(tensors).map(([name, value]) => parseEntry(name, value, dataLength, source));
  expectFullCover(entries, dataLength, source);
  return { entries, metadata: parseMetadata(metadata, source) };
}

function decodeUtf8(bytes: Uint8Array, source: Source): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw malformed(source, "its header is not UTF-8.", cause);
  }
}

/** JSON, but nothing nested deeper than the format goes and no key given twice (JSON.parse would take the last). */
function parseStrictJson(text: string, source: Source): unknown {
  expectShallow(text, source);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw malformed(source, `its header is not JSON (${(cause as Error).message}).`, cause);
  }
  expectUniqueKeys(text, source);
  return json;
}

function expectShallow(text: string, source: Source): void {
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (character === '"') i = endOfString(text, i);
    else if (character === "}" || character === "]") depth--;
    else if ((character === "{" || character === "[") && ++depth > deepestNesting)
      throw malformed(source, `its header is nested deeper than ${deepestNesting} levels.`);
  }
}

/** `text` is valid JSON here, so a string is a key exactly where a colon follows it. */
function expectUniqueKeys(text: string, source: Source): void {
  const open: Set<string>[] = [];
  for (let i = 0; i < text.length; i++) {
    if (text[i] === "{") open.push(new Set());
    else if (text[i] === "}") open.pop();
    else if (text[i] === '"') {
      const end = endOfString(text, i);
      if (isColonNext(text, end + 1)) {
        const key = JSON.parse(text.slice(i, end + 1)) as string;
        const keys = open[open.length - 1];
        if (keys.has(key)) throw malformed(source, `its header has the key "${key}" twice.`);
        keys.add(key);
      }
      i = end;
    }
  }
}

/** Position of the quote that ends the string which begins at `start`. */
function endOfString(text: string, start: number): number {
  let i = start + 1;
  while (i < text.length && text[i] !== '"') i += text[i] === "\\" ? 2 : 1;
  return i;
}

function isColonNext(text: string, position: number): boolean {
  let i = position;
  while (text[i] === " " || text[i] === "\t" || text[i] === "\n" || text[i] === "\r") i++;
  return text[i] === ":";
}

function parseMetadata(value: unknown, source: Source): Record<string, string> {
  if (!isRecord(value) || Object.values(value).some((text) => typeof text !== "string"))
    throw malformed(source, `its ${metadataKey} is not an object of strings.`);
  return value as Record<string, string>;
}

function parseEntry(name: string, value: unknown, dataLength: number, source: Source): Entry {
  const refuse = (problem: string): FormatError => malformed(source, `tensor "${name}" ${problem}`);
  if (!isRecord(value)) throw refuse("is not described by an object.");
  const { dtype, shape, data_offsets: offsets } = value;
  if (!isRawDType(dtype)) throw refuse(`has dtype ${JSON.stringify(dtype)}; known are ${knownRawDTypes}.`);
  if (!isListOfSizes(shape)) throw refuse(`has shape ${JSON.stringify(shape)}, expected a list of sizes.`);
  if (!isListOfSizes(offsets) || offsets.length !== 2)
    throw refuse(`has data_offsets ${JSON.stringify(offsets)}, expected [begin, end].`);
  const [begin, end] = offsets;
  if (begin > end || end > dataLength)
    throw refuse(`has data_offsets [${begin}, ${end}], which do not lie within the ${dataLength} bytes of data.`);
  const bytes = rawBytes(dtype, shape);
  if (bytes !== end - begin)
    throw refuse(`is ${dtype} ${showShape(shape)}, which takes ${bytes} bytes, but has ${end - begin}.`);
  return { name, dtype, shape, begin, end };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The data must be covered without overlaps and without gaps, in which something could hide. */
function expectFullCover(entries: readonly Entry[], dataLength: number, source: Source): void {
  let covered = 0;
  let last = "the header";
  for (const { name, begin, end } of [...entries].sort((a, b) => a.begin - b.begin || a.end - b.end)) {
    const where = `tensor "${name}" begins at byte ${begin} of the data`;
    if (begin < covered) throw malformed(source, `${where}, within ${last}, which ends at ${covered}.`);
    if (begin > covered) throw malformed(source, `${where}, but ${last} ends at ${covered}: there is a gap.`);
    covered = end;
    last = `tensor "${name}"`;
  }
  if (covered !== dataLength)
    throw malformed(source, `${last} ends at byte ${covered} of the data, but ${dataLength} are there.`);
}

/** What a file is made of: tensors by name, in any of the forms that JavaScript has for that. */
export type NamedTensors =
  Readonly<Record<string, Tensor | RawTensor>> | Iterable<readonly [name: string, tensor: Tensor | RawTensor]>;

/**
 * The bytes of a file with these tensors, as `writeSafetensors` writes it (`safetensors.torch.save`); each is aligned to
 * its elements, however many there are.
 */
export async function serializeSafetensors(
  tensors: NamedTensors,
  metadata: Readonly<Record<string, string>> = {},
): Promise<Uint8Array<ArrayBuffer>> {
  const pieces = await serialize("serializeSafetensors", tensors, metadata);
  const bytes = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let position = 0;
  for (const piece of pieces) {
    bytes.set(piece, position);
    position += piece.length;
  }
  return bytes;
}

/**
 * Writes a file, whole or not at all (`safetensors.torch.save_file`): of tensors, the elements that they have now and as
 * they lie (`saveWeights` writes those of a model in PyTorch's layouts), of raw ones any dtype. Throws ArgumentError for
 * what cannot be written.
 */
export async function writeSafetensors(
  path: string,
  tensors: NamedTensors,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  await writeFileAtomically(path, await serialize("writeSafetensors", tensors, metadata));
}

async function serialize(
  op: string,
  tensors: NamedTensors,
  metadata: Readonly<Record<string, string>>,
): Promise<Uint8Array[]> {
  const header: [string, unknown][] = expectMetadata(op, metadata) ? [[metadataKey, metadata]] : [];
  // All reads begin at once, so that the file shows one moment of training.
  const raw = await Promise.all(
    pairsOf(op, tensors).map(async ([name, tensor]) => [name, await rawOf(op, `tensor "${name}"`, tensor)] as const),
  );
  const sorted = sortForAlignment(op, raw);
  let end = 0;
  for (const [name, { dtype, shape, data }] of sorted) {
    const begin = end;
    end += data.byteLength;
    header.push([name, { dtype, shape, data_offsets: [begin, end] }]);
  }
  const text = new TextEncoder().encode(JSON.stringify(Object.fromEntries(header)));
  const padded = new Uint8Array(Math.ceil(text.length / 8) * 8).fill(" ".charCodeAt(0));
  padded.set(text);
  const prefix = new Uint8Array(lengthBytes);
  new DataView(prefix.buffer).setBigUint64(0, BigInt(padded.length), true);
  return [prefix, padded, ...sorted.map(([, tensor]) => bytesOfRaw(tensor))];
}

/** Names and tensors one by one; refuses what has none, as callers without types may give it. */
function pairsOf(op: string, tensors: NamedTensors): (readonly [string, Tensor | RawTensor])[] {
  if (typeof tensors !== "object" || tensors === null || tensors instanceof Tensor)
    throw new ArgumentError({
      op,
      problem: `was given ${showValue(tensors)}, expected tensors by name.`,
      advice: "Write { name: tensor }, or give a Map or a list of [name, tensor].",
    });
  if (!(Symbol.iterator in tensors)) return Object.entries(tensors);
  const pairs = [...(tensors as Iterable<readonly [string, Tensor | RawTensor]>)];
  pairs.forEach((pair: unknown, i) => {
    if (!Array.isArray(pair) || pair.length !== 2 || typeof pair[0] !== "string")
      throw new ArgumentError({ op, problem: `entry ${i} is ${showValue(pair)}, expected [name, tensor].` });
  });
  return pairs;
}

/** Widest elements first, so that every tensor begins at a multiple of its own width; then by name, as the reference. */
function sortForAlignment(
  op: string,
  tensors: readonly (readonly [string, RawTensor])[],
): (readonly [string, RawTensor])[] {
  const byName = new Map<string, RawTensor>();
  for (const [name, tensor] of tensors) {
    const flaw = byName.has(name) ? "is given twice." : flawOfEntry(name, tensor);
    if (flaw !== undefined) throw new ArgumentError({ op, problem: `tensor "${name}" ${flaw}` });
    byName.set(name, tensor);
  }
  const width = (tensor: RawTensor): number => rawArrays[tensor.dtype].BYTES_PER_ELEMENT;
  return [...byName].sort(([a, x], [b, y]) => width(y) - width(x) || (a < b ? -1 : 1));
}

function flawOfEntry(name: string, tensor: RawTensor): string | undefined {
  if (name === metadataKey) return "has the name that the format keeps for its metadata.";
  return flawOfRaw(tensor);
}

/** Whether there is any metadata; refuses what is none. */
function expectMetadata(op: string, metadata: Readonly<Record<string, string>>): boolean {
  if (!isRecord(metadata))
    throw new ArgumentError({ op, problem: `metadata is ${showValue(metadata)}, expected an object of strings.` });
  for (const [key, value] of Object.entries(metadata))
    if (typeof value !== "string")
      throw new ArgumentError({ op, problem: `metadata "${key}" is ${showValue(value)}, expected a string.` });
  return Object.keys(metadata).length > 0;
}

function malformed({ op, file }: Source, problem: string, cause?: unknown): FormatError {
  return new FormatError({ op, problem: `${file} is not a safetensors file: ${problem}`, cause });
}
