// Cases of schedulers: trajectories of diffusers' step() with an analytic network and given noise.

import { expect } from "chai";
import type { Network, NoiseSource, Solver, SolverPrediction, SolverState, StepNumber, Tensor } from "langevin";
import { concat, iterate, noGrad, scope } from "langevin";
import { Counter, perStep } from "../../ts/tensor/recording.ts";
import { expectRelativeL2 } from "./compare.ts";
import type { Case, DataSet, Numbers } from "./data-set.ts";
import { toNCHW, toNHWC } from "./layouts.ts";
import type { SetTimesteps } from "./schedules.ts";
import { expectGrid, runOf, schedulerOf, table } from "./schedules.ts";
import type { Setting } from "./suite.ts";

interface TrajectoryCase {
  readonly scheduler: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly set_timesteps: SetTimesteps;
  readonly step_kwargs: Readonly<Record<string, unknown>>;
  readonly begin_index: number | null;
  readonly init_noise_sigma: number | null;
  readonly model: {
    readonly a: number;
    readonly b: number;
    readonly w: number;
    readonly d: number;
    readonly learned_variance: boolean;
  };
  readonly num_steps: number;
  readonly timesteps: string;
  readonly x_init: string;
  readonly x_steps: readonly number[];
  readonly x: string;
  readonly pred_original?: string;
  readonly noise?: string;
  readonly noise_at?: readonly number[];
  readonly tolerance: { readonly rel_l2: number };
}

/** Runs a case of `golden/schedulers/<Class>`. */
export async function runTrajectoryCase(data: DataSet, given: Case, setting: Setting): Promise<boolean> {
  const c = given as unknown as TrajectoryCase;
  const solver = schedulerOf(c.scheduler, c.config).solver(runOf(c.set_timesteps, c.begin_index, c.step_kwargs));
  const { timesteps, initialNoise } = solver;
  expectGrid({ timesteps, initialNoise }, data.read(c.timesteps), undefined, c.init_noise_sigma);
  const network = analyticNetwork(c, solver, setting);
  const noise = noiseTable(data, c, setting);
  const start = toNHWC(setting.tensor(data.read(c.x_init)));
  const chain = setting.planned(() => noGrad(() => looks(solver, c.x_steps, start, network, noise)));
  const seen = scope(chain);
  const [x, predicted] = [data.read(c.x), c.pred_original === undefined ? undefined : data.read(c.pred_original)];
  for (const [i, step] of c.x_steps.entries()) {
    const near = c.tolerance.rel_l2;
    expectNear(`x after step ${step}`, await setting.numbers(toNCHW(seen[i].x)), x, i, near);
    if (predicted) expectNear(`x0 at step ${step}`, await setting.numbers(toNCHW(seen[i].x0)), predicted, i, near);
  }
  return true;
}

/** x after each of the listed calls, and the x0 that was predicted there. */
export function looks(
  solver: Solver,
  calls: readonly number[],
  start: Tensor,
  network: (call: StepNumber) => Network,
  noise: NoiseSource,
): { readonly x: Tensor; readonly x0: Tensor }[] {
  const done = new Counter();
  const call = (state: SolverState): SolverPrediction => {
    const number = perStep(() => done.value);
    const prediction = solver.predict(state, number, network(number), noise);
    done.add();
    return prediction;
  };
  let state = solver.start(start);
  return calls.map((look, i) => {
    const between = look - (i === 0 ? 0 : calls[i - 1] + 1);
    if (between > 0) state = iterate(between, state, (now) => call(now).state);
    const { state: next, x0 } = call(state);
    state = next;
    return { x: state.x, x0 };
  });
}

/** a u + b sin(w t) + d cos(u), and with learned variance tanh(u) beside it; sin is taken in double precision. */
function analyticNetwork({ model }: TrajectoryCase, solver: Solver, setting: Setting): (call: StepNumber) => Network {
  const { a, b, w, d, learned_variance } = model;
  const waves = setting.tensor(table(solver.timesteps.map((t) => b * Math.sin(w * t))));
  return (call) => (u) => {
    const output = u.mul(a).add(waves.row(call)).add(u.cos().mul(d));
    return learned_variance ? concat([output, u.tanh()], -1) : output;
  };
}

/** The noise of each call; zeros for those that ask for none. */
function noiseTable(data: DataSet, c: TrajectoryCase, setting: Setting): NoiseSource {
  if (c.noise === undefined) return () => expect.fail("noise was asked for, and there is none");
  const { data: given, shape, dtype } = data.read(c.noise);
  const size = given.length / shape[0];
  const all = new Float64Array(c.num_steps * size);
  c.noise_at!.forEach((call, k) => all.set(given.subarray(k * size, (k + 1) * size), call * size));
  const images = setting.tensor({ data: all, shape: [c.num_steps, ...shape.slice(1)], dtype }).permute([0, 1, 3, 4, 2]);
  return (call) => images.row(call);
}

/** Compares with entry i of a list of pictures, relative to the larger of its norm and a thousandth of the largest norm. */
function expectNear(what: string, got: Numbers, { data, shape, dtype }: Numbers, i: number, limit: number): void {
  const size = data.length / shape[0];
  const entry = (k: number): Float64Array => data.subarray(k * size, (k + 1) * size);
  const norm = (values: Float64Array): number => Math.hypot(...values);
  const largest = Math.max(...Array.from({ length: shape[0] }, (_, k) => norm(entry(k))));
  const scale = Math.max(1, (1e-3 * largest) / norm(entry(i)));
  expectRelativeL2(what, got, { data: entry(i), shape: shape.slice(1), dtype }, limit * scale);
}
