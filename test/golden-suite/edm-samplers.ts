// Cases of EDM's samplers, with and without churn, and of the ablations of its paper.

import type { EdmSamplerOptions, Network, StepNumber } from "langevin";
import { edmSampler, iterate, noGrad, scope } from "langevin";
import { Counter, perStep } from "../../ts/tensor/recording.ts";
import { expectClose, expectRelativeL2 } from "./compare.ts";
import type { Case, DataSet } from "./data-set.ts";
import { toNCHW, toNHWC } from "./layouts.ts";
import type { PreconditioningName } from "./noise-levels.ts";
import { preconditioningOf } from "./noise-levels.ts";
import { table } from "./schedules.ts";
import type { Setting } from "./suite.ts";

interface SamplerCase {
  readonly precond: PreconditioningName;
  readonly precond_config: Readonly<Record<string, number>>;
  readonly kwargs: Readonly<Record<string, number | string>>;
  readonly model: { readonly a: number; readonly b: number; readonly w: number; readonly d: number };
  readonly inputs: { readonly latents: string; readonly noise: string };
  readonly t_steps_f64?: string;
  readonly output: string;
  readonly tolerance: { readonly rel_l2: number };
}

/** The paper's names of options, as they are called here. */
const optionNames: Readonly<Record<string, keyof EdmSamplerOptions>> = {
  num_steps: "steps",
  S_churn: "churn",
  S_min: "churnMin",
  S_max: "churnMax",
  S_noise: "churnNoise",
  solver: "method",
  discretization: "discretization",
  schedule: "schedule",
  scaling: "scaling",
  alpha: "alpha",
};

/** Runs a case of a sampler of `golden/extra/edm`. */
export async function runEdmSamplerCase(data: DataSet, given: Case, setting: Setting): Promise<boolean> {
  const c = given as unknown as SamplerCase;
  const options = Object.entries(c.kwargs).map(([name, value]) => [optionNames[name], value] as const);
  const preconditioning = preconditioningOf(c.precond, c.precond_config);
  const solver = edmSampler({ preconditioning, ...Object.fromEntries(options) } as unknown as EdmSamplerOptions);
  // With churn, the levels of calls are those that noise raises them to.
  if (c.t_steps_f64 !== undefined && !("S_churn" in c.kwargs)) {
    const sigmas = solver.levels.filter((_, k) => k % 2 === 0).map(({ noise }) => noise);
    const got = table(Float64Array.of(...sigmas, 0));
    expectClose("t_steps", got, data.read(c.t_steps_f64), { rtol: 1e-12, atol: 0 });
  }
  const { a, b, w, d } = c.model;
  const waves = setting.tensor(table(solver.timesteps.map((t) => b * Math.sin(w * t))));
  const network = (call: StepNumber): Network => (u) => u.mul(a).add(waves.row(call)).add(u.cos().mul(d)); // prettier-ignore
  // Noise belongs to steps, of two calls but for the last.
  const noise = setting.tensor(data.read(c.inputs.noise)).permute([0, 1, 3, 4, 2]);
  const latents = toNHWC(setting.tensor(data.read(c.inputs.latents)));
  const perStepCalls = c.kwargs.solver === "euler" ? 1 : 2;
  const chain = setting.planned(() =>
    noGrad(() => {
      const done = new Counter();
      return iterate(solver.calls, solver.start(latents.mul(solver.initialNoise)), (state) => {
        const call = perStep(() => done.value);
        const step = perStep(() => Math.floor(done.value / perStepCalls));
        const after = solver.step(state, call, network(call), () => noise.row(step));
        done.add();
        return after;
      }).x;
    }),
  );
  expectRelativeL2("output", await setting.numbers(toNCHW(scope(chain))), data.read(c.output), c.tolerance.rel_l2);
  return true;
}
