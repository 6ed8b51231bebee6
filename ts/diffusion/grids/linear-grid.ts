// Evenly spaced numbers in float64, rounded as numpy rounds them: what every schedule and grid starts from.

/** `count` numbers from `start` to `stop`, both included (numpy.linspace): one number is `start`. */
export function linearGrid(start: number, stop: number, count: number): Float64Array {
  const step = (stop - start) / (count - 1);
  return Float64Array.from({ length: count }, (_, i) => (i > 0 && i === count - 1 ? stop : start + (i && i * step)));
}

/** The nearest integer, and the even one of two that are as near (numpy.round): 62.5 -> 62, 187.5 -> 188. */
export function roundHalfToEven(value: number): number {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}
