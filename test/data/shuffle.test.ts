// The order of an epoch: a permutation, fixed by its seed, uniform over the orders there are.

import { expect } from "chai";
import { shuffledOrder } from "../../ts/data/shuffle.ts";
import { ArgumentError } from "../../ts/errors/index.ts";
import { failure } from "../failure.ts";

const draw = 5;

describe("shuffledOrder", () => {
  it("visits each example once", () => {
    for (const count of [0, 1, 2, 5, 64, 1797]) {
      const sorted = shuffledOrder(count, 7n, 0, draw).slice().sort();
      expect([...sorted]).to.deep.equal(Array.from({ length: count }, (_, i) => i));
    }
  });

  it("is the same for the same seed and epoch, another otherwise", () => {
    const order = (seed: bigint, epoch: number, use = draw): string => shuffledOrder(50, seed, epoch, use).join();
    expect(order(7n, 3)).to.equal(order(7n, 3));
    const orders = [order(7n, 3), order(7n, 4), order(8n, 3), order(7n + (1n << 40n), 3), order(7n, 3, draw + 1)];
    expect(new Set(orders).size).to.equal(orders.length);
  });

  it("never changes: old seeds keep their meaning", () => {
    expect([...shuffledOrder(10, 7n, 0, draw)]).to.deep.equal([4, 1, 5, 6, 7, 3, 2, 8, 9, 0]);
  });

  it("gives each of the 24 orders of four about equally often", () => {
    const counts = new Map<string, number>();
    const epochs = 24_000;
    for (let epoch = 0; epoch < epochs; epoch++) {
      const order = shuffledOrder(4, 1n, epoch, draw).join();
      counts.set(order, (counts.get(order) ?? 0) + 1);
    }
    expect(counts.size).to.equal(24);
    const chiSquare = [...counts.values()].reduce((sum, n) => sum + (n - 1000) ** 2 / 1000, 0);
    expect(chiSquare).to.be.below(49.7); // 23 degrees of freedom: one seed in a thousand is above
  });

  it("refuses sizes and epochs that are none", () => {
    for (const [count, epoch, text] of [
      [-1, 0, "count is -1"],
      [2.5, 0, "count is 2.5"],
      [2 ** 31, 0, "count is 2147483648"],
      [3, -1, "epoch is -1"],
      [3, 2 ** 32, "epoch is 4294967296"],
    ] as const) {
      const error = failure(() => shuffledOrder(count, 0n, epoch, draw));
      expect(error).to.be.instanceOf(ArgumentError);
      expect(error.message).to.include(`shuffledOrder: ${text}, expected an integer from 0 to`);
    }
  });
});
