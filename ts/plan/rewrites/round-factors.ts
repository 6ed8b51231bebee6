// What products of precision "bf16" multiply is rounded once, right behind what makes it, and kept in 16 bits for all of them.

import type { BufferId, Operand } from "../../device/executor.ts";
import { bytesOf, roundToBf16, sizeOf } from "../../ops/index.ts";
import { colsOf, rowsOf } from "../homes.ts";
import type { RecordedBuffer, RecordedCommand, RecordedProgram } from "../recorded.ts";
import { accessesOf, overlap } from "../regions.ts";
import { canJoin } from "./parts.ts";
import { mapLists } from "./rewriting.ts";

/** Rows of copies begin at multiples of so many elements, 16 bytes, which kernels load at a time. */
const alignment = 8;

/** Puts `roundToBf16` into all lists, and lets products read what that leaves. Copies do not outlive a run of their list. */
export function roundFactors(program: RecordedProgram): RecordedProgram {
  const buffers = new Map(program.buffers);
  const nodes = mapLists(program.nodes, ({ commands, actions }) => ({
    actions,
    commands: new RoundedList(commands, buffers).commands(),
  }));
  return { ...program, nodes, buffers };
}

/** Float32 rows, and memory that holds them rounded. */
interface Copy {
  readonly source: Operand;
  readonly buffer: BufferId;
}

/** What a command wrote, by its number; a negative one stands for what is there before the list runs. */
interface Written {
  readonly maker: number;
  readonly operand: Operand;
  readonly layer: string;
}

/** A list whose products are given copies of their factors. */
class RoundedList {
  readonly #given: readonly RecordedCommand[];
  readonly #buffers: Map<BufferId, RecordedBuffer>;
  /** Those of which nothing has written to the source since. */
  #copies: Copy[] = [];
  /** What is inserted, by the number of the command that comes after it: first what is joined to the commands before. */
  readonly #inserted = new Map<number, RecordedCommand[]>();

  constructor(given: readonly RecordedCommand[], buffers: Map<BufferId, RecordedBuffer>) {
    this.#given = given;
    this.#buffers = buffers;
  }

  commands(): RecordedCommand[] {
    const changed = this.#given.map((command, position) => {
      const inputs = command.inputs.map((input, i) =>
        input && command.op.factors?.includes(i) ? this.#rounded(input, position) : input,
      );
      this.#copies = this.#copies.filter(({ source }) => !writes(command, source));
      return { ...command, inputs };
    });
    return changed.flatMap((command, position) => [...(this.#inserted.get(position) ?? []), command]);
  }

  /** A factor of the product at `position`, where it lies rounded. */
  #rounded(factor: Operand, position: number): Operand {
    if (factor.dtype !== "float32" || sizeOf(factor.shape) === 0) return factor;
    let copy = this.#copies.find(({ source }) => contains(source, factor));
    if (!copy) this.#copies.push((copy = this.#copyOf(factor, position)));
    return inCopy(factor, copy);
  }

  /** Rounds a factor, or all that was made with it, behind what makes it; in front of all where that is no command of the list. */
  #copyOf(factor: Operand, position: number): Copy {
    const { layer } = this.#given[position];
    const maker = this.#lastWriter(factor, position);
    if (maker < 0) return this.#round(factor, [{ maker, operand: factor, layer }]);
    const made = this.#writtenBy(maker).find(({ operand }) => contains(operand, factor));
    const isThere = made && this.#lastWriter(made.operand, position) === maker;
    if (isThere && (colsOf(made.operand) === colsOf(factor) || this.#joins(made)))
      return this.#round(made.operand, [made]);
    const parts = this.#partsOf(factor, position);
    if (parts?.every((part) => this.#joins(part))) return this.#round(factor, parts);
    return this.#round(factor, [{ maker, operand: factor, layer }]);
  }

  #lastWriter(operand: Operand, before: number): number {
    return this.#given.findLastIndex((command, at) => at < before && writes(command, operand));
  }

  #writtenBy(maker: number): Written[] {
    const command = this.#given[maker];
    return writesOf(command).map((operand) => ({ maker, operand, layer: command.layer }));
  }

  /** The commands that made a factor, each some of its columns, as those of a concatenation; undefined if it was made otherwise. */
  #partsOf(factor: Operand, position: number): Written[] | undefined {
    const parts: Written[] = [];
    let columns = 0;
    for (let maker = position - 1; maker >= 0 && columns < colsOf(factor); maker--)
      for (const written of this.#writtenBy(maker)) {
        const { operand } = written;
        if (!overlap(operand, factor) || parts.some((later) => contains(later.operand, operand))) continue;
        if (!contains(factor, operand) || parts.some((later) => sharesColumns(later.operand, operand)))
          return undefined;
        parts.push(written);
        columns += colsOf(operand);
      }
    return columns === colsOf(factor) ? parts : undefined;
  }

  /** Whether what was written can be rounded part by part with that. */
  #joins({ maker, operand }: Written): boolean {
    if (maker < 0) return false;
    const { start, end } = this.#groupOf(maker);
    const inserted = (this.#inserted.get(end) ?? []).filter(({ joined }) => joined);
    const copy = { source: operand, buffer: this.#nextBuffer };
    return canJoin([...this.#given.slice(start, end), ...inserted], roundingOf(operand, copy, ""));
  }

  /** The commands that run part by part with one: from the first to behind the last. */
  #groupOf(position: number): { readonly start: number; readonly end: number } {
    let [start, end] = [position, position + 1];
    while (start >= 0 && this.#given[start].joined) start--;
    while (this.#given.at(end)?.joined) end++;
    return { start, end };
  }

  get #nextBuffer(): BufferId {
    return -1 - this.#buffers.size;
  }

  /** Rounds the parts of rows behind what made them. */
  #round(source: Operand, parts: readonly Written[]): Copy {
    const copy = { source, buffer: this.#nextBuffer };
    this.#buffers.set(copy.buffer, { bytes: bytesOf("bfloat16") * rowsOf(source) * pitchOf(source) });
    for (const part of parts) {
      const place = this.#groupOf(part.maker).end;
      const rounding = { ...roundingOf(part.operand, copy, part.layer), joined: this.#joins(part) };
      const there = [...(this.#inserted.get(place) ?? []), rounding];
      this.#inserted.set(place, [...there.filter(({ joined }) => joined), ...there.filter(({ joined }) => !joined)]);
    }
    return copy;
  }
}

function roundingOf(source: Operand, copy: Copy, layer: string): RecordedCommand {
  return { op: roundToBf16, attributes: {}, inputs: [source], output: inCopy(source, copy), perStep: [], layer };
}

/** Rows of a copy's source where they lie rounded. */
function inCopy(operand: Operand, { source, buffer }: Copy): Operand {
  const offset = operand.offset - source.offset;
  return { buffer, offset, shape: operand.shape, pitch: pitchOf(source), dtype: "bfloat16" };
}

function pitchOf(operand: Operand): number {
  return Math.ceil(colsOf(operand) / alignment) * alignment;
}

/** What a command writes. */
function writesOf(command: RecordedCommand): Operand[] {
  return accessesOf(command)
    .filter((access) => access.writes)
    .map(({ operand }) => operand);
}

function writes(command: RecordedCommand, operand: Operand): boolean {
  return writesOf(command).some((written) => overlap(written, operand));
}

/** Whether a part is columns of all rows, under whatever shape, that begin where rows of a copy may. */
function contains(whole: Operand, part: Operand): boolean {
  const column = part.offset - whole.offset;
  const sameRows = rowsOf(part) === rowsOf(whole) && (rowsOf(part) <= 1 || part.pitch === whole.pitch);
  const inside = column >= 0 && column + colsOf(part) <= colsOf(whole);
  return part.buffer === whole.buffer && part.dtype === whole.dtype && sameRows && inside && column % alignment === 0;
}

/** Whether two parts of the same rows have columns in common. */
function sharesColumns(a: Operand, b: Operand): boolean {
  return a.offset < b.offset + colsOf(b) && b.offset < a.offset + colsOf(a);
}
