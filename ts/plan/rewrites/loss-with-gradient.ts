// A loss and its gradient, which read the same tensors, are computed in one pass over them.

import type { PlacedCommand } from "../lifetimes.ts";
import { ops } from "../../ops/index.ts";
import type { RecordedCommand, RecordedProgram } from "../recorded.ts";
import { accessesOf, conflict, coversAll, sameRegion, sameShape } from "../regions.ts";
import { Rewriting, mapLists } from "./rewriting.ts";

/** Replaces mseLoss and mseLossGradient of the same prediction and target by one command, where the second one stands. */
export function computeLossWithGradient(program: RecordedProgram): RecordedProgram {
  const { commands } = new Rewriting(program);
  const replaced = new Map<RecordedCommand, RecordedCommand[]>();
  for (const gradient of commands) {
    if (gradient.command.op !== ops.mseLossGradient) continue;
    const loss = commands.find((other) => isLossOf(other, gradient) && !replaced.has(other.command));
    if (!loss) continue;
    const between = commands.slice(loss.position + 1, gradient.position);
    const accesses = accessesOf(loss.command);
    if (between.some(({ command }) => conflict(accesses, accessesOf(command)))) continue;
    replaced.set(loss.command, []);
    replaced.set(gradient.command, [bothOf(loss.command, gradient.command)]);
  }
  const nodes = mapLists(program.nodes, (list) => ({
    actions: list.actions,
    commands: list.commands.flatMap((command) => replaced.get(command) ?? [command]),
  }));
  return gradientsInPlace({ ...program, nodes });
}

/** Lets gradients take over the memory of a prediction or target that nothing needs afterwards, as the op alone does. */
function gradientsInPlace(program: RecordedProgram): RecordedProgram {
  const rewriting = new Rewriting(program);
  for (const both of rewriting.commands) {
    const { op, inputs } = both.command;
    if (op !== ops.mseLossWithGradient) continue;
    const [, gradient, ...read] = inputs.map((input) => input!);
    const memory = rewriting.buffer(gradient.buffer);
    if (!memory || rewriting.usesOf(gradient.buffer)[0] !== both || !coversAll(gradient, memory)) continue;
    const spare = read.find((operand) => {
      const uses = rewriting.usesOf(operand.buffer);
      return (
        sameShape(operand.shape, gradient.shape) &&
        rewriting.makerOf(operand, both) !== undefined &&
        uses.at(-1) === both &&
        uses.every(({ list }) => list === both.list) &&
        !rewriting.isOutput(operand.buffer)
      );
    });
    if (spare) rewriting.homes.set(gradient.buffer, { buffer: spare.buffer, offset: 0 });
  }
  return rewriting.result();
}

function isLossOf(loss: PlacedCommand, gradient: PlacedCommand): boolean {
  const [one, other] = [loss.command, gradient.command];
  return (
    one.op === ops.mseLoss &&
    loss.list === gradient.list &&
    loss.position < gradient.position &&
    one.attributes.reduction === other.attributes.reduction &&
    sameRegion(one.inputs[0]!, other.inputs[0]!) &&
    sameRegion(one.inputs[1]!, other.inputs[1]!)
  );
}

function bothOf(loss: RecordedCommand, gradient: RecordedCommand): RecordedCommand {
  return {
    ...gradient,
    op: ops.mseLossWithGradient,
    inputs: [loss.output, gradient.output, ...gradient.inputs],
    output: undefined,
  };
}
