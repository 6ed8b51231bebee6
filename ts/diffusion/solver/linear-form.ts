// Sums of named tensors with float64 coefficients, calculated with as the equations of samplers are written.

/** Coefficients by the name of what they multiply. Immutable. */
export class LinearForm {
  /** The form that is 0. */
  static readonly zero = new LinearForm(new Map());
  private readonly coefficients: ReadonlyMap<string, number>;

  private constructor(coefficients: ReadonlyMap<string, number>) {
    this.coefficients = coefficients;
  }

  /** The tensor of this name itself. */
  static of(source: string): LinearForm {
    return new LinearForm(new Map([[source, 1]]));
  }

  /** Names of the tensors that are in the sum. */
  get sources(): string[] {
    return [...this.coefficients.keys()];
  }

  /** The coefficient of a tensor; 0 where it is not in the sum. */
  coefficient(source: string): number {
    return this.coefficients.get(source) ?? 0;
  }

  /** Each coefficient times a number. A number of 0 leaves nothing, not even of infinite coefficients. */
  times(factor: number): LinearForm {
    if (factor === 0) return LinearForm.zero;
    return new LinearForm(new Map([...this.coefficients].map(([source, value]) => [source, value * factor])));
  }

  /** Each coefficient divided by a number. */
  over(divisor: number): LinearForm {
    return new LinearForm(new Map([...this.coefficients].map(([source, value]) => [source, value / divisor])));
  }

  /** The sum of both. */
  plus(other: LinearForm): LinearForm {
    const sum = new Map(this.coefficients);
    for (const [source, value] of other.coefficients) sum.set(source, this.coefficient(source) + value);
    return new LinearForm(sum);
  }

  /** Their difference. */
  minus(other: LinearForm): LinearForm {
    return this.plus(other.times(-1));
  }
}
