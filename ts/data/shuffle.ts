// The order in which an epoch visits the examples of a data set: a permutation that the seed and the epoch determine.

import { highProduct, philox } from "../device/ts/noise.ts";
import { ArgumentError } from "../errors/index.ts";

/**
 * A permutation of 0 ... count - 1 (Fisher and Yates, from the last place down). Random word i lies at the Philox counter
 * (i / 4, draw, 0, epoch) under the 64-bit seed, so an epoch's order does not depend on which came before.
 */
export function shuffledOrder(count: number, seed: bigint, epoch: number, draw: number): Int32Array {
  expectInteger("count", count, 2 ** 31 - 1);
  expectInteger("epoch", epoch, 2 ** 32 - 1);
  expectInteger("draw", draw, 2 ** 32 - 1);
  const [low, high] = [Number(BigInt.asUintN(32, seed)), Number(BigInt.asUintN(32, seed >> 32n))];
  const words = new Int32Array(4);
  const order = Int32Array.from({ length: count }, (_, i) => i);
  for (let i = 0; i < count - 1; i++) {
    if (i % 4 === 0) philox(i / 4, draw, 0, epoch, low, high, words);
    const place = count - 1 - i;
    const chosen = highProduct(words[i % 4], place + 1); // floor(word (place + 1) / 2^32)
    [order[place], order[chosen]] = [order[chosen], order[place]];
  }
  return order;
}

function expectInteger(name: string, value: number, highest: number): void {
  if (!Number.isInteger(value) || value < 0 || value > highest)
    throw new ArgumentError({
      op: "shuffledOrder",
      problem: `${name} is ${value}, expected an integer from 0 to ${highest}.`,
    });
}
