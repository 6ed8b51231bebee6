// Sizes that may grow with the batch, and how they are found: by looking at the same recording at several batch sizes.

/** times * N + plus, N the size of the batch. */
export interface Growing {
  readonly times: number;
  readonly plus: number;
}

/** A size or a position along an axis. */
export type Size = number | Growing;

/** Batches that a function with an open batch size is recorded at: two fix a line, the third tells what is none. */
export const probedBatches = [2, 3, 5] as const;

/** The size that has these values at the probed batches, or, where there is one only, is fixed; undefined if it is no line. */
export function sizeOfValues(values: readonly number[]): Size | undefined {
  const [first, second] = values;
  if (values.every((value) => value === first)) return first;
  const times = (second - first) / (probedBatches[1] - probedBatches[0]);
  const plus = first - times * probedBatches[0];
  const isLine = values.every((value, i) => value === times * probedBatches[i] + plus);
  return isLine && Number.isInteger(times) ? { times, plus } : undefined;
}

/** Whether two sizes are equal at every batch. */
export function sameSize(a: Size, b: Size): boolean {
  if (typeof a === "number" || typeof b === "number") return a === b;
  return a.times === b.times && a.plus === b.plus;
}

/** Whether two lists of sizes are equal at every batch. */
export function sameSizes(a: readonly Size[], b: readonly Size[]): boolean {
  return a.length === b.length && a.every((size, i) => sameSize(size, b[i]));
}

/** A size as the file names it: `8`, `batch`, `4*batch+1`. */
export function nameOfSize(size: Size, batch: string): number | string {
  if (typeof size === "number") return size;
  const { times, plus } = size;
  return `${times === 1 ? "" : `${times}*`}${batch}${plus === 0 ? "" : plus > 0 ? `+${plus}` : plus}`;
}
