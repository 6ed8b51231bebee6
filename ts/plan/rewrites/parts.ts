// Commands that run part by part, one after the other on each part, which so stays in the caches: the epilogues of products and
// norms (activation, time embedding, residual), element-wise chains, noise and what takes it, optimizer and average of weights.

import type { Operand } from "../../device/executor.ts";
import { alignmentOf, writtenShape } from "../../device/executor.ts";
import type { RecordedCommand, RecordedProgram } from "../recorded.ts";
import type { Access } from "../regions.ts";
import { accessesOf, conflict, overlap, sameRegion, sameShape } from "../regions.ts";
import { mapLists } from "./rewriting.ts";

/** A command moves down past so many others at most, to what follows on it: its operands are held so much longer. */
const farthest = 16;

/** Most commands in a group: what they use is held until the last of them has run. */
const mostCommands = 16;

/** Most operands of a command that runs part by part. */
const mostOperands = 9;

/** Joins commands to those before them whose results they use, or that use the same. */
export function runInParts(program: RecordedProgram): RecordedProgram {
  return {
    ...program,
    nodes: mapLists(program.nodes, ({ commands, actions }) => ({ actions, commands: inGroups(commands) })),
  };
}

/** Commands that run part by part together, or one that runs for itself. */
interface Group {
  readonly commands: RecordedCommand[];
  readonly accesses: Access[];
}

function inGroups(commands: readonly RecordedCommand[]): RecordedCommand[] {
  const groups: Group[] = [];
  for (const command of commands) {
    const accesses = accessesOf(command);
    const place = groupFor(groups, command, accesses);
    if (place < 0) groups.push({ commands: [command], accesses });
    else {
      const [group] = groups.splice(place, 1);
      group.commands.push({ ...command, joined: true });
      group.accesses.push(...accesses);
      groups.push(group);
    }
  }
  return groups.flatMap((group) => group.commands);
}

/** The number of the group that a command can join and whose memory it shares; -1 if there is none. */
function groupFor(groups: readonly Group[], command: RecordedCommand, accesses: readonly Access[]): number {
  if (!command.op.parts || command.inputs.length > mostOperands) return -1;
  const passed: Access[] = [];
  for (let i = groups.length - 1; i >= 0 && i >= groups.length - 1 - farthest; i--) {
    const group = groups[i];
    if (
      shares(group.accesses, accesses, writtenShape(command)) &&
      canJoin(group.commands, command) &&
      !conflict(group.accesses, passed)
    )
      return i;
    passed.push(...group.accesses);
  }
  return -1;
}

/** Whether both use a tensor of the result's shape, so that its parts stay in the caches from one to the other. */
function shares(group: readonly Access[], accesses: readonly Access[], shape: Operand["shape"]): boolean {
  return accesses.some(
    ({ operand }) => sameShape(operand.shape, shape) && group.some((access) => overlap(access.operand, operand)),
  );
}

/** Whether a command may run on a part as soon as those of a group have run on it. */
export function canJoin(commands: readonly RecordedCommand[], command: RecordedCommand): boolean {
  const shape = writtenShape(command);
  const [head] = commands;
  if (commands.length === mostCommands) return false;
  if (!(head.op.parts ?? head.op.epilogue) || !sameShape(writtenShape(head), shape)) return false;
  return commands.every((other) =>
    accessesOf(other).every((a) =>
      accessesOf(command).every(
        (b) =>
          !(a.writes || b.writes) ||
          !overlap(a.operand, b.operand) ||
          // What one of them writes is, for the other one, the same elements of the same part.
          (sameRegion(a.operand, b.operand) && isInPart(other, a, shape) && isInPart(command, b, shape)),
      ),
    ),
  );
}

/** Whether a command, in a part of its result, uses the same part of an operand and nothing else of it. */
function isInPart(command: RecordedCommand, { operand, input }: Access, shape: Operand["shape"]): boolean {
  if (!sameShape(operand.shape, shape)) return false;
  if (input < 0) return true;
  return command.op.parts !== undefined && alignmentOf(command.op, input) === "element";
}
