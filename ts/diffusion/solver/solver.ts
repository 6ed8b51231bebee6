// Runs a sampler that is written as calls of a network: tables of its coefficients in float64, and one step in tensor
// operations, the same for every sampler, eagerly or in a plan.

import { ArgumentError, ShapeError, showShape } from "../../errors/index.ts";
import { ops } from "../../ops/index.ts";
import { zerosLike } from "../../tensor/creation.ts";
import type { StepNumber } from "../../tensor/recording.ts";
import { outsideRecording } from "../../tensor/recording.ts";
import { scope } from "../../tensor/scope.ts";
import { Tensor, apply, tensor } from "../../tensor/tensor.ts";
import type { NoiseLevel } from "../predictions.ts";
import { StepTable } from "../step-table.ts";
import type { Limit } from "./limit.ts";
import { limited } from "./limit.ts";
import { LinearForm } from "./linear-form.ts";
import type { SolverCall } from "./solver-call.ts";

/** What a network predicts for x [N, ...] at t [N]; int32 where all timesteps are whole numbers, else of the dtype of x. */
export type Network = (x: Tensor, t: Tensor) => Tensor;

/** Noise of variance 1 in the shape of x, for the call of this number. */
export type NoiseSource = (call: StepNumber) => Tensor;

/** What a sampler carries from call to call: a tree of tensors, as loops hand it on. */
export type SolverState = Readonly<{
  /** The pictures as they are now [N, ...]. */
  x: Tensor;
  /** What it remembers of earlier calls, by name, in the shape of x. */
  registers: Readonly<Record<string, Tensor>>;
}>;

/** What came of a call. */
export interface SolverPrediction {
  /** The state after it. */
  readonly state: SolverState;
  /** The predicted x0, within its limit. */
  readonly x0: Tensor;
}

/** How a sampler is written down. */
export interface SolverOptions {
  /** Who samples, for errors: diffusers' class. */
  readonly name: string;
  /** One entry for each call of the network, in order. */
  readonly calls: readonly SolverCall[];
  /** Standard deviation of the noise to start from. */
  readonly initialNoise: number;
  /** How much of x0 and of noise is in x after the last call. */
  readonly end: NoiseLevel;
  /** How x0 is limited. Default: not. */
  readonly limit?: Limit;
  /** The network returns twice the channels, the second half about the variance. Default false. */
  readonly learnsVariance?: boolean;
}

/** One sum for each call, as a table of coefficients of the sources that any of the calls has. */
class SumTable {
  readonly sources: readonly string[];
  private readonly table: StepTable;
  /** The source that all calls take as it is. */
  private readonly only: string | undefined;

  constructor(forms: readonly LinearForm[]) {
    const names = new Set(forms.flatMap((form) => form.sources));
    this.sources = [...names].filter((source) => forms.some((form) => form.coefficient(source) !== 0));
    this.table = new StepTable(
      this.sources.map((source) => Float64Array.from(forms, (form) => form.coefficient(source))),
    );
    const [first] = this.sources;
    this.only = this.sources.length === 1 && forms.every((form) => form.coefficient(first) === 1) ? first : undefined;
  }

  dispose(): void {
    this.table.dispose();
  }

  at(call: StepNumber, tensors: (source: string) => Tensor): Tensor {
    if (this.only !== undefined) return tensors(this.only);
    if (this.sources.length === 0) return zerosLike(tensors("x"));
    const terms = this.sources.map(tensors);
    return apply(ops.linearCombination, [this.table.on(terms[0]).row(call), ...terms], {});
  }
}

/**
 * A sampler for a number of steps. Its state is a tree of tensors and its step a pure function, so that
 *
 * ```ts
 * let state = solver.start(randn([4, 32, 32, 3]).mul(solver.initialNoise));
 * for (let call = 0; call < solver.calls; call++)
 *   state = solver.step(state, call, (x, t) => model.forward(x, t), () => randn([4, 32, 32, 3]));
 * ```
 *
 * samples four pictures, and `iterate(solver.calls, state, (state, call) => ...)` does so within a plan.
 */
export class Solver {
  /** diffusers' name of the sampler. */
  readonly name: string;
  /** Number of calls of the network. */
  readonly calls: number;
  /** What the network is given for t at each call. */
  readonly timesteps: Float64Array;
  /** Standard deviation of the noise to start from (diffusers' `init_noise_sigma`). */
  readonly initialNoise: number;
  /** How much of x0 and of noise is in x before each call, and after the last. */
  readonly levels: readonly NoiseLevel[];
  /** What x is scaled by for the network at each call (diffusers' `scale_model_input`). */
  readonly inputScales: Float64Array;
  /** Whether steps need noise. */
  readonly isStochastic: boolean;
  private readonly limit: Limit | undefined;
  private readonly learnsVariance: boolean;
  private readonly inputScale: StepTable | undefined;
  private readonly churn: StepTable | undefined;
  private readonly x0: SumTable;
  private readonly next: ReadonlyMap<string, SumTable>;
  private readonly registers: readonly string[];
  private readonly logDeviation: readonly [constant: StepTable, slope: StepTable] | undefined;
  private readonly wholeTimesteps: boolean;
  private readonly madeTimesteps = new Map<string, Tensor>();

  constructor({ name, calls, initialNoise, end, limit, learnsVariance = false }: SolverOptions) {
    this.name = name;
    this.calls = calls.length;
    this.initialNoise = initialNoise;
    this.limit = limit;
    this.learnsVariance = learnsVariance;
    this.timesteps = Float64Array.from(calls, ({ t }) => t);
    this.levels = [...calls.map(({ level }) => level), end];
    this.inputScales = Float64Array.from(calls, ({ inputScale = 1 }) => inputScale);
    this.wholeTimesteps = this.timesteps.every(Number.isInteger);
    expectFinite(name, calls, this.levels);
    this.inputScale = columnUnless(1, this.inputScales);
    this.churn = columnUnless(
      0,
      Float64Array.from(calls, ({ churn = 0 }) => churn),
    );
    this.x0 = new SumTable(calls.map((call) => call.x0));
    const targets = [...new Set(calls.flatMap(({ next }) => Object.keys(next)))];
    this.registers = targets.filter((target) => target !== "x");
    this.next = new Map(
      targets.map((target) => [target, new SumTable(calls.map(({ next }) => next[target] ?? LinearForm.of(target)))]),
    );
    const sources = [...this.next.values()].flatMap((sum) => sum.sources);
    this.isStochastic = this.churn !== undefined || sources.includes("noise");
    const deviations = calls.map(({ logDeviation }) => logDeviation);
    if (deviations.some((deviation) => deviation !== undefined))
      this.logDeviation = [
        new StepTable([Float64Array.from(deviations, (deviation) => deviation?.constant ?? 0)]),
        new StepTable([Float64Array.from(deviations, (deviation) => deviation?.slope ?? 0)]),
      ];
  }

  /** Whether it remembers anything of earlier calls. */
  get remembers(): boolean {
    return this.registers.length > 0;
  }

  /** The state before the first call, from x [N, ...] of standard deviation `initialNoise`. */
  start(x: Tensor): SolverState {
    return { x, registers: Object.fromEntries(this.registers.map((register) => [register, zerosLike(x)])) };
  }

  /**
   * The state after a call of the network. `noise` is asked only by samplers that need it (see `isStochastic`), once in a
   * call. The tensors of the result belong to the scope that is open.
   */
  step(state: SolverState, call: StepNumber, network: Network, noise?: NoiseSource): SolverState {
    return this.call(state, call, network, noise).state;
  }

  /** The state after a call of the network, and what the network predicted for x0, within its limit. */
  predict(state: SolverState, call: StepNumber, network: Network, noise?: NoiseSource): SolverPrediction {
    const { state: next, x0 } = this.call(state, call, network, noise);
    return { state: next, x0: x0() };
  }

  /** Frees the tables that it keeps on devices; others are made when it is used again. */
  dispose(): void {
    const tables = [this.inputScale, this.churn, this.x0, ...this.next.values(), ...(this.logDeviation ?? [])];
    for (const table of tables) table?.dispose();
    for (const timesteps of this.madeTimesteps.values()) timesteps.dispose();
    this.madeTimesteps.clear();
  }

  private call(
    state: SolverState,
    call: StepNumber,
    network: Network,
    noise: NoiseSource | undefined,
  ): { readonly state: SolverState; readonly x0: () => Tensor } {
    if (typeof call === "number" && !(Number.isInteger(call) && call >= 0 && call < this.calls))
      throw new ArgumentError({
        op: this.name,
        problem: `call is ${call}, expected an integer from 0 to ${this.calls - 1}.`,
      });
    const given = this.isStochastic ? this.noiseOf(call, noise, state.x) : undefined;
    const x = this.churn ? state.x.add(given!.mul(numberAt(this.churn, call, state.x))) : state.x;
    const input = this.inputScale ? x.mul(numberAt(this.inputScale, call, x)) : x;
    const { output, variance } = this.outputs(network(input, this.timestepsAt(call, x)), x);
    const sourceOf = (source: string): Tensor => sources.get(source)!();
    const x0 = once(() => {
      const predicted = this.x0.at(call, sourceOf);
      return this.limit ? limited(predicted, this.limit) : predicted;
    });
    const scaledNoise = once(() => (variance ? this.scaledNoise(given!, variance, call) : given!));
    const sources = new Map<string, () => Tensor>([
      ["x", () => x],
      ["output", () => output],
      ["x0", x0],
      ["noise", scaledNoise],
      ...Object.entries(state.registers).map(([name, register]) => [name, () => register] as const),
    ]);
    const after = (target: string): Tensor => this.next.get(target)!.at(call, sourceOf);
    const registers = Object.fromEntries(this.registers.map((register) => [register, after(register)]));
    return { state: { x: after("x"), registers }, x0 };
  }

  /** The network's output, and what it says about the variance. */
  private outputs(output: Tensor, x: Tensor): { readonly output: Tensor; readonly variance?: Tensor } {
    const channels = x.shape.at(-1)!;
    const twice = [...x.shape.slice(0, -1), 2 * channels];
    const expected = this.learnsVariance ? twice : x.shape;
    const shape = output instanceof Tensor ? showShape(output.shape) : undefined;
    if (shape !== showShape(expected))
      throw new ShapeError({
        op: this.name,
        problem: `the network returned ${shape ? `shape ${shape}` : typeof output} for x of shape ${showShape(x.shape)}, expected ${showShape(expected)}.`,
        advice: this.learnsVariance
          ? "A network with learned variance returns twice the channels."
          : shape === showShape(twice)
            ? "A network whose second half of the channels is about the variance goes with DDPMScheduler and its varianceType learned_range; for schedulers without a varianceType it returns the first half alone."
            : undefined,
      });
    if (!this.learnsVariance) return { output };
    const [mean, variance] = output.chunk(2, -1);
    return { output: mean, variance };
  }

  private scaledNoise(noise: Tensor, variance: Tensor, call: StepNumber): Tensor {
    if (!this.logDeviation) return noise;
    const [constant, slope] = this.logDeviation.map((table) => numberAt(table, call, noise));
    return noise.mul(variance.mul(slope).add(constant).exp());
  }

  private timestepsAt(call: StepNumber, x: Tensor): Tensor {
    const dtype = this.wholeTimesteps ? "int32" : x.dtype;
    const key = `${x.device} ${dtype}`;
    let table = this.madeTimesteps.get(key);
    if (!table) {
      const { timesteps } = this;
      table = outsideRecording(() => scope(() => tensor(timesteps, { dtype, device: x.device }).keep()));
      this.madeTimesteps.set(key, table);
    }
    return table.row(call).broadcastTo([x.shape[0]]);
  }

  private noiseOf(call: StepNumber, source: NoiseSource | undefined, x: Tensor): Tensor {
    if (!source)
      throw new ArgumentError({
        op: this.name,
        problem: "it adds noise, and no source of noise was given.",
        advice:
          "Pass a function that makes noise of variance 1 in the shape of x, such as (call) => randn(x.shape, ...).",
      });
    const noise = source(call);
    if (showShape(noise.shape) === showShape(x.shape)) return noise;
    throw new ShapeError({
      op: this.name,
      problem: `noise has shape ${showShape(noise.shape)}, expected ${showShape(x.shape)} as x.`,
    });
  }
}

/** Refuses coefficients that are no finite numbers: they would make NaN of every picture. */
function expectFinite(name: string, calls: readonly SolverCall[], levels: readonly NoiseLevel[]): void {
  calls.forEach(({ t, inputScale = 1, churn = 0, x0, next, logDeviation }, k) => {
    const coefficients = [x0, ...Object.values(next)].flatMap((form) =>
      form.sources.map((source) => form.coefficient(source)),
    );
    const all = [inputScale, churn, ...coefficients, logDeviation?.constant ?? 0, logDeviation?.slope ?? 0];
    const singular = all.find((coefficient) => !Number.isFinite(coefficient));
    if (singular !== undefined)
      throw new ArgumentError({
        op: name,
        problem: `step ${k + 1} of ${calls.length}, at t = ${t}, is singular: it would multiply a picture by ${singular}.`,
        advice: reasonFor(levels[k], levels[k + 1]),
      });
  });
}

/** Why a step may be singular. */
function reasonFor(from: NoiseLevel, to: NoiseLevel): string {
  if (![from, to].every(({ signal, noise }) => signal >= 0 && noise >= 0))
    return "Its noise level is none: t or sigma lies outside the schedule.";
  if (from.signal === 0) return "x is noise alone there, and an order or a prediction does not go with that.";
  if (to.noise === 0)
    return "It ends at sigma 0, which only steps of first order reach: lower the order at the end (lowerOrderFinal), or end above 0.";
  return "An order or a prediction does not go with the noise levels there: do two steps have the same?";
}

/** A column of factors, or undefined where all of them are `neutral`. */
function columnUnless(neutral: number, factors: Float64Array): StepTable | undefined {
  return factors.every((factor) => factor === neutral) ? undefined : new StepTable([factors]);
}

/** The number of a table of one column for a call, as a tensor [1]. */
function numberAt(table: StepTable, call: StepNumber, like: Tensor): Tensor {
  return table.on(like).row(call);
}

function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}
