// Cases of learning rates: diffusers' schedules over 50 steps.

import type { LearningRateSchedule } from "langevin";
import { constantLr, cosineLr, cosineWithRestartsLr, linearLr, piecewiseConstantLr, polynomialLr } from "langevin";
import type { Tolerance } from "./compare.ts";
import { expectClose } from "./compare.ts";
import type { Case, DataSet } from "./data-set.ts";

interface LearningRatesCase {
  readonly schedule: keyof typeof schedules;
  readonly kwargs: Kwargs;
  readonly lr: number;
  readonly values: string;
  readonly tolerance: Tolerance;
}

interface Kwargs {
  readonly num_warmup_steps?: number;
  readonly num_training_steps?: number;
  readonly num_cycles?: number;
  readonly power?: number;
  readonly step_rules?: string;
}

const warmupOf = (peak: number, { num_warmup_steps: warmup }: Kwargs) => ({ peak, warmup });
const decayOf = (peak: number, kwargs: Kwargs) => ({ ...warmupOf(peak, kwargs), steps: kwargs.num_training_steps! });

const schedules = {
  constant: (peak: number, _: Kwargs) => constantLr({ peak }),
  constant_with_warmup: (peak: number, kwargs: Kwargs) => constantLr(warmupOf(peak, kwargs)),
  linear: (peak: number, kwargs: Kwargs) => linearLr(decayOf(peak, kwargs)),
  cosine: (peak: number, kwargs: Kwargs) => cosineLr(decayOf(peak, kwargs)),
  cosine_with_restarts: (peak: number, kwargs: Kwargs) =>
    cosineWithRestartsLr({ ...decayOf(peak, kwargs), cycles: kwargs.num_cycles }),
  polynomial: (peak: number, kwargs: Kwargs) => polynomialLr({ ...decayOf(peak, kwargs), power: kwargs.power }),
  piecewise_constant: (base: number, kwargs: Kwargs) => stairsOf(base, kwargs.step_rules!),
};

/** diffusers' rules, "factor:end,...,factor". */
function stairsOf(base: number, rules: string): LearningRateSchedule {
  const all = rules.split(",").map((rule) => rule.split(":").map(Number));
  const rest = base * all.pop()![0];
  return piecewiseConstantLr({ stairs: all.map(([factor, until]) => ({ until, lr: base * factor })), rest });
}

/** Runs a case of `golden/optim/lr_schedules`. */
export async function runLearningRatesCase(data: DataSet, given: Case): Promise<boolean> {
  const { schedule, kwargs, lr, values, tolerance } = given as unknown as LearningRatesCase;
  const rate = schedules[schedule](lr, kwargs);
  const expected = data.read(values);
  expectClose("lr", { ...expected, data: expected.data.map((_, step) => rate(step)) }, expected, tolerance);
  return true;
}
