// Inpainting: the part of a picture that is known is put back after every step, at that step's noise level, and in the end as it is.

import type { NoiseLevel } from "../diffusion/predictions.ts";
import { StepTable } from "../diffusion/step-table.ts";
import { ArgumentError } from "../errors/index.ts";
import { draws } from "../tensor/random.ts";
import type { StepNumber } from "../tensor/recording.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { NoisePlace } from "./reverse-process.ts";
import { noiseAt } from "./reverse-process.ts";

/** What is known of the pictures. */
export interface InpaintOptions {
  /** The pictures, in the range of the training data: [count, H, W, C], or [1, H, W, C] for one that all have. */
  readonly image: Tensor;
  /** 1 where the network paints, 0 where the picture is known and stays as it is, or between: [count or 1, H, W, 1 or C]. */
  readonly mask: Tensor;
  /**
   * How often each stretch of `jump` steps is made: RePaint goes back by adding noise, and makes it again, so that what is
   * painted goes with what is known (Lugmayr et al. 2022, algorithm 1). Default 1: nothing is made again.
   */
  readonly resamples?: number;
  /** Length of such a stretch in steps, at most. Default 10. */
  readonly jump?: number;
}

/** A step of a run: a call, and then a way back, by noise. */
export interface Visit {
  /** Number of the call. */
  readonly call: number;
  /** Number of the call that x is noised back to afterwards; that of the next one where it is not. */
  readonly then: number;
}

/** The calls in order, each once. */
export function straightOn(calls: number): Visit[] {
  return Array.from({ length: calls }, (_, call) => ({ call, then: call + 1 }));
}

/** The calls in RePaint's order: stretches of `jump` calls are made `resamples` times, with a way back between. */
export function withResamples(calls: number, { resamples = 1, jump = 10 }: InpaintOptions): Visit[] {
  for (const [name, value] of Object.entries({ resamples, jump }))
    if (!Number.isInteger(value) || value < 1)
      throw new ArgumentError({ op: "inpaint", problem: `${name} is ${value}, expected an integer >= 1.` });
  const visits: Visit[] = [];
  for (let first = 0; first < calls; first += jump) {
    const stretch = straightOn(Math.min(jump, calls - first)).map(({ call }) => call + first);
    for (let round = 0; round < resamples; round++)
      for (const call of stretch) {
        const isBack = call === stretch.at(-1) && round < resamples - 1;
        visits.push({ call, then: isBack ? first : call + 1 });
      }
  }
  return visits;
}

/** Share of the variance up to which noise that a sampler leaves in the end counts as none: what it ends with are pictures. */
const mostFinalNoise = 0.01;

/** The level at which known pictures are put back after the last call. */
function finalLevel(end: NoiseLevel): NoiseLevel {
  const share = end.noise ** 2 / (end.signal ** 2 + end.noise ** 2);
  return share > mostFinalNoise ? end : { signal: 1, noise: 0 };
}

/** Puts back what is known, and adds noise where a run goes back. */
export class Inpainting {
  /** Factors of the known picture and of noise, after each visit. */
  private readonly known: StepTable;
  /** Factors of x and of noise of the way back, after each visit; undefined where there is none. */
  private readonly back: StepTable | undefined;

  constructor(visits: readonly Visit[], levels: readonly NoiseLevel[]) {
    const after = visits.map(({ call }) => levels[call + 1]);
    const target = visits.map(({ then }) => levels[then]);
    const known = [...after.slice(0, -1), finalLevel(after.at(-1)!)];
    this.known = new StepTable([
      Float64Array.from(known, ({ signal }) => signal),
      Float64Array.from(known, ({ noise }) => noise),
    ]);
    if (visits.every(({ call, then }) => then === call + 1)) return;
    const kept = target.map(({ signal }, k) => signal / after[k].signal);
    const variances = target.map(({ noise }, k) => noise ** 2 - (kept[k] * after[k].noise) ** 2);
    // Rounding may leave a little less than nothing.
    if (!variances.every((variance) => variance > -1e-9))
      throw new ArgumentError({
        op: "inpaint",
        problem: "resamples go back to more noise, and the noise of this sampler's steps does not fall.",
        advice: "Leave resamples at 1.",
      });
    const added = variances.map((variance) => Math.sqrt(Math.max(0, variance)));
    this.back = new StepTable([Float64Array.from(kept), Float64Array.from(added)]);
  }

  /** Frees its tables. */
  dispose(): void {
    this.known.dispose();
    this.back?.dispose();
  }

  /** x after a visit, with what is known of it: mask x + (1 - mask) (signal image + noise epsilon). */
  putBack(x: Tensor, { image, mask }: InpaintOptions, visit: StepNumber, place: NoisePlace): Tensor {
    const [signal, noise] = numbersAt(this.known, visit, x);
    const known = image.mul(signal).add(noiseAt(x, draws.forwardNoise, place).mul(noise));
    const whole = known.add(x.sub(known).mul(mask));
    if (!this.back) return whole;
    const [kept, added] = numbersAt(this.back, visit, x);
    return whole.mul(kept).add(noiseAt(x, draws.secondReverseNoise, place).mul(added));
  }
}

function numbersAt(table: StepTable, visit: StepNumber, like: Tensor): [Tensor, Tensor] {
  const [first, second] = table.on(like).row(visit).unbind(0);
  return [first, second];
}
