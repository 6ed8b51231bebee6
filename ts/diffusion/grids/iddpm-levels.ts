// The noise levels that networks of Improved DDPM know.

/** What determines them. */
export interface IddpmLevelsOptions {
  /** Least ratio of successive alphaBar. Default 0.001. */
  readonly leastRatio?: number;
  /** Offset of the cosine. Default 0.008. */
  readonly offset?: number;
  /** Number of timesteps. Default 1000. */
  readonly steps?: number;
}

/** u_0 > u_1 > ... > u_steps = 0 of Karras et al. 2022, table 1: the cosine schedule of Nichol & Dhariwal 2021 as sigmas. */
export function iddpmLevels({ leastRatio = 0.001, offset = 0.008, steps = 1000 }: IddpmLevelsOptions): Float64Array {
  const alphaBar = (j: number): number => Math.sin(((0.5 * Math.PI) / (offset + 1)) * (j / steps)) ** 2;
  const levels = new Float64Array(steps + 1);
  for (let j = steps; j > 0; j--) {
    const ratio = Math.max(alphaBar(j - 1) / alphaBar(j), leastRatio);
    levels[j - 1] = Math.sqrt((levels[j] ** 2 + 1) / ratio - 1);
  }
  return levels;
}
