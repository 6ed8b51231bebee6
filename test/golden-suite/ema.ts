// Cases of averages of weights: decays and shadows of diffusers' EMAModel over 40 updates, and a table of decays.

import { EMA, Parameter, zeros } from "langevin";
import type { EMAOptions, Tensor } from "langevin";
import type { Tolerance } from "./compare.ts";
import { expectClose } from "./compare.ts";
import type { Case, DataSet, Numbers } from "./data-set.ts";
import type { Setting } from "./suite.ts";

interface EmaCase {
  readonly kwargs: Kwargs;
  readonly init: string;
  readonly source: string;
  readonly shadow: string;
  readonly decay: string;
  readonly tolerance: { readonly shadow: Tolerance; readonly decay: { readonly rtol: number } };
}

interface Kwargs {
  readonly decay: number;
  readonly min_decay?: number;
  readonly update_after_step?: number;
  readonly use_ema_warmup?: boolean;
  readonly inv_gamma?: number;
  readonly power?: number;
}

function optionsOf({ decay, power, ...c }: Kwargs): EMAOptions {
  const { min_decay: minDecay, update_after_step: updateAfterStep, use_ema_warmup: useWarmup, inv_gamma: invGamma } = c;
  return { decay, minDecay, updateAfterStep, useWarmup, invGamma, power };
}

const decays = (data: ArrayLike<number>): Numbers => ({
  data: Float64Array.from(data),
  shape: [data.length],
  dtype: "float32",
});

/** Runs a case of `golden/optim/ema`. */
export async function runEmaCase(data: DataSet, given: Case, setting: Setting): Promise<boolean> {
  const c = given as unknown as EmaCase;
  const [source, expected] = [data.read(c.source), data.read(c.shadow)];
  const [steps, ...shape] = source.shape;
  const row = ({ data: values, dtype }: Numbers, k: number): Numbers => {
    const size = values.length / steps;
    return { data: values.subarray(k * size, (k + 1) * size), shape, dtype };
  };
  const parameter = new Parameter(setting.tensor(data.read(c.init)));
  const ema = new EMA([parameter], optionsOf(c.kwargs));
  const step = setting.planned((values: Tensor) => {
    parameter.assign(values);
    ema.update();
  });
  for (let k = 0; k < steps; k++) {
    step(setting.tensor(row(source, k)));
    const shadow = ema.stateDict().tensors["0.shadow"];
    expectClose(`shadow after update ${k + 1}`, await setting.numbers(shadow), row(expected, k), c.tolerance.shadow);
  }
  const got = decays(Array.from({ length: steps }, (_, k) => ema.decayAt(k + 1)));
  expectClose("decay", got, data.read(c.decay), { ...c.tolerance.decay, atol: 0 });
  ema.dispose();
  parameter.dispose();
  return true;
}

interface DecayTableCase {
  readonly steps: readonly number[];
  readonly warmup_decay: readonly number[];
  readonly default_decay: readonly number[];
  readonly tolerance: { readonly rtol: number };
}

/** Runs the table of decays of `golden/optim/ema`. */
export async function runDecayTableCase(_: DataSet, given: Case): Promise<boolean> {
  const c = given as unknown as DecayTableCase;
  for (const [useWarmup, expected] of [
    [true, c.warmup_decay],
    [false, c.default_decay],
  ] as const) {
    const ema = new EMA([new Parameter(zeros([1]))], { useWarmup });
    const got = decays(c.steps.map((step) => ema.decayAt(step)));
    expectClose(`decay ${useWarmup ? "with" : "without"} warm-up`, got, decays(expected), { ...c.tolerance, atol: 0 });
    ema.dispose();
  }
  return true;
}
