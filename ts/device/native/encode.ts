// Commands and programs as words for native code: every word is a float64, and every integer in it is exact.
//
//   command list := command*
//   command      := op code, length in words, has output (0|1), number of inputs, part, operands (output first), attributes
//   part         := 0: it runs for itself
//                 | 2: joined ones follow, which its kernel may run on each part of its output
//                 | 1 (part by part, joined ones follow) or 3 (joined to the command before), then whether parts are whole
//                   images (0|1), and how each input lies beside the result (0 element, 1 image, 2 whole)
//   operand      := 0 where absent, else: buffer, dtype, offset, pitch, rank, sizes
//   attribute    := by kind, in the signature's order: int, float, bool and an enumeration's index take one word;
//                   ints the length and then the elements; seed the low and the high 32 bits
//
// A program is a command list, that of all its lists one after the other, and a second array:
//
//   layout      := check finite (0|1), precision (0 float32, 1 tf32, 2 bf16), lists, slots, reports, temporaries, instruction*
//   lists       := how many, the number of commands of each
//   slots       := how many, slot*
//   slot        := list, number of places, (list, command in the list, attribute in the signature)*
//   reports     := how many, operand*
//   temporaries := how many, (buffer, offset and size in bytes, first and last command, counted over all lists)*
//   instruction := 0, list | 1, times: what follows up to its 2 is a loop | 2

import { DeviceError, LangevinError } from "../../errors/index.ts";
import type { Alignment, AnyAttributes, AnyOp, AttributeKind, StoredType } from "../../ops/index.ts";
import { maxRank } from "../../ops/checks.ts";
import { signatureText } from "../../ops/index.ts";
import type { AttributePlace, Command, Operand, Program, ProgramStep } from "../executor.ts";
import { alignmentOf, precisions } from "../executor.ts";

/** Numbers of the element types in operands. */
export const dtypeCodes: Readonly<Record<StoredType, number>> = { float32: 0, int32: 1, float64: 2, bfloat16: 3 };

const headerWords = 4;
const roles = { alone: 0, partwise: 1, epilogue: 2, joined: 3 } as const;
const alignments: readonly Alignment[] = ["element", "image", "whole"];
/** Words of an operand besides its sizes, and sizes. */
const maxOperandWords = 5 + maxRank;

/**
 * Gives each record the op code of its kernel. Throws an error that names every op whose kernel is missing or was written
 * for other attributes, and every kernel without a record. It is no DeviceError: the device is there, so that choosing
 * another one quietly would be wrong.
 */
export function matchKernels(
  records: readonly AnyOp[],
  kernels: readonly { readonly name: string; readonly signature: string }[],
): Map<AnyOp, number> {
  const codes = new Map(kernels.map(({ name }, code) => [name, code]));
  const matched = new Map<AnyOp, number>();
  const problems: string[] = [];
  for (const record of records) {
    const code = codes.get(record.name);
    codes.delete(record.name);
    if (record.view) continue;
    if (code === undefined) problems.push(`${record.name} has no kernel`);
    else if (kernels[code].signature !== signatureText(record.attributes))
      problems.push(
        `${record.name} takes (${signatureText(record.attributes)}), its kernel (${kernels[code].signature})`,
      );
    else matched.set(record, code);
  }
  for (const name of codes.keys()) problems.push(`kernel ${name} belongs to no op`);
  if (problems.length > 0)
    throw new LangevinError({
      op: "matchKernels",
      problem: `the native addon does not fit this version of the package: ${problems.join("; ")}.`,
      advice: 'Compile it anew with "npx langevin build".',
    });
  return matched;
}

interface Encoding {
  readonly code: number;
  readonly attributes: readonly (readonly [name: string, kind: AttributeKind])[];
}

/** Encodes command lists into one array that it keeps and enlarges. */
export class CommandEncoder {
  /** The words of the last list; those from `count` on mean nothing. */
  words = new Float64Array(1024);
  count = 0;
  readonly #encodings: Map<AnyOp, Encoding>;

  constructor(codes: ReadonlyMap<AnyOp, number>) {
    this.#encodings = new Map();
    for (const [op, code] of codes)
      this.#encodings.set(op, { code, attributes: Object.entries<AttributeKind>(op.attributes) });
  }

  encode(commands: readonly Command[]): void {
    this.count = 0;
    this.#list(commands);
  }

  /** Encodes all commands of a program, and returns its layout. */
  encodeProgram(program: Program): Float64Array {
    const { lists, slots, reports, steps, checkFinite, precision = "float32", temporaries = [] } = program;
    this.count = 0;
    for (const list of lists) this.#list(list);
    return Float64Array.from([
      Number(checkFinite),
      precisions.indexOf(precision),
      lists.length,
      ...lists.map((list) => list.length),
      slots.length,
      ...slots.flatMap(({ list, places }) => [
        list,
        places.length,
        ...places.flatMap((place) => placeWords(place, lists)),
      ]),
      reports.length,
      ...reports.flatMap(operandWords),
      temporaries.length,
      ...temporaries.flatMap(({ buffer, byteOffset, bytes, start, end }) => [buffer, byteOffset, bytes, start, end]),
      ...instructionWords(steps),
    ]);
  }

  #list(commands: readonly Command[]): void {
    for (let i = 0; i < commands.length; i++)
      this.#command(commands[i], i + 1 < commands.length && commands[i + 1].joined === true);
  }

  #command(command: Command, isFollowed: boolean): void {
    const { op, inputs, output } = command;
    const encoding = this.#encodings.get(op);
    if (encoding === undefined)
      throw new DeviceError({ op: op.name, problem: "this op is none of the instruction set that the device runs." });
    const start = this.count;
    this.#reserve(headerWords + 2 + inputs.length + maxOperandWords * (inputs.length + 1));
    const words = this.words;
    words[start] = encoding.code;
    words[start + 2] = output === undefined ? 0 : 1;
    words[start + 3] = inputs.length;
    this.count = start + headerWords;
    this.#part(command, isFollowed);
    if (output !== undefined) this.#operand(op, output);
    for (let i = 0; i < inputs.length; i++) {
      const input = inputs[i];
      if (input === undefined) words[this.count++] = 0;
      else this.#operand(op, input);
    }
    for (const [name, kind] of encoding.attributes) this.#attribute(op, name, kind, command.attributes);
    this.words[start + 1] = this.count - start;
  }

  #part({ op, inputs, joined = false }: Command, isFollowed: boolean): void {
    const role = joined ? "joined" : !isFollowed ? "alone" : op.parts ? "partwise" : "epilogue";
    this.words[this.count++] = roles[role];
    if (role === "alone" || role === "epilogue") return;
    this.words[this.count++] = op.wholeImages ? 1 : 0;
    for (let i = 0; i < inputs.length; i++) this.words[this.count++] = alignments.indexOf(alignmentOf(op, i));
  }

  #operand(op: AnyOp, operand: Operand): void {
    const { words } = this;
    const { shape } = operand;
    if (shape.length > maxRank)
      throw new DeviceError({ op: op.name, problem: `a tensor of rank ${shape.length} exceeds rank ${maxRank}.` });
    let at = this.count;
    words[at++] = operand.buffer;
    words[at++] = dtypeCodes[operand.dtype];
    words[at++] = operand.offset;
    words[at++] = operand.pitch;
    words[at++] = shape.length;
    for (let i = 0; i < shape.length; i++) words[at++] = shape[i];
    this.count = at;
  }

  #attribute(op: AnyOp, name: string, kind: AttributeKind, attributes: AnyAttributes): void {
    const value = attributes[name];
    if (kind === "ints") {
      const list = value as readonly number[];
      this.#reserve(1 + list.length);
      this.words[this.count++] = list.length;
      for (let i = 0; i < list.length; i++) this.words[this.count++] = list[i];
      return;
    }
    this.#reserve(2);
    if (kind === "seed") {
      this.words[this.count++] = Number(BigInt.asUintN(32, value as bigint));
      this.words[this.count++] = Number(BigInt.asUintN(32, (value as bigint) >> 32n));
    } else if (typeof kind === "string") {
      this.words[this.count++] = Number(value);
    } else {
      const index = kind.indexOf(value as string);
      if (index < 0)
        throw new DeviceError({ op: op.name, problem: `${name} is ${String(value)}, not one of ${kind.join(", ")}.` });
      this.words[this.count++] = index;
    }
  }

  #reserve(more: number): void {
    if (this.count + more <= this.words.length) return;
    const larger = new Float64Array(2 * (this.count + more));
    larger.set(this.words);
    this.words = larger;
  }
}

function operandWords({ buffer, dtype, offset, pitch, shape }: Operand): number[] {
  return [buffer, dtypeCodes[dtype], offset, pitch, shape.length, ...shape];
}

/** List, command and attribute of a place. */
function placeWords({ list, command, attribute }: AttributePlace, lists: Program["lists"]): number[] {
  const op = lists[list]?.[command]?.op;
  if (op === undefined)
    throw new DeviceError({ op: "load", problem: `there is no command ${command} in list ${list}.` });
  const attributes = Object.entries<AttributeKind>(op.attributes);
  const index = attributes.findIndex(([name, kind]) => name === attribute && (kind === "int" || kind === "float"));
  if (index < 0)
    throw new DeviceError({
      op: op.name,
      problem: `a slot cannot change ${attribute}: it is no int or float attribute.`,
    });
  return [list, command, index];
}

function instructionWords(steps: readonly ProgramStep[]): number[] {
  return steps.flatMap((step) =>
    "list" in step ? [0, step.list] : [1, step.times, ...instructionWords(step.body), 2],
  );
}
