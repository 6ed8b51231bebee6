// What the goals' workloads cost on a GPU, counted from the plans that run them: arithmetic, bytes and launches.

import type { Module, Tensor, TensorTree } from "langevin";
import { Adam, mse, noGrad, randint, randn, tensor } from "langevin";
import { schedule } from "../../bench/workloads/training.ts";
import type { Network } from "../../bench/workloads/training.ts";
import type { BufferId, Executor, Operand, Precision } from "../../ts/device/executor.ts";
import { ops, roundToBf16 } from "../../ts/ops/index.ts";
import { bytesMoved, flopsOf, runsOfCommands } from "../../ts/plan/cost.ts";
import { Plan } from "../../ts/plan/plan.ts";
import { placeCommands, usesOf } from "../../ts/plan/lifetimes.ts";
import type { RecordedCommand, RecordedProgram } from "../../ts/plan/recorded.ts";
import { listsOf } from "../../ts/plan/recorded.ts";
import { recordOnce } from "../../ts/tensor/captured-plan.ts";

/** One command of a plan. */
export interface CommandCost {
  readonly flops: number;
  readonly bytes: number;
  /** Whether its arithmetic is products of matrices, which tensor cores do. */
  readonly isProduct: boolean;
}

/** A step of a plan. */
export interface PlannedCost {
  readonly flops: number;
  readonly bytes: number;
  readonly commands: readonly CommandCost[];
}

/** The function's plan, by default in float32. Nothing is executed. */
export function planOf(fn: () => TensorTree | void, executor: Executor, precision?: Precision): Plan {
  const { program } = recordOnce(fn, []);
  const options = { steps: 1, reports: [], fuse: true, checkFinite: false, poison: false, precision };
  return new Plan(program, executor, options);
}

/** Commands with those that are joined to them, and with the rounding of what they write. */
function groupsOf(commands: readonly RecordedCommand[]): RecordedCommand[][] {
  const groups: RecordedCommand[][] = [];
  for (const command of commands)
    if (command.joined || isStoredBy(command, groups.at(-1))) groups.at(-1)!.push(command);
    else groups.push([command]);
  return groups;
}

/** Whether a rounding follows on a norm's gradient, whose kernel stores that, too, though nothing of it runs part by part. */
function isStoredBy({ op, inputs }: RecordedCommand, group: RecordedCommand[] | undefined): boolean {
  const [head] = group ?? [];
  return op === roundToBf16 && head?.op === ops.groupNormGradient && head.output!.buffer === inputs[0]!.buffer;
}

/**
 * A product, norm or element-wise command on a GPU takes what is joined to it into its kernel, and keeps in registers what that alone
 * reads; elsewhere each command reads and writes memory.
 */
function bytesOfGroup(
  group: RecordedCommand[],
  staysInside: (buffer: BufferId) => boolean,
): (readonly [RecordedCommand, number])[] {
  const inMemory = (operand: Operand | undefined): Operand | undefined =>
    operand && staysInside(operand.buffer) ? undefined : operand;
  const seen = group.map((command) => ({
    ...command,
    inputs: command.inputs.map(inMemory),
    output: inMemory(command.output),
  }));
  const { op } = group[0];
  const isOnePass = op.epilogue || op === ops.groupNormGradient || group.every(isElementWise);
  const bytes = isOnePass ? bytesMoved(seen) : group.map((command) => bytesMoved([command])[0]);
  return group.map((command, i) => [command, bytes[i]]);
}

/** Whether CUDA's interpreter of chains does it. */
function isElementWise({ op }: RecordedCommand): boolean {
  return !op.writes && (op.parts?.every((alignment) => alignment === "element") ?? false);
}

/** Bytes that each command of a program reads and writes on a GPU. */
function bytesOfCommands({ nodes, outputs }: RecordedProgram): Map<RecordedCommand, number> {
  const uses = usesOf(placeCommands(nodes));
  const kept = new Set(outputs.map(({ buffer }) => buffer));
  /** Whether all that use a buffer are of one group, and it holds nothing afterwards. */
  const staysInside = (buffer: BufferId): boolean =>
    buffer < 0 && !kept.has(buffer) && uses.get(buffer)!.every(({ group }) => group === uses.get(buffer)![0].group);
  const groups = listsOf(nodes).flatMap(({ commands }) => groupsOf(commands));
  return new Map(groups.flatMap((group) => bytesOfGroup(group, staysInside)));
}

/** Counts what the function's plan does. */
export function plannedCost(fn: () => TensorTree | void, executor: Executor, precision?: Precision): PlannedCost {
  const plan = planOf(fn, executor, precision);
  const bytes = bytesOfCommands(plan.placed);
  const commands = [...runsOfCommands(plan.placed.nodes)].flatMap(([command, times]) => {
    const cost = {
      flops: flopsOf(command),
      bytes: bytes.get(command)!,
      isProduct: command.op.multiplyAdds !== undefined,
    };
    return Array.from({ length: times }, () => cost);
  });
  const sum = (key: "flops" | "bytes"): number => commands.reduce((total, command) => total + command[key], 0);
  return { flops: sum("flops"), bytes: sum("bytes"), commands };
}

type Size = readonly [height: number, width: number, channels: number];

/** A training step: timesteps, noise, forward, loss, backward, Adam. */
export function trainingStep(model: Network, size: Size, batch: number): () => void {
  const adam = new Adam(model.parameters(), { lr: 1e-4 });
  const x0 = randn([batch, ...size]);
  return () => {
    const t = randint(0, schedule.steps, [batch], { seed: 1, step: 0 });
    const noise = randn([batch, ...size], { seed: 1, step: 0 });
    const loss = mse(model.forward(schedule.addNoise(x0, t, noise), t), noise);
    loss.backward();
    adam.step();
  };
}

/** A reverse step of DDPM: forward, and x_{t-1} with its noise. */
export function samplingStep(model: Network & Module, size: Size, batch: number): () => Tensor {
  model.eval();
  const x = randn([batch, ...size]);
  const t = tensor(new Int32Array(batch).fill(schedule.steps / 2));
  return () => noGrad(() => schedule.reverseStep(x, t, model.forward(x, t), { seed: 1, step: 0 }));
}
