// Cases of the tutorial: its noise schedule, 200 and 50 steps of training on given noise, and whole reverse chains.

import type { Module, Tensor } from "langevin";
import { Adam, NoiseSchedule, iterate, loadTorchState, mse, noGrad, scope, stack, torchState } from "langevin";
import { toTorch } from "../../ts/io/layout.ts";
import { Counter, perStep } from "../../ts/tensor/recording.ts";
import { TinyNet, TutorialUNet } from "../../examples/tutorial-nets.ts";
import type { Tolerance } from "./compare.ts";
import { expectClose, expectRelativeL2 } from "./compare.ts";
import type { Case, DataSet, Numbers } from "./data-set.ts";
import { toNCHW, toNHWC } from "./layouts.ts";
import type { Setting } from "./suite.ts";

type Names = Readonly<Record<string, string>>;
type Network = TinyNet | TutorialUNet;

interface Config {
  readonly steps: number;
  readonly beta_start: number;
  readonly beta_end: number;
}

interface ScheduleCase {
  readonly config: Config;
  readonly buffers: Names;
  readonly buffers_f64: Names;
  readonly add_noise: { readonly inputs: Names; readonly output: string; readonly output_f64: string };
  readonly sample_prev_step: { readonly inputs: Names; readonly output: string; readonly output_f64: string };
  readonly tolerance: Tolerance;
}

const exact: Tolerance = { rtol: 1e-9, atol: 1e-9 };

function scheduleOf({ steps, beta_start: betaStart, beta_end: betaEnd }: Config): NoiseSchedule {
  return new NoiseSchedule({ steps, betaStart, betaEnd });
}

/** Tables, addNoise and reverseStep of one schedule. */
export async function runScheduleCase(data: DataSet, given: Case, setting: Setting): Promise<boolean> {
  const c = given as unknown as ScheduleCase;
  const schedule = scheduleOf(c.config);
  const tables = {
    beta: schedule.beta,
    alpha: schedule.alpha,
    alpha_bar: schedule.alphaBar,
    mean_scale: schedule.meanScale,
    eps_scale: schedule.epsilonScale,
  };
  for (const [name, table] of Object.entries(tables))
    expectClose(name, { data: table, shape: [table.length], dtype: "float32" }, data.read(c.buffers_f64[name]), {
      rtol: 1e-12,
      atol: 0,
    });
  // The original's sigma[0] reads alpha_bar[-1] and is never used: compare from 1 on.
  const sigma: Numbers = { data: schedule.sigma.slice(1), shape: [c.config.steps - 1], dtype: "float32" };
  const expected = data.read(c.buffers_f64.sigma);
  expectClose("sigma", sigma, { ...sigma, data: expected.data.slice(1) }, { rtol: 1e-12, atol: 0 });

  const tolerance = setting.dtype === "float64" ? exact : c.tolerance;
  const read = (inputs: Names, name: string): Tensor => setting.tensor(data.read(inputs[name]));
  const q = c.add_noise.inputs;
  const addNoise = setting.planned((x0: Tensor, t: Tensor, noise: Tensor) => schedule.addNoise(x0, t, noise));
  const xt = addNoise(read(q, "x0"), read(q, "t"), read(q, "noise"));
  expectClose("add_noise", await setting.numbers(xt), data.read(c.add_noise.output_f64), tolerance);
  const p = c.sample_prev_step.inputs;
  const reverse = setting.planned((x: Tensor, t: Tensor, epsilon: Tensor, z: Tensor) =>
    schedule.reverseStep(x, t, epsilon, { z }),
  );
  const before = reverse(read(p, "xt"), read(p, "t"), read(p, "pred_noise"), read(p, "z"));
  expectClose("prev", await setting.numbers(before), data.read(c.sample_prev_step.output_f64), tolerance);
  return true;
}

/** The network that a case's constructor describes. */
function networkOf(constructor: Readonly<Record<string, number>>): Network {
  if ("hidden" in constructor) return new TinyNet(constructor.channels);
  const { num_steps: steps, embed_dim: timeDim, base } = constructor;
  return new TutorialUNet({ imageChannels: 1, channels: [base, 2 * base, 4 * base], timeDim, steps });
}

/** Gives a model the weights that lie in the data set under these names. */
export function load(model: Module, data: DataSet, names: Names): void {
  const state = Object.entries(names).map(([name, key]) => {
    const { data: values, shape } = data.read(key);
    return [name, { data: Float64Array.from(values), shape }] as const;
  });
  loadTorchState(model, Object.fromEntries(state));
}

/** Images of every step, [steps, N, C, H, W], for NHWC. */
const tableOfImages = (x: Tensor): Tensor => x.permute([0, 1, 3, 4, 2]);

interface TrainCase {
  readonly constructor: Readonly<Record<string, number>>;
  readonly config: Config & { lr: number; betas: [number, number]; eps: number; batch: number; iterations: number };
  readonly inputs: Names;
  readonly initial_state: Names;
  readonly step0: { readonly xt: string; readonly output: string; readonly loss: number; readonly grads: Names };
  readonly losses: string;
  readonly losses_f64: string;
  readonly final_state: Names;
  readonly tolerance: {
    readonly output: Tolerance;
    readonly grads: { readonly rel_l2: number };
    readonly losses: { readonly rtol: number };
    readonly final_weights: { readonly atol: number; readonly rel_l2_of_update: number };
  };
}

/** Training on the given t and noise: first output and gradients, every loss, the final weights. */
export async function runTrainCase(data: DataSet, given: Case, setting: Setting): Promise<boolean> {
  const c = given as unknown as TrainCase;
  const { lr, betas, eps: epsilon, batch, iterations } = c.config;
  const schedule = scheduleOf(c.config);
  const model = networkOf(c.constructor);
  load(model, data, c.initial_state);
  const adam = new Adam(model.parameters(), { lr, betas, epsilon });
  // What differs from step to step, as tables from which each step takes its row.
  const t = setting.tensor(data.read(c.inputs.t)).reshape([iterations, batch]);
  const noise = tableOfImages(setting.tensor(data.read(c.inputs.noise)));
  const picture = setting.tensor(data.read(c.inputs.x0));
  const x0 = toNHWC(picture.rank === 3 ? picture.reshape([1, ...picture.shape]) : picture);
  const images = x0.broadcastTo([batch, ...x0.shape.slice(1)]);
  const iteration = new Counter();
  const step = setting.planned(() => {
    const index = perStep(() => iteration.value);
    const [steps, epsilons] = [t.row(index), noise.row(index)];
    const xt = schedule.addNoise(images, steps, epsilons);
    const output = model.forward(xt, steps);
    const loss = mse(output, epsilons);
    loss.backward();
    const gradients = model.parameters().map(({ grad }) => grad!.clone());
    adam.step();
    iteration.add();
    return { loss: loss.detach(), xt: xt.detach(), output: output.detach(), gradients };
  });
  const first = scope(step);
  const { output: tolerance, grads } = c.tolerance;
  expectClose("step 0 xt", await setting.numbers(toNCHW(first.xt)), data.read(c.step0.xt), tolerance);
  expectClose("step 0 output", await setting.numbers(toNCHW(first.output)), data.read(c.step0.output), tolerance);
  await expectGradients(model, first.gradients, data, c.step0.grads, grads.rel_l2);
  const run = Math.min(iterations, Math.max(2, Math.floor(setting.mostImages / batch)));
  const losses: Numbers = { data: new Float64Array(run), shape: [run], dtype: "float32" };
  losses.data[0] = (await first.loss.data())[0];
  let done = 1;
  for await (const loss of setting.replay(step, run - 1)) losses.data[done++] = loss;
  setting.judged.push([...losses.data]);
  const double = setting.dtype === "float64";
  const allLosses = data.has(c.losses_f64) ? data.read(c.losses_f64) : data.read(c.losses);
  const expectedLosses: Numbers = { ...allLosses, data: allLosses.data.subarray(0, run), shape: [run] };
  expectClose("losses", losses, expectedLosses, double ? exact : { rtol: c.tolerance.losses.rtol, atol: 0 });
  for (const [name, { data: values, shape }] of Object.entries(await torchState(model))) {
    const got: Numbers = { data: Float64Array.from(values), shape, dtype: "float32" };
    setting.judged.push([...got.data]);
    // The data have the weights after the last iteration only.
    if (run < iterations) continue;
    const [initial, final] = [data.read(c.initial_state[name]), data.read(c.final_state[name])];
    expectClose(`final ${name}`, got, final, { rtol: 0, atol: c.tolerance.final_weights.atol });
    expectRelativeL2(`update of ${name}`, got, final, c.tolerance.final_weights.rel_l2_of_update, initial);
  }
  adam.dispose();
  model.dispose();
  return true;
}

/** Compares the gradients of all parameters in PyTorch's layouts. */
async function expectGradients(
  model: Module,
  gradients: readonly Tensor[],
  data: DataSet,
  names: Names,
  limit: number,
): Promise<void> {
  for (const [i, [name, parameter]] of [...model.namedParameters()].entries()) {
    const { data: values, shape } = toTorch(parameter.layout, await gradients[i].data(), gradients[i].shape);
    const got: Numbers = { data: Float64Array.from(values), shape, dtype: "float32" };
    expectRelativeL2(`gradient of ${name}`, got, data.read(names[name]), limit);
  }
}

interface ReverseCase {
  readonly constructor: Readonly<Record<string, number>>;
  readonly config: Config;
  readonly model_state: Names;
  readonly inputs: { readonly xT: string; readonly z: string };
  readonly outputs: Names;
  readonly tolerance: { readonly rel_l2: number };
}

/** The whole reverse chain on the given z, compared wherever the golden data has the image. */
export async function runReverseCase(data: DataSet, given: Case, setting: Setting): Promise<boolean> {
  const c = given as unknown as ReverseCase;
  const schedule = scheduleOf(c.config);
  const model = networkOf(c.constructor);
  load(model, data, c.model_state);
  const { steps } = schedule;
  const xT = toNHWC(setting.tensor(data.read(c.inputs.xT)));
  // In the order of the chain, t falling; z is stored with or without a batch of one.
  const z = setting.tensor(data.read(c.inputs.z));
  const noise = tableOfImages(z.reshape([steps, -1, ...z.shape.slice(-3)])).flip([0]);
  const timesteps = stack(Array.from({ length: steps }, (_, i) => schedule.timesteps(steps - 1 - i, xT)));
  const lowest = Math.max(0, steps - Math.floor(setting.mostImages / xT.shape[0]));
  const looked = Object.keys(c.outputs)
    .map(Number)
    .filter((step) => step >= lowest)
    .sort((a, b) => b - a);
  /** From the image before step `from` to that before step `to`, both counted along the chain. */
  const part = (x: Tensor, from: number, to: number): Tensor => {
    const [t, noises] = [timesteps.slice([from, to]), noise.slice([from, to])];
    return iterate(to - from, x, (current, k) => {
      const now = t.row(k);
      return schedule.reverseStep(current, now, model.forward(current, now), { z: noises.row(k) });
    });
  };
  const chain = setting.planned(() =>
    noGrad(() => {
      const ends = looked.map((last) => steps - last);
      const images: Tensor[] = [];
      ends.forEach((end, i) => images.push(part(images.at(-1) ?? xT, ends[i - 1] ?? 0, end)));
      return images;
    }),
  );
  for (const [i, x] of scope(chain).entries()) {
    const [last, got] = [looked[i], await setting.numbers(toNCHW(x))];
    expectRelativeL2(`x after step ${last}`, got, data.read(c.outputs[String(last)]), c.tolerance.rel_l2);
  }
  model.dispose();
  return true;
}
