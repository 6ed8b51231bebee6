// What a model is made of and what it costs, read off recordings of its forward and its backward.

import { ArgumentError, showShape } from "../errors/index.ts";
import type { Shape } from "../ops/index.ts";
import { bytesOf } from "../ops/index.ts";
import { aligned, showBytes, showCount } from "../plan/figures.ts";
import { flopsOf, multiplyAddsOf, runsOfCommands } from "../plan/cost.ts";
import { Plan } from "../plan/plan.ts";
import type { RecordedStep } from "../tensor/captured-plan.ts";
import { recordOnce } from "../tensor/captured-plan.ts";
import { noGrad } from "../tensor/grad-mode.ts";
import type { Parameter } from "../tensor/parameter.ts";
import { adopt, scope } from "../tensor/scope.ts";
import { Tensor, defaultDType, executorOf, uninitialised } from "../tensor/tensor.ts";
import type { TensorTree } from "../tensor/tree.ts";
import { expectTree, tensorsIn } from "../tensor/tree.ts";

/** For what inputs a model is to be summarised: those of `forward`, or the size of a picture. */
export type SummaryOptions =
  | {
      /** The arguments of `forward`; values do not matter. */
      readonly inputs: readonly unknown[];
    }
  | {
      /** [H, W, C] of a picture, for a model that takes pictures [batch, H, W, C] and timesteps, int32 [batch]. */
      readonly size: readonly [height: number, width: number, channels: number];
      /** Number of pictures; default 1. */
      readonly batch?: number;
      /** What `forward` takes after these, as in `{ classLabels: null }`. */
      readonly conditions?: unknown;
    };

/** A layer that took part in the forward. */
export interface LayerSummary {
  /** Where it is, as errors and plans name it: `dit.blocks[0].attn`. */
  readonly path: string;
  /** Number of layers that it is in. */
  readonly depth: number;
  /** Name of its class. */
  readonly type: string;
  /** How often its forward was called; in `repeat` and `iterate`, as often as it was recorded. */
  readonly calls: number;
  /** Shapes of its results, of the last call. */
  readonly outputs: readonly Shape[];
  /** Number of values in its parameters and those of the layers in it. */
  readonly parameters: number;
  /** Products that it and the layers in it add up: the MACs of the literature, which often calls them FLOPs. */
  readonly multiplyAdds: number;
  /** Multiplications and additions: two for each of these, and one for each element of whatever else is computed. */
  readonly flops: number;
}

/** Memory in bytes, inputs not counted. */
export interface MemorySummary {
  /** All parameters. */
  readonly weights: number;
  /** Of trained parameters. */
  readonly gradients: number;
  /** What Adam keeps: two numbers for each that is trained. */
  readonly moments: number;
  /** Intermediate results and constants of a plan, which share memory where they can. */
  readonly activations: number;
  /** All of these. */
  readonly total: number;
}

/** A model by its numbers. */
export interface ModelSummary {
  /** The layers in the order in which they ran; the first one is the model. */
  readonly layers: readonly LayerSummary[];
  /** Number of values in all parameters. */
  readonly parameters: number;
  /** Of those that are trained. */
  readonly trainedParameters: number;
  /** Products that a forward adds up. */
  readonly multiplyAdds: number;
  /** FLOP of a forward. */
  readonly flops: number;
  /** FLOP of a forward and a backward. */
  readonly trainingFlops: number;
  /** To run forwards only. */
  readonly samplingMemory: MemorySummary;
  /** To train with Adam. */
  readonly trainingMemory: MemorySummary;
  /** A table of the layers, and below it what the model costs as a whole. */
  toString(): string;
}

/** Is told when the forward of a layer begins; what it returns is told the result. */
export type Witness = (path: string, layer: WitnessedLayer) => (result: unknown) => void;

/** What there is to know of a layer without running it. */
interface WitnessedLayer {
  parameterCount(): number;
}

/** A model as far as this file needs to know it. */
interface Subject {
  readonly parameters: readonly Parameter[];
  /** Runs the forward as while training or as in use, with somebody looking on. */
  forward(inputs: readonly unknown[], training: boolean, witness?: Witness): unknown;
}

/** @internal Records the model's forward, and its backward, and sums them up. */
export function summarise(model: Subject, options: SummaryOptions): ModelSummary {
  return scope(() => {
    const inputs = inputsOf(model, options);
    const layers = new LayerTable();
    const sampling = recordOnce(
      () => noGrad(() => results(model.forward(inputs, false, (path, layer) => layers.enter(path, layer)))),
      [],
    );
    const training = recordOnce(() => {
      lossOf(results(model.forward(inputs, true)))?.backward();
    }, []);
    for (const [command, times] of runsOfCommands(sampling.program.nodes))
      layers.add(command.layer, times * multiplyAddsOf(command), times * flopsOf(command));
    return new Summary(layers.rows, model.parameters, sampling, training);
  });
}

/** Memory for what the model is given, whose values nobody reads. */
function inputsOf(model: Subject, options: SummaryOptions): readonly unknown[] {
  if ("inputs" in options) return options.inputs;
  const { size, batch = 1, conditions } = options;
  if (![batch, ...size].every((n) => Number.isInteger(n) && n >= 1) || size.length !== 3)
    throw new ArgumentError({
      op: "summary",
      problem: `size is ${showShape(size)} and batch ${batch}, expected [height, width, channels] and integers >= 1.`,
    });
  const [first] = model.parameters as readonly (Parameter | undefined)[];
  const executor = executorOf({ device: first?.device });
  const x = uninitialised([batch, ...size], first?.dtype ?? defaultDType(), executor);
  const t = uninitialised([batch], "int32", executor);
  for (const input of [x, t]) adopt(input);
  return conditions === undefined ? [x, t] : [x, t, conditions];
}

/** The tensors that a forward gave. */
function results(given: unknown): Tensor[] {
  expectTree("summary", given);
  return tensorsIn(given as TensorTree);
}

/** A number that depends on all results, as a loss does; undefined where nothing is trained. */
function lossOf(given: readonly Tensor[]): Tensor | undefined {
  return given
    .filter(({ requiresGrad }) => requiresGrad)
    .map((result) => result.square().mean())
    .reduce<Tensor | undefined>((sum, term) => sum?.add(term) ?? term, undefined);
}

/** A row that is being filled. */
type Row = { -readonly [Name in keyof LayerSummary]: LayerSummary[Name] } & { readonly parent: Row | undefined };

/** The layers of a forward as they come. */
class LayerTable {
  readonly #rows = new Map<string, Row>();
  #inside: Row | undefined;

  get rows(): readonly LayerSummary[] {
    return [...this.#rows.values()].map(({ parent: _, ...row }) => row);
  }

  /** A layer's forward begins. */
  enter(path: string, layer: WitnessedLayer): (result: unknown) => void {
    const parent = this.#inside;
    const row = this.#rows.get(path) ?? this.#newRow(path, layer, parent);
    row.calls++;
    this.#inside = row;
    return (result) => {
      row.outputs = shapesOf(result);
      this.#inside = parent;
    };
  }

  /** Counts arithmetic of a layer, which is also that of the layers around it. */
  add(path: string, multiplyAdds: number, flops: number): void {
    for (let row = this.#rows.get(path); row; row = row.parent) {
      row.multiplyAdds += multiplyAdds;
      row.flops += flops;
    }
  }

  #newRow(path: string, layer: WitnessedLayer, parent: Row | undefined): Row {
    const row: Row = {
      path,
      depth: parent ? parent.depth + 1 : 0,
      type: layer.constructor.name,
      calls: 0,
      outputs: [],
      parameters: layer.parameterCount(),
      multiplyAdds: 0,
      flops: 0,
      parent,
    };
    this.#rows.set(path, row);
    return row;
  }
}

function shapesOf(result: unknown): Shape[] {
  if (result instanceof Tensor) return [result.shape];
  return Array.isArray(result) ? result.flatMap(shapesOf) : [];
}

class Summary implements ModelSummary {
  readonly layers: readonly LayerSummary[];
  readonly parameters: number;
  readonly trainedParameters: number;
  readonly multiplyAdds: number;
  readonly flops: number;
  readonly trainingFlops: number;
  readonly samplingMemory: MemorySummary;
  readonly trainingMemory: MemorySummary;

  constructor(
    layers: readonly LayerSummary[],
    parameters: readonly Parameter[],
    sampling: RecordedStep,
    training: RecordedStep,
  ) {
    const trained = parameters.filter(({ requiresGrad }) => requiresGrad);
    this.layers = layers;
    [{ parameters: this.parameters, multiplyAdds: this.multiplyAdds, flops: this.flops }] = layers;
    this.trainedParameters = trained.reduce((total, { size }) => total + size, 0);
    this.trainingFlops = [...runsOfCommands(training.program.nodes)].reduce(
      (total, [command, times]) => total + times * flopsOf(command),
      0,
    );
    const [weights, gradients] = [parameters, trained].map(bytesOfAll);
    const [use, train] = [planOf(sampling), planOf(training)];
    this.samplingMemory = memory({ weights, gradients: 0, moments: 0, activations: use.memory.arena + fixed(use) });
    // Adam collects gradients in memory of their own.
    const activations = train.arenaWithoutOutputs() + fixed(train);
    this.trainingMemory = memory({ weights, gradients, moments: 2 * gradients, activations });
  }

  toString(): string {
    const { samplingMemory: use, trainingMemory: train } = this;
    const frozen = this.parameters - this.trainedParameters;
    return [
      ...aligned([["layer", "type", "result", "parameters", "FLOP"], ...rowsOf(branchesOf(this.layers))], [3, 4]),
      "",
      `Parameters: ${this.parameters.toLocaleString("en")}${frozen > 0 ? `, ${frozen.toLocaleString("en")} of them frozen` : ""}.`,
      `A forward: ${showCount(this.flops)} FLOP, of which ${showCount(this.multiplyAdds)} multiply-adds are two each; with its backward: ${showCount(this.trainingFlops)} FLOP.`,
      `Memory to sample: ${showBytes(use.total)} (weights ${showBytes(use.weights)}, activations ${showBytes(use.activations)}).`,
      `Memory to train with Adam: ${showBytes(train.total)} (weights ${showBytes(train.weights)}, gradients ${showBytes(train.gradients)}, moments ${showBytes(train.moments)}, activations ${showBytes(train.activations)}).`,
    ].join("\n");
  }
}

/** A layer with those in it. */
interface Branch {
  /** In the one that it is in: `attn`, `blocks[0]`. */
  readonly name: string;
  readonly layer: LayerSummary;
  readonly inner: readonly Branch[];
}

/** Layers in the order in which they ran, as trees. */
function branchesOf(layers: readonly LayerSummary[], outer = ""): Branch[] {
  const roots = layers.flatMap(({ depth }, i) => (depth === layers[0].depth ? [i] : []));
  return roots.map((start, k) => {
    const layer = layers[start];
    const name = layer.path.slice(outer.length).replace(/^\./, "");
    return { name, layer, inner: branchesOf(layers.slice(start + 1, roots.at(k + 1)), layer.path) };
  });
}

/** Rows of the table; layers of a list that are alike in everything share one. */
function* rowsOf(branches: readonly Branch[], indent = ""): Generator<string[]> {
  for (let i = 0, next = 0; i < branches.length; i = next) {
    const { name, layer, inner } = branches[i];
    const kind = kindOf(branches[i]);
    while (next < branches.length && (next === i || kindOf(branches[next]) === kind)) next++;
    const times = next - i > 1 ? `${next - i} x ` : "";
    const last = times && ` to ${branches[next - 1].name.slice(name.lastIndexOf("["))}`;
    yield [
      indent + name + last + (layer.calls > 1 ? ` (${layer.calls} times)` : ""),
      times + layer.type,
      layer.outputs.map(showShape).join(" "),
      times + layer.parameters.toLocaleString("en"),
      times + showCount(layer.flops),
    ];
    yield* rowsOf(inner, `${indent}  `);
  }
}

/** The same text for layers of a list that differ in nothing but their number, each on its own for others. */
function kindOf({ name, layer, inner }: Branch): string {
  const { type, calls, outputs, parameters, flops } = layer;
  return JSON.stringify([name.replace(/\[\d+\]$/, "[]"), type, calls, outputs, parameters, flops, inner.map(kindOf)]);
}

function bytesOfAll(parameters: readonly Parameter[]): number {
  return parameters.reduce((total, { size, dtype }) => total + size * bytesOf(dtype), 0);
}

function memory(parts: Omit<MemorySummary, "total">): MemorySummary {
  return { ...parts, total: parts.weights + parts.gradients + parts.moments + parts.activations };
}

/** The plan of a recorded step; nothing is allocated until it runs. */
function planOf({ program, effects }: RecordedStep): Plan {
  if (!effects.executor)
    throw new ArgumentError({ op: "summary", problem: "the model computes nothing from these inputs." });
  return new Plan(program, effects.executor, { steps: 1, reports: [], fuse: true, checkFinite: false, poison: false });
}

/** What a plan holds besides its arena. */
function fixed({ memory: { constants, tables } }: Plan): number {
  return constants + tables;
}
