// Cases of diffusers' UNet2DModel: results, losses, gradients and what parts of the network give, of weights in its files.

import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect } from "chai";
import type { Module, Tensor } from "langevin";
import { Pipeline, UNet2D, concat, grid, loadWeights, mse, noGrad, scope, zerosLike } from "langevin";
import { toTorch } from "../../ts/io/layout.ts";
import type { Tolerance } from "./compare.ts";
import { Mismatch, expectClose, expectRelativeL2 } from "./compare.ts";
import type { Case, DataSet, Numbers } from "./data-set.ts";
import { toNHWC } from "./layouts.ts";
import type { Setting } from "./suite.ts";
import { looks } from "./trajectories.ts";

type Names = Readonly<Record<string, string>>;

interface Inputs {
  readonly sample: string;
  readonly timestep?: string;
  readonly timestep_scalar?: number;
  readonly class_labels?: string;
}

interface ForwardCase {
  readonly inputs: Inputs;
  readonly output: string;
  readonly tolerance: { readonly output: Tolerance };
}

interface TrainCase extends ForwardCase {
  readonly target: string;
  readonly loss: number;
  readonly grad_sample: string;
  readonly grad_norm: Readonly<Record<string, number>>;
  readonly grads: Names;
  readonly num_parameters: number;
  readonly activations: Names;
  readonly activation_stats: Readonly<Record<string, { readonly shape: readonly number[]; readonly l2: number }>>;
  readonly tiny_grads: readonly string[];
  readonly tolerance: ForwardCase["tolerance"] & { readonly loss: number; readonly grad_norm: Tolerance };
}

interface LoopCase {
  readonly scheduler: string;
  readonly num_inference_steps: number;
  readonly timesteps: readonly number[];
  readonly inputs: { readonly x_init: string; readonly class_labels?: string };
  /** One tensor for each time that noise was asked for. */
  readonly noise?: string;
  /** [steps, N, C, H, W]. */
  readonly x_after_step: string;
  readonly image_u8: string;
  readonly tolerance: { readonly rel_l2: number };
}

/** The data give no tolerance for whole gradients; the reference's own float32 error is up to 6e-6. */
const gradientLimit = 1e-4;

const toNCHW = (x: Tensor): Tensor => (x.rank === 4 ? x.permute([0, 3, 1, 2]) : x);

/** The model of the data set's folder, with its weights. */
async function modelOf(data: DataSet): Promise<UNet2D> {
  const folder = join(dirname(data.path), "unet");
  const config: unknown = JSON.parse(readFileSync(join(folder, "config.json"), "utf8"));
  const model = UNet2D.fromConfig(config);
  expect(model.config()).to.deep.equal(config);
  await loadWeights(join(folder, "diffusion_pytorch_model.safetensors"), model);
  return model.eval();
}

/** The network's result for tensors of the case's inputs. */
function forwardOf(model: UNet2D, { timestep_scalar: t }: Inputs) {
  return (inputs: { x: Tensor; t?: Tensor; classLabels?: Tensor }): Tensor =>
    model.forward(inputs.x, t ?? inputs.t!, { classLabels: inputs.classLabels });
}

function inputsOf(data: DataSet, { sample, timestep, class_labels: labels }: Inputs, setting: Setting) {
  const read = (name: string | undefined): Tensor | undefined =>
    name === undefined ? undefined : setting.tensor(data.read(name));
  return { x: toNHWC(read(sample)!), t: read(timestep), classLabels: read(labels) };
}

/** A forward pass alone. */
export async function runForwardCase(data: DataSet, given: Case, setting: Setting): Promise<boolean> {
  const c = given as unknown as ForwardCase;
  const model = await modelOf(data);
  const forward = forwardOf(model, c.inputs);
  const run = setting.planned((inputs: ReturnType<typeof inputsOf>) => noGrad(() => forward(inputs)));
  const output = await setting.numbers(toNCHW(run(inputsOf(data, c.inputs, setting))));
  expectClose("output", output, data.read(c.output), c.tolerance.output);
  model.dispose();
  return true;
}

/** A training step's forward and backward pass. */
export async function runForwardBackwardCase(data: DataSet, given: Case, setting: Setting): Promise<boolean> {
  const c = given as unknown as TrainCase;
  const model = await modelOf(data);
  expect(model.parameterCount(), "number of parameters").to.equal(c.num_parameters);
  const parameters = [...model.namedParameters()];
  expect(Object.fromEntries(parameters), "parameters").to.have.all.keys(Object.keys(c.grad_norm));
  const watched = watch(model, Object.keys(c.activation_stats));
  const forward = forwardOf(model, c.inputs);
  const step = setting.planned((inputs: ReturnType<typeof inputsOf>, target: Tensor) => {
    const x = inputs.x.detach().requireGrad();
    const output = forward({ ...inputs, x });
    const loss = mse(output, target);
    loss.backward();
    const gradients = parameters.map(([, { grad }]) => grad!.detach());
    return { output, loss: loss.detach(), gradX: x.grad!.detach(), gradients, activations: { ...watched.seen } };
  });
  const target = toNHWC(setting.tensor(data.read(c.target)));
  const results = scope(() => step(inputsOf(data, c.inputs, setting), target));
  watched.stop();
  const { output: tolerance, loss: lossTolerance } = c.tolerance;
  const numbers = async (x: Tensor): Promise<Numbers> => setting.numbers(toNCHW(x));
  expectClose("output", await numbers(results.output), data.read(c.output), tolerance);
  const loss: Numbers = { data: Float64Array.of(c.loss), shape: [], dtype: "float32" };
  expectClose("loss", await setting.numbers(results.loss), loss, { rtol: lossTolerance, atol: 0 });
  expectRelativeL2("grad_sample", await numbers(results.gradX), data.read(c.grad_sample), gradientLimit);
  for (const [name, { shape, l2 }] of Object.entries(c.activation_stats)) {
    const got = await numbers(results.activations[name]);
    expect(got.shape, name).to.deep.equal(shape);
    expectNumber(`norm of ${name}`, norm(got), l2, { rtol: 1e-4, atol: 0 });
    if (name in c.activations) expectClose(name, got, data.read(c.activations[name]), tolerance);
  }
  for (const [i, [name, { layout }]] of parameters.entries()) {
    const { data: values, shape } = await setting.numbers(results.gradients[i]);
    const got: Numbers = { ...toTorch(layout, values, shape), dtype: "float32" };
    expectNumber(`norm of the gradient of ${name}`, norm(got), c.grad_norm[name], c.tolerance.grad_norm);
    if (name in c.grads && !c.tiny_grads.includes(name))
      expectRelativeL2(`gradient of ${name}`, got, data.read(c.grads[name]), gradientLimit);
  }
  for (const activation of Object.values(results.activations)) activation.dispose();
  model.dispose();
  return true;
}

/** A sampling loop of the whole folder: its model, its scheduler, and the bytes of the pictures that come out. */
export async function runLoopCase(data: DataSet, given: Case, setting: Setting): Promise<boolean> {
  const c = given as unknown as LoopCase;
  const { device, dtype } = setting;
  const { model, scheduler } = await Pipeline.load(dirname(data.path), { device, dtype });
  expect(scheduler.name).to.equal(c.scheduler);
  const solver = scheduler.solver({ steps: c.num_inference_steps });
  expect([...solver.timesteps]).to.deep.equal(c.timesteps);
  const read = (name: string): Tensor => setting.tensor(data.read(name));
  const classLabels = c.inputs.class_labels === undefined ? undefined : read(c.inputs.class_labels);
  const steps = solver.timesteps.map((_, call) => call);
  const noise = c.noise === undefined ? undefined : noiseOf(read(c.noise), steps.length);
  const start = toNHWC(read(c.inputs.x_init));
  const chain = setting.planned(() =>
    noGrad(() =>
      looks(
        solver,
        [...steps],
        start,
        () => (x, t) => model.forward(x, t, { classLabels }),
        (call) => noise!.row(call),
      ).map(({ x }) => x),
    ),
  );
  const seen = scope(chain);
  const { data: expected, shape } = data.read(c.x_after_step);
  const size = start.size;
  for (const [step, x] of seen.entries()) {
    const after = expected.subarray(step * size, (step + 1) * size);
    expectRelativeL2(`x after step ${step}`, await setting.numbers(toNCHW(x)), { data: after, shape: shape.slice(1), dtype: "float32" }, c.tolerance.rel_l2); // prettier-ignore
  }
  await expectPictures(seen[seen.length - 1], data.read(c.image_u8));
  model.dispose();
  return true;
}

/** The noise of each call, [steps, N, H, W, C]; DDPM's last one asks for none, and what it is given has no weight. */
function noiseOf(noise: Tensor, steps: number): Tensor {
  const images = noise.permute([0, 1, 3, 4, 2]);
  return steps > images.shape[0] ? concat([images, zerosLike(images.slice([0, steps - images.shape[0]]))], 0) : images;
}

/** Compares the bytes of images with golden ones [N, C, H, W], which they may miss by one. */
async function expectPictures(images: Tensor, { data, shape }: Numbers): Promise<void> {
  const [n, channels, height, width] = shape;
  for (let image = 0; image < n; image++) {
    const picture = await grid(images.slice(image));
    picture.data.forEach((byte, i) => {
      const [pixel, channel] = [Math.floor(i / channels), i % channels];
      const expected = data[(image * channels + channel) * height * width + pixel];
      if (!(Math.abs(byte - expected) <= 1))
        throw new Mismatch(`image ${image}, pixel ${pixel}, channel ${channel} is ${byte}, expected ${expected}`);
    });
  }
}

/** Notes what modules, named as in diffusers, give in the forward that is running. */
function watch(model: UNet2D, names: readonly string[]): { seen: Record<string, Tensor>; stop: () => void } {
  const seen: Record<string, Tensor> = {};
  const modules = model.namedModules();
  const stops = names.map((name) => {
    const module: Module = modules.get(name)!;
    const forward = module.forward;
    module.forward = (...args: unknown[]) => {
      const result = forward(...args);
      // Out of the scopes of the layers around; disposed of with the results.
      seen[name] = (hiddenState(result) as Tensor).detach().keep();
      return result;
    };
    return () => (module.forward = forward);
  });
  return { seen, stop: () => stops.forEach((stop) => stop()) };
}

/** What goes on from a layer, or from a block that also gives other things. */
function hiddenState(result: unknown): unknown {
  const { skips, x } = result as { skips?: readonly Tensor[]; x?: Tensor };
  return skips?.at(-1) ?? x ?? result;
}

function norm({ data }: Numbers): number {
  return Math.sqrt(data.reduce((sum, value) => sum + value * value, 0));
}

function expectNumber(what: string, got: number, expected: number, { rtol, atol }: Tolerance): void {
  if (!(Math.abs(got - expected) <= atol + rtol * expected))
    throw new Mismatch(`${what} is ${got}, expected ${expected}`);
}
