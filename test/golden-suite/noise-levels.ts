// Cases of noisy pictures at given timesteps (add_noise, velocities, scale_noise), and of preconditioned networks.

import type { Preconditioning, SamplingGrid, SigmaTraining, Solver, Tensor } from "langevin";
import {
  GaussianPath,
  denoise,
  denoisingLoss,
  edmPreconditioning,
  edmTraining,
  iddpmPreconditioning,
  scope,
  vePreconditioning,
  veTraining,
  vpPreconditioning,
  vpTraining,
} from "langevin";
import type { Tolerance } from "./compare.ts";
import { expectClose } from "./compare.ts";
import type { Case, DataSet, Numbers } from "./data-set.ts";
import type { ScheduleConfig, SetTimesteps } from "./schedules.ts";
import { runOf, scheduleOf, schedulerOf } from "./schedules.ts";
import type { Setting } from "./suite.ts";

interface AddNoiseCase {
  readonly scheduler: string;
  readonly config: ScheduleConfig & Readonly<Record<string, unknown>>;
  readonly set_timesteps: SetTimesteps;
  readonly inputs: Readonly<Record<"x0" | "noise" | "t", string>>;
  readonly add_noise: string;
  readonly velocity?: string;
  readonly precondition?: PreconditionedStep;
  readonly tolerance: Tolerance;
}

interface PreconditionedStep {
  readonly sigma: string;
  readonly x: string;
  readonly model_output: string;
  readonly inputs_out: string;
  readonly c_noise: string;
  readonly denoised: string;
  readonly sigma_data: number;
}

/** The path of a scheduler that finds sigma by the place of a timestep in its grid. */
function pathOf({ levels }: Solver): GaussianPath {
  return new GaussianPath(
    levels.map(({ signal }) => signal),
    levels.map(({ noise }) => noise),
  );
}

/** Places of timesteps in a grid: of one that is visited twice the second, and the last for one that is not there. */
function stepsIn(grid: SamplingGrid, { data, shape }: Numbers): Numbers {
  const places = data.map((t) => {
    const found = [...grid.timesteps.keys()].filter((i) => Math.abs(grid.timesteps[i] - t) < 1e-3);
    return found[1] ?? found[0] ?? grid.timesteps.length - 1;
  });
  return { data: places, shape, dtype: "int32" };
}

/** Runs a case of `golden/schedulers/add_noise`. */
export async function runAddNoiseCase(data: DataSet, given: Case, setting: Setting): Promise<boolean> {
  const { scheduler, config, set_timesteps, inputs, tolerance, ...c } = given as unknown as AddNoiseCase;
  const [x0, noise] = [data.read(inputs.x0), data.read(inputs.noise)].map((x) => setting.tensor(x));
  const sampler = schedulerOf(scheduler, config);
  const grid = sampler.grid(runOf(set_timesteps));
  // Others look t itself up in the schedule.
  const path = grid.sigmas && pathOf(sampler.solver(runOf(set_timesteps)));
  const steps = data.read(inputs.t);
  const t = setting.tensor(path ? stepsIn(grid, steps) : steps);
  const noisy = (path ?? scheduleOf(config).path).addNoise(x0, t, noise);
  expectClose("add_noise", await setting.numbers(noisy), data.read(c.add_noise), tolerance);
  if (c.velocity) {
    // EulerDiscreteScheduler.get_velocity looks the step of the sampling grid up in the table of training: hence the same t.
    const velocity = scheduleOf(config).velocity(x0, t, noise);
    expectClose("velocity", await setting.numbers(velocity), data.read(c.velocity), tolerance);
  }
  if (c.precondition) await expectPreconditioned(data, c.precondition, tolerance, setting);
  return true;
}

async function expectPreconditioned(
  data: DataSet,
  step: PreconditionedStep,
  tolerance: Tolerance,
  setting: Setting,
): Promise<void> {
  const edm = edmPreconditioning({ sigmaData: step.sigma_data });
  const read = (name: string): Tensor => setting.tensor(data.read(name));
  const seen: Tensor[] = [];
  const denoised = denoise(
    edm,
    (x, noise) => {
      seen.push(x, noise);
      return read(step.model_output);
    },
    read(step.x),
    read(step.sigma),
  );
  expectClose("inputs", await setting.numbers(seen[0]), data.read(step.inputs_out), tolerance);
  expectClose("c_noise", await setting.numbers(seen[1]), data.read(step.c_noise), tolerance);
  expectClose("denoised", await setting.numbers(denoised), data.read(step.denoised), tolerance);
}

/** The preconditionings by the names that the golden data gives them. */
export type PreconditioningName = "edm" | "vp" | "ve" | "iddpm";

/** The network a u + b sin(w cNoise) + d cos(u). */
type NetworkFactors = Readonly<Record<"a" | "b" | "w" | "d", number>>;

interface PreconditioningCase {
  readonly name: `precond_${PreconditioningName}`;
  readonly config: Readonly<Record<string, number>>;
  readonly model: NetworkFactors;
  readonly inputs: { readonly x: string; readonly sigma: string };
  readonly round_sigma: string;
  readonly denoised: string;
  readonly sigma_min: number;
  readonly sigma_max: number | "inf";
  readonly tolerance: Tolerance;
}

/** The preconditioning of this name and configuration. */
export function preconditioningOf(
  name: PreconditioningName,
  config: Readonly<Record<string, number>>,
): Preconditioning {
  switch (name) {
    case "edm":
      return edmPreconditioning({ sigmaData: config.sigma_data });
    case "vp": {
      const { beta_d: betaD, beta_min: betaMin, M: steps, epsilon_t: leastTime } = config;
      return vpPreconditioning({ betaD, betaMin, steps, leastTime });
    }
    case "ve":
      return vePreconditioning({ sigmaMin: config.sigma_min, sigmaMax: config.sigma_max });
    case "iddpm":
      return iddpmPreconditioning({ leastRatio: config.C_1, offset: config.C_2, steps: config.M });
  }
}

function networkOf({ a, b, w, d }: NetworkFactors): (u: Tensor, noise: Tensor) => Tensor {
  return (u, noise) => {
    const wave = noise.mul(w).sin().mul(b);
    return u.mul(a).add(wave.reshape([-1, 1, 1, 1])).add(u.cos().mul(d)); // prettier-ignore
  };
}

const number = (value: number): Numbers => ({ data: Float64Array.of(value), shape: [], dtype: "float32" });

/** Runs a case of preconditioning of `golden/extra/edm`. */
export async function runPreconditioningCase(data: DataSet, given: Case, setting: Setting): Promise<boolean> {
  const c = given as unknown as PreconditioningCase;
  const preconditioning = preconditioningOf(c.name.replace("precond_", "") as PreconditioningName, c.config);
  const [x, sigma] = [setting.tensor(data.read(c.inputs.x)), setting.tensor(data.read(c.inputs.sigma))];
  const { rounded, denoised } = scope(() => {
    const level = preconditioning.round(sigma);
    return { rounded: level.clone(), denoised: denoise(preconditioning, networkOf(c.model), x, level) };
  });
  expectClose("round_sigma", await setting.numbers(rounded), data.read(c.round_sigma), c.tolerance);
  expectClose("denoised", await setting.numbers(denoised), data.read(c.denoised), c.tolerance);
  // VP's sigma_min is sqrt(exp(...) - 1) in float32: compare what is below the root with a unit of it.
  const unit = { rtol: 1e-3, atol: 2 ** -23 };
  expectClose("sigma_min²", number(preconditioning.sigmaMin ** 2), number(c.sigma_min ** 2), unit);
  const greatest = c.sigma_max === "inf" ? Infinity : c.sigma_max;
  expectClose("sigma_max", number(preconditioning.sigmaMax), number(greatest), c.tolerance);
  return true;
}

interface DenoisingLossCase {
  readonly precond: "edm" | "vp" | "ve";
  readonly precond_config: Readonly<Record<string, number>>;
  readonly model: NetworkFactors;
  readonly inputs: { readonly images: string; readonly rnd: string; readonly noise: string };
  readonly loss: string;
  readonly tolerance: Tolerance;
}

function trainingOf({ precond, precond_config: config }: DenoisingLossCase): SigmaTraining {
  switch (precond) {
    case "edm":
      return edmTraining({ sigmaData: config.sigma_data });
    case "vp":
      return vpTraining({ betaD: config.beta_d, betaMin: config.beta_min, leastTime: config.epsilon_t });
    case "ve":
      return veTraining({ sigmaMin: config.sigma_min, sigmaMax: config.sigma_max });
  }
}

/** Runs a case of losses of `golden/extra/edm`. */
export async function runDenoisingLossCase(data: DataSet, given: Case, setting: Setting): Promise<boolean> {
  const c = given as unknown as DenoisingLossCase;
  const preconditioning = preconditioningOf(c.precond, c.precond_config);
  const training = trainingOf(c);
  const [images, random, noise] = [c.inputs.images, c.inputs.rnd, c.inputs.noise].map((name) =>
    setting.tensor(data.read(name)),
  );
  const lossOf = setting.planned((x0: Tensor, numbers: Tensor, epsilon: Tensor) => {
    const sigma = training.sigma(numbers);
    const options = { preconditioning, training, sigma, noise: epsilon, reduction: "none" } as const;
    return denoisingLoss(networkOf(c.model), x0, options);
  });
  const loss = lossOf(images, random.reshape([-1]), noise);
  expectClose("loss", await setting.numbers(loss), data.read(c.loss), c.tolerance);
  return true;
}
