// The time of the variance-preserving SDE: how sigma grows with it (Song et al. 2021; Karras et al. 2022, table 1).

/** sigma(t) = sqrt(exp(betaD t^2 / 2 + betaMin t) - 1), and what belongs to it. */
export class VariancePreservingTime {
  private readonly betaD: number;
  private readonly betaMin: number;

  /** `betaD` is the extent of the noise schedule, `betaMin` its slope at the start. */
  constructor(betaD: number, betaMin: number) {
    this.betaD = betaD;
    this.betaMin = betaMin;
  }

  /** The one that has sigmaMin at the least time and sigmaMax at 1. */
  static between(sigmaMin: number, sigmaMax: number, leastTime: number): VariancePreservingTime {
    const exponent = (sigma: number): number => Math.log1p(sigma ** 2);
    const betaD = (2 * (exponent(sigmaMin) / leastTime - exponent(sigmaMax))) / (leastTime - 1);
    return new VariancePreservingTime(betaD, exponent(sigmaMax) - 0.5 * betaD);
  }

  /** sigma at a time. */
  sigma(t: number): number {
    return Math.sqrt(Math.expm1(0.5 * this.betaD * t ** 2 + this.betaMin * t));
  }

  /** Its derivative. */
  slope(t: number): number {
    const sigma = this.sigma(t);
    return 0.5 * (this.betaMin + this.betaD * t) * (sigma + 1 / sigma);
  }

  /** The time at which it is sigma. */
  timeOf(sigma: number): number {
    return (Math.sqrt(this.betaMin ** 2 + 2 * this.betaD * Math.log1p(sigma ** 2)) - this.betaMin) / this.betaD;
  }
}
