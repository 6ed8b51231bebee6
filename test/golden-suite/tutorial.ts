// Cases of the tutorial: its noise schedule, 200 and 50 steps of training on given noise, and whole reverse chains.

import type { Module, Tensor } from "langevin";
import { Adam, NoiseSchedule, loadTorchState, mse, noGrad, scope, torchState } from "langevin";
import { toTorch } from "../../ts/io/layout.ts";
import { TinyNet, TutorialUNet } from "../../examples/tutorial-nets.ts";
import type { Tolerance } from "./compare.ts";
import { expectClose, expectRelativeL2 } from "./compare.ts";
import type { Case, DataSet, Numbers } from "./data-set.ts";
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
  const xt = schedule.addNoise(read(q, "x0"), read(q, "t"), read(q, "noise"));
  expectClose("add_noise", await setting.numbers(xt), data.read(c.add_noise.output_f64), tolerance);
  const p = c.sample_prev_step.inputs;
  const before = schedule.reverseStep(read(p, "xt"), read(p, "t"), read(p, "pred_noise"), { z: read(p, "z") });
  expectClose("prev", await setting.numbers(before), data.read(c.sample_prev_step.output_f64), tolerance);
  return true;
}

/** The network that a case's constructor describes. */
function networkOf(constructor: Readonly<Record<string, number>>): Network {
  if ("hidden" in constructor) return new TinyNet(constructor.channels);
  const { num_steps: steps, embed_dim: timeDim, base } = constructor;
  return new TutorialUNet({ imageChannels: 1, channels: [base, 2 * base, 4 * base], timeDim, steps });
}

function load(model: Module, data: DataSet, names: Names): void {
  const state = Object.entries(names).map(([name, key]) => {
    const { data: values, shape } = data.read(key);
    return [name, { data: Float64Array.from(values), shape }] as const;
  });
  loadTorchState(model, Object.fromEntries(state));
}

const toNHWC = (x: Tensor): Tensor => x.permute([0, 2, 3, 1]);
const toNCHW = (x: Tensor): Tensor => x.permute([0, 3, 1, 2]);

/** Element `index` of the first axis. */
function at({ data, shape, dtype }: Numbers, index: number): Numbers {
  const size = data.length / shape[0];
  return { data: data.subarray(index * size, (index + 1) * size), shape: shape.slice(1), dtype };
}

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
  const [t, noise] = [data.read(c.inputs.t), data.read(c.inputs.noise)];
  const picture = setting.tensor(data.read(c.inputs.x0));
  const x0 = toNHWC(picture.rank === 3 ? picture.reshape([1, ...picture.shape]) : picture);
  const images = x0.broadcastTo([batch, ...x0.shape.slice(1)]);
  const losses: Numbers = { data: new Float64Array(iterations), shape: [iterations], dtype: "float32" };
  for (let i = 0; i < iterations; i++) {
    const steps = setting.tensor({ ...at(t, i), shape: [batch] });
    const epsilons = toNHWC(setting.tensor(at(noise, i)));
    const { xt, output, loss } = scope(() => {
      const noised = schedule.addNoise(images, steps, epsilons);
      const predicted = model.forward(noised, steps);
      const error = mse(predicted, epsilons);
      error.backward();
      return { xt: noised, output: predicted, loss: error };
    });
    losses.data[i] = (await loss.data())[0];
    if (i === 0) {
      expectClose("step 0 xt", await setting.numbers(toNCHW(xt)), data.read(c.step0.xt), c.tolerance.output);
      expectClose(
        "step 0 output",
        await setting.numbers(toNCHW(output)),
        data.read(c.step0.output),
        c.tolerance.output,
      );
      await expectGradients(model, data, c.step0.grads, c.tolerance.grads.rel_l2);
    }
    adam.step();
    for (const value of [steps, epsilons, xt, output, loss]) value.dispose();
  }
  const double = setting.dtype === "float64";
  const expectedLosses = data.has(c.losses_f64) ? data.read(c.losses_f64) : data.read(c.losses);
  expectClose("losses", losses, expectedLosses, double ? exact : { rtol: c.tolerance.losses.rtol, atol: 0 });
  for (const [name, { data: values, shape }] of Object.entries(await torchState(model))) {
    const got: Numbers = { data: Float64Array.from(values), shape, dtype: "float32" };
    const [initial, final] = [data.read(c.initial_state[name]), data.read(c.final_state[name])];
    expectClose(`final ${name}`, got, final, { rtol: 0, atol: c.tolerance.final_weights.atol });
    expectRelativeL2(`update of ${name}`, got, final, c.tolerance.final_weights.rel_l2_of_update, initial);
  }
  adam.dispose();
  model.dispose();
  return true;
}

/** Compares the collected gradients in PyTorch's layouts. */
async function expectGradients(model: Module, data: DataSet, names: Names, limit: number): Promise<void> {
  for (const [name, parameter] of model.namedParameters()) {
    const gradient = parameter.grad;
    if (!gradient) throw new Error(`no gradient reached ${name}`);
    const { data: values, shape } = toTorch(parameter.layout, await gradient.data(), gradient.shape);
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
  const z = data.read(c.inputs.z);
  let x = toNHWC(setting.tensor(data.read(c.inputs.xT)));
  for (let t = c.config.steps - 1; t >= 0; t--) {
    const current = x;
    x = noGrad(() =>
      scope(() => {
        const steps = schedule.timesteps(t, current);
        const noise = toNHWC(setting.tensor({ ...at(z, t), shape: imageShape(at(z, t).shape) }));
        return schedule.reverseStep(current, steps, model.forward(current, steps), { z: noise });
      }),
    );
    current.dispose();
    const expected = c.outputs[String(t)];
    if (expected)
      expectRelativeL2(`x after step ${t}`, await setting.numbers(toNCHW(x)), data.read(expected), c.tolerance.rel_l2);
  }
  model.dispose();
  return true;
}

/** z is stored with or without the batch of one. */
function imageShape(shape: readonly number[]): readonly number[] {
  return shape.length === 3 ? [1, ...shape] : shape;
}
