// Cases of models and what they are made of: sinusoidal embeddings, and DiT with its gradients and its guidance.

import type { Tensor } from "langevin";
import { DiT, concat, noGrad, scope, timestepEmbedding } from "langevin";
import { toTorch } from "../../ts/io/layout.ts";
import type { Tolerance } from "./compare.ts";
import { expectClose } from "./compare.ts";
import type { Case, DataSet, Numbers } from "./data-set.ts";
import { toNCHW, toNHWC } from "./layouts.ts";
import type { Setting } from "./suite.ts";
import { load } from "./tutorial.ts";

interface EmbeddingCase {
  readonly params: {
    readonly dim: number;
    readonly flip_sin_to_cos: boolean;
    readonly downscale_freq_shift: number;
    readonly max_period: number;
  };
  readonly inputs: { readonly timesteps: string };
  readonly output: string;
  readonly tolerance: Pick<Tolerance, "atol">;
}

/** Sines and cosines of timesteps. */
export async function runTimestepEmbeddingCase(data: DataSet, given: Case, setting: Setting): Promise<boolean> {
  const { params, inputs, output, tolerance } = given as unknown as EmbeddingCase;
  const embed = setting.planned((t: Tensor) =>
    timestepEmbedding(t, params.dim, {
      flipSinToCos: params.flip_sin_to_cos,
      freqShift: params.downscale_freq_shift,
      maxPeriod: params.max_period,
    }),
  );
  const got = await setting.numbers(embed(setting.tensor(data.read(inputs.timesteps))));
  expectClose("embedding", got, data.read(output), { rtol: 0, ...tolerance });
  return true;
}

type Names = Readonly<Record<string, string>>;

interface DiTCase {
  readonly config: Readonly<Record<string, number>> & { readonly learn_sigma: boolean };
  /** Only the first case names them: weights are the same in all. */
  readonly state?: Names;
  readonly inputs: { readonly x: string; readonly t: string; readonly y: string };
  readonly output: string;
  readonly cotangent?: string;
  readonly grad_x?: string;
  readonly grads?: Names;
  readonly grad_norm?: Readonly<Record<string, number>>;
  readonly cfg_scale?: number;
  readonly tolerance: Tolerance;
}

/** A DiT with the weights of the data set. */
function ditOf(data: DataSet, { config }: DiTCase, setting: Setting): DiT {
  const { state } = data.cases.map((each) => each as unknown as DiTCase).find((each) => each.state !== undefined)!;
  const model = new DiT({
    imageSize: config.input_size,
    patchSize: config.patch_size,
    inChannels: config.in_channels,
    width: config.hidden_size,
    depth: config.depth,
    heads: config.num_heads,
    mlpRatio: config.mlp_ratio,
    classes: config.num_classes,
    learnSigma: config.learn_sigma,
    dtype: setting.dtype,
  }).eval();
  const positions: Numbers = {
    data: Float64Array.from([model.pos_embed.toArray()].flat(3) as number[]),
    shape: model.pos_embed.shape,
    dtype: "float32",
  };
  expectClose("pos_embed", positions, data.read(state!.pos_embed), { rtol: 0, atol: 1e-6 });
  load(model, data, state!);
  return model;
}

/** A forward of DiT with all gradients, or one with guidance. */
export async function runDiTCase(data: DataSet, given: Case, setting: Setting): Promise<boolean> {
  const c = given as unknown as DiTCase;
  const model = ditOf(data, c, setting);
  const [x, t, y] = [c.inputs.x, c.inputs.t, c.inputs.y].map((name) => setting.tensor(data.read(name)));
  try {
    if (c.cfg_scale === undefined) await judgeForward(model, data, c, [x, t, y], setting);
    else await judgeGuided(model, data, c, [x, t, y], setting);
  } finally {
    model.dispose();
  }
  return true;
}

type Inputs = readonly [x: Tensor, t: Tensor, y: Tensor];

async function judgeForward(model: DiT, data: DataSet, c: DiTCase, inputs: Inputs, setting: Setting): Promise<void> {
  const names = Object.keys(c.grad_norm!);
  const compute = setting.planned((x: Tensor, t: Tensor, y: Tensor, cotangent: Tensor) => {
    const image = x.detach().requireGrad();
    const output = toNCHW(model.forward(toNHWC(image), t, { classLabels: y }));
    output.backward(cotangent);
    const parameters = model.namedParameters();
    const gradients = names.map((name) => parameters.get(name)!.grad!.detach());
    return { output, image: image.grad!.detach(), gradients };
  });
  const { output, image, gradients } = scope(() => compute(...inputs, setting.tensor(data.read(c.cotangent!))));
  expectClose("output", await setting.numbers(output), data.read(c.output), c.tolerance);
  expectClose("grad_x", await setting.numbers(image), data.read(c.grad_x!), c.tolerance);
  for (const [i, name] of names.entries()) {
    const ours = await setting.numbers(gradients[i]);
    const { data: values, shape } = toTorch(model.namedParameters().get(name)!.layout, ours.data, ours.shape);
    const got: Numbers = { data: values, shape, dtype: "float32" };
    if (name in c.grads!) expectClose(`grad.${name}`, got, data.read(c.grads![name]), c.tolerance);
    const norm = (given: number): Numbers => ({ data: Float64Array.of(given), shape: [], dtype: "float32" });
    expectClose(`norm of grad.${name}`, norm(Math.hypot(...values)), norm(c.grad_norm![name]), c.tolerance);
  }
}

/**
 * The original takes each image twice, with its label and with the null class, and gives both the guided channels; those
 * that are not guided stay what they are with the one and the other.
 */
async function judgeGuided(model: DiT, data: DataSet, c: DiTCase, inputs: Inputs, setting: Setting): Promise<void> {
  const guidedChannels = 3;
  const compute = setting.planned((x: Tensor, t: Tensor, y: Tensor) =>
    noGrad(() => {
      const [images, times, classLabels] = [toNHWC(x), t, y].map((both) => both.chunk(2, 0)[0]);
      const options = { classLabels, guidanceScale: c.cfg_scale!, guidedChannels };
      const guided = model.forwardGuided(images, times, options);
      const plain = model.forward(images, times, { classLabels: null });
      const [eps] = guided.split([guidedChannels, model.outChannels - guidedChannels], -1);
      const [, rest] = plain.split([guidedChannels, model.outChannels - guidedChannels], -1);
      return toNCHW(concat([guided, concat([eps, rest], -1)], 0));
    }),
  );
  expectClose("output", await setting.numbers(scope(() => compute(...inputs))), data.read(c.output), c.tolerance);
}
