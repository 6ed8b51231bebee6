// Cases of DiT's Gaussian diffusion with learned sigma: respacing, p_mean_variance, hybrid losses, chains of p_sample and DDIM.

import type { GaussianDiffusion as Diffusion, NoiseScheduleOptions, Respacing, Tensor } from "langevin";
import { GaussianDiffusion, NoiseSchedule, concat, noGrad, respace, scope, stack } from "langevin";
import type { Tolerance } from "./compare.ts";
import { expectClose } from "./compare.ts";
import type { Case, DataSet } from "./data-set.ts";
import { toNCHW, toNHWC } from "./layouts.ts";
import type { Setting } from "./suite.ts";

interface GaussianDiffusionCase {
  readonly respacing: string;
  readonly kwargs: { readonly noise_schedule?: "squaredcos_cap_v2" };
  readonly model: NetworkFactors;
  readonly timestep_map: string;
  readonly betas: string;
  readonly inputs: Readonly<Record<"x0" | "noise" | "t", string>>;
  readonly x_t: string;
  readonly losses: Readonly<Record<"vb" | "mse" | "loss", string>>;
  readonly p_mean_variance: Readonly<Record<"mean" | "variance" | "log_variance" | "pred_xstart", string>>;
  readonly p_sample?: ChainCase;
  readonly ddim_sample?: ChainCase;
  readonly tolerance: Tolerance;
}

type NetworkFactors = Readonly<Record<"a" | "b" | "w" | "d", number>>;

interface ChainCase {
  readonly x_init: string;
  readonly noise: string;
  readonly x: string;
}

/** a x + b sin(w t) + d cos(x) as the noise, and tanh(x) for the variance; t is the original timestep. */
function networkOf({ a, b, w, d }: NetworkFactors): { forward(x: Tensor, t: Tensor): Tensor } {
  return {
    forward: (x, t) => {
      const wave = t.to(x.dtype).mul(w).sin().mul(b).reshape([-1, 1, 1, 1]);
      return concat([x.mul(a).add(wave).add(x.cos().mul(d)), x.tanh()], -1);
    },
  };
}

function respacingOf({ respacing, kwargs }: GaussianDiffusionCase): Respacing {
  const schedule: NoiseScheduleOptions = kwargs.noise_schedule
    ? { steps: 1000, schedule: kwargs.noise_schedule }
    : { steps: 1000, betaStart: 1e-4, betaEnd: 0.02 };
  return respace(new NoiseSchedule(schedule), respacing === "" ? 1000 : respacing);
}

/** Runs a case of `golden/extra/gaussian_diffusion`. */
export async function runGaussianDiffusionCase(data: DataSet, given: Case, setting: Setting): Promise<boolean> {
  const c = given as unknown as GaussianDiffusionCase;
  const { schedule, timesteps, wrap } = respacingOf(c);
  const [map, betas] = [data.read(c.timestep_map), data.read(c.betas)];
  expectClose("timestep_map", { ...map, data: Float64Array.from(timesteps) }, map, { rtol: 0, atol: 0 });
  expectClose("betas", { ...betas, data: schedule.beta }, betas, { rtol: 1e-12, atol: 0 });
  const diffusion = new GaussianDiffusion({ schedule });
  const model = wrap(networkOf(c.model));

  const image = (name: string): Tensor => toNHWC(setting.tensor(data.read(name)));
  const results = setting.planned((x0: Tensor, t: Tensor, noise: Tensor) => {
    const x = schedule.addNoise(x0, t, noise);
    const output = model.forward(x, t);
    const { loss, mse, bound } = diffusion.losses(output, { x0, x, t, noise });
    const { mean, logVariance, x0: predicted } = diffusion.reverse(output, x, t);
    return {
      images: { x, mean, logVariance, variance: logVariance.exp(), predicted },
      losses: { loss, mse, bound: bound! },
    };
  });
  const { images, losses } = scope(() =>
    results(image(c.inputs.x0), setting.tensor(data.read(c.inputs.t)), image(c.inputs.noise)),
  );
  const p = c.p_mean_variance;
  const expected = {
    x: c.x_t,
    mean: p.mean,
    logVariance: p.log_variance,
    variance: p.variance,
    predicted: p.pred_xstart,
  };
  for (const [name, got] of Object.entries(images)) {
    const golden = data.read(expected[name as keyof typeof expected]);
    expectClose(name, await setting.numbers(toNCHW(got)), golden, c.tolerance);
  }
  const expectedLosses = { loss: c.losses.loss, mse: c.losses.mse, bound: c.losses.vb };
  for (const [name, got] of Object.entries(losses)) {
    const golden = data.read(expectedLosses[name as keyof typeof losses]);
    expectClose(name, await setting.numbers(got), golden, c.tolerance);
  }

  const chain = async (name: string, given: ChainCase | undefined, step: Step): Promise<void> => {
    if (given)
      await expectChain(name, data, given, { steps: schedule.steps, step, model, diffusion }, c.tolerance, setting);
  };
  await chain("p_sample", c.p_sample, ({ output, x, t, z }) => diffusion.ancestralStep(output, x, t, z).x);
  await chain("ddim_sample", c.ddim_sample, ({ output, x, t }) => diffusion.ddimStep(output, x, t).x);
  return true;
}

type Step = (at: { output: Tensor; x: Tensor; t: Tensor; z: Tensor }) => Tensor;

interface Chain {
  readonly steps: number;
  readonly step: Step;
  readonly model: { forward(x: Tensor, t: Tensor): Tensor };
  readonly diffusion: Diffusion;
}

/** A whole chain on the given noise, compared after every step. */
async function expectChain(
  name: string,
  data: DataSet,
  given: ChainCase,
  { steps, step, model, diffusion }: Chain,
  tolerance: Tolerance,
  setting: Setting,
): Promise<void> {
  const start = toNHWC(setting.tensor(data.read(given.x_init)));
  const noise = setting.tensor(data.read(given.noise)).permute([0, 1, 3, 4, 2]);
  const run = setting.planned((first: Tensor, z: Tensor) =>
    noGrad(() => {
      const images = [first];
      for (let k = 0; k < steps; k++) {
        const x = images[k];
        const t = diffusion.schedule.timesteps(steps - 1 - k, x);
        images.push(step({ output: model.forward(x, t), x, t, z: z.row(k) }));
      }
      return stack(images.slice(1).map(toNCHW));
    }),
  );
  expectClose(name, await setting.numbers(scope(() => run(start, noise))), data.read(given.x), tolerance);
}
