// Rewrites of a recorded program that save memory and copies and change no bit: results go straight to where they would be
// copied, parts of a concatenation are computed in their place, and element-wise results take over an operand's memory.

import type { BufferId, Operand } from "../device/executor.ts";
import { bytesOf, ops, sizeOf } from "../ops/index.ts";
import { Homes, colsOf, fitsRows, isDense } from "./homes.ts";
import type { PlacedCommand } from "./lifetimes.ts";
import { extend, lifetimes, operandsOf, placeCommands, usesOf } from "./lifetimes.ts";
import type { RecordedBuffer, RecordedCommand, RecordedNode, RecordedProgram } from "./recorded.ts";
import { isLoop } from "./recorded.ts";

/** A program whose operands lie where they will lie, but for the arena's order. */
export function place(program: RecordedProgram): RecordedProgram {
  const rewrite = new Rewrite(program);
  rewrite.writeToTargets();
  rewrite.joinInPlace();
  return new Rewrite(rewrite.result()).takeOver();
}

class Rewrite {
  readonly #program: RecordedProgram;
  readonly #placed: readonly PlacedCommand[];
  readonly #uses: ReadonlyMap<BufferId, readonly PlacedCommand[]>;
  readonly #outputs: ReadonlySet<BufferId>;
  readonly #homes = new Homes();
  readonly #dropped = new Set<RecordedCommand>();

  constructor(program: RecordedProgram) {
    this.#program = program;
    this.#placed = placeCommands(program.nodes);
    this.#outputs = new Set(program.outputs.map(({ buffer }) => buffer));
    this.#uses = usesOf(this.#placed);
  }

  /** assign(target, source): what made the source writes to the target, if nobody looks there in between. */
  writeToTargets(): void {
    for (const copy of this.#placed) {
      if (copy.command.op !== ops.assign) continue;
      const [target, source] = copy.command.inputs as Operand[];
      const maker = this.#makerOf(source, copy);
      if (!maker || !isDense(target) || this.#outputs.has(source.buffer) || this.#homes.has(target.buffer)) continue;
      if (this.#uses.get(source.buffer)!.at(-1) !== copy || this.#isWritten(source.buffer, maker)) continue;
      const between = this.#placed.slice(maker.position + 1, copy.position);
      if (between.some(({ command }) => operandsOf(command).some((operand) => overlap(operand, target)))) continue;
      const { op, inputs, output } = maker.command;
      const mayTakeOver = inputs.every(
        (input, i) =>
          !input ||
          !overlap(input, target) ||
          (op.inPlace?.includes(i) && sameRegion(input, { ...output!, ...placeOf(target) })),
      );
      if (!mayTakeOver) continue;
      this.#homes.set(source.buffer, placeOf(target));
      this.#dropped.add(copy.command);
    }
  }

  /** concat along the last axis: its parts are computed as columns of the whole. */
  joinInPlace(): void {
    for (const join of this.#placed) {
      const { op, attributes, output, inputs } = join.command;
      if (op !== ops.concat || !output) continue;
      const last = output.shape.length - 1;
      if (attributes.axis !== last && attributes.axis !== -1) continue;
      if (this.#homes.has(output.buffer) || this.#buffer(output.buffer)?.data) continue;
      let column = 0;
      let joined = 0;
      for (const part of inputs as Operand[]) {
        const cols = colsOf(part);
        if (this.#fitsColumns(part, join, cols)) {
          const rows = { cols, pitch: output.pitch };
          this.#homes.set(part.buffer, { buffer: output.buffer, offset: output.offset + column, rows });
          joined++;
        }
        column += cols;
      }
      if (joined === inputs.length) this.#dropped.add(join.command);
    }
  }

  #fitsColumns(part: Operand, join: PlacedCommand, cols: number): boolean {
    const maker = this.#makerOf(part, join);
    if (!maker || this.#homes.isHost(part.buffer)) return false;
    // What is written later to one of them must not show in the other.
    const whole = join.command.output!.buffer;
    if (this.#isWritten(part.buffer, maker) || this.#isWritten(whole, join)) return false;
    const operands = this.#uses.get(part.buffer)!.flatMap(({ command }) => operandsOf(command));
    const own = [...operands, ...this.#program.outputs].filter(({ buffer }) => buffer === part.buffer);
    return own.every((operand) => fitsRows(operand, cols));
  }

  /** Whether another command than its maker writes to a buffer. */
  #isWritten(buffer: BufferId, maker: PlacedCommand): boolean {
    return this.#uses.get(buffer)!.some((use) => use !== maker && writesTo(use.command, buffer));
  }

  /** Element by element, a result replaces an operand that nobody needs afterwards. Operands are resolved already. */
  takeOver(): RecordedProgram {
    const lives = lifetimes(this.#placed, this.#program.outputs);
    /** What a buffer became: itself, or the one whose memory it took over. */
    const roots = new Map<BufferId, BufferId>();
    const rootOf = (buffer: BufferId): BufferId => roots.get(buffer) ?? buffer;
    for (const { command, position, loops } of this.#placed) {
      const { op, inputs, output } = command;
      if (!op.inPlace || !output || output.buffer >= 0) continue;
      const whole = this.#buffer(output.buffer)!;
      const first = this.#uses.get(output.buffer)![0];
      if (first.command !== command || !coversAll(output, whole) || roots.has(output.buffer)) continue;
      for (const index of op.inPlace) {
        const input = inputs[index];
        if (!input || input.buffer >= 0 || !sameRegion(input, { ...output, buffer: input.buffer })) continue;
        const memory = this.#buffer(input.buffer)!;
        const root = rootOf(input.buffer);
        const life = lives.get(root)!;
        const maker = this.#uses.get(input.buffer)![0];
        const isOwn = !memory.data && !memory.table && coversAll(input, memory) && memory.bytes === whole.bytes;
        const isLast =
          life.end === position && sameLoops(maker.loops, loops) && sameLoops(this.#uses.get(root)![0].loops, loops);
        const others = inputs.every(
          (other, i) =>
            !other || rootOf(other.buffer) !== root || (op.inPlace!.includes(i) && sameRegion(other, input)),
        );
        if (!isOwn || !isLast || !others) continue;
        extend(life, lives.get(output.buffer)!);
        roots.set(output.buffer, root);
        this.#homes.set(output.buffer, { buffer: root, offset: 0 });
        break;
      }
    }
    return this.result();
  }

  /** The program with operands where they lie now, without what was dropped. */
  result(): RecordedProgram {
    const resolve = (operand: Operand | undefined): Operand | undefined => operand && this.#homes.resolve(operand);
    const rewritten = (nodes: readonly RecordedNode[]): RecordedNode[] =>
      nodes.map((node) =>
        isLoop(node)
          ? { ...node, body: rewritten(node.body) }
          : {
              actions: node.actions,
              commands: node.commands
                .filter((command) => !this.#dropped.has(command))
                .map((command) => ({
                  ...command,
                  inputs: command.inputs.map(resolve),
                  output: resolve(command.output),
                })),
            },
      );
    return {
      nodes: rewritten(this.#program.nodes),
      buffers: this.#program.buffers,
      outputs: this.#program.outputs.map((operand) => this.#homes.resolve(operand)),
    };
  }

  #buffer(id: BufferId): RecordedBuffer | undefined {
    return this.#program.buffers.get(id);
  }

  /** The command that made all of an operand's buffer, in the same list before `reader`; undefined where that is not so. */
  #makerOf(operand: Operand, reader: PlacedCommand): PlacedCommand | undefined {
    const memory = this.#buffer(operand.buffer);
    if (!memory || memory.data || memory.table || this.#homes.has(operand.buffer)) return undefined;
    const maker = this.#uses.get(operand.buffer)![0];
    const { output } = maker.command;
    const made = output?.buffer === operand.buffer && coversAll(output, memory) && coversAll(operand, memory);
    return made && maker.list === reader.list && maker !== reader ? maker : undefined;
  }
}

function placeOf({ buffer, offset }: Operand): { readonly buffer: BufferId; readonly offset: number } {
  return { buffer, offset };
}

/** Whether an operand is all of its buffer. */
function coversAll(operand: Operand, { bytes }: RecordedBuffer): boolean {
  return operand.offset === 0 && isDense(operand) && sizeOf(operand.shape) * bytesOf(operand.dtype) === bytes;
}

function sameRegion(a: Operand, b: Operand): boolean {
  return (
    a.buffer === b.buffer &&
    a.offset === b.offset &&
    a.dtype === b.dtype &&
    a.shape.length === b.shape.length &&
    a.shape.every((n, i) => n === b.shape[i]) &&
    (isDense(a) ? isDense(b) : a.pitch === b.pitch)
  );
}

/** Whether two operands may share an element; rows between which others lie count as theirs. */
function overlap(a: Operand, b: Operand): boolean {
  if (a.buffer !== b.buffer) return false;
  const [startA, endA] = bytesSpanned(a);
  const [startB, endB] = bytesSpanned(b);
  return startA < endB && startB < endA;
}

function bytesSpanned(operand: Operand): readonly [start: number, end: number] {
  const size = bytesOf(operand.dtype);
  const count = sizeOf(operand.shape);
  const cols = colsOf(operand);
  const span = count === 0 ? 0 : (count / cols - 1) * operand.pitch + cols;
  return [operand.offset * size, (operand.offset + span) * size];
}

function writesTo({ op, inputs, output }: RecordedCommand, buffer: BufferId): boolean {
  return output?.buffer === buffer || (op.writes ?? []).some((index) => inputs[index]?.buffer === buffer);
}

function sameLoops(a: readonly unknown[], b: readonly unknown[]): boolean {
  return a.length === b.length && a.every((span, i) => span === b[i]);
}
