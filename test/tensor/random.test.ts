// Seeded randomness through the public functions: the global stream, places in the noise, and what is refused.

import { expect } from "chai";
import { ArgumentError, DTypeError, draws, manualSeed, rand, randint, randn } from "langevin";
import type { Tensor } from "langevin";
import { failure } from "../failure.ts";
import { cpuIsBuilt, onEveryDevice } from "./devices.ts";

function bits(x: Tensor): number[] {
  return [...new Int32Array(Float32Array.from([x.toArray()].flat(9) as number[]).buffer)];
}

onEveryDevice("random tensors", () => {
  afterEach(() => {
    manualSeed(0);
  });

  it("come in the same order after manualSeed, and differ from each other and under another seed", () => {
    const draw = () => [randn([5]), rand([5]), randn([5]), randint(0, 1000, [5])].map((x) => String(x.toArray()));
    manualSeed(12);
    const first = draw();
    expect(new Set(first).size).to.equal(4);
    manualSeed(12);
    expect(draw()).to.deep.equal(first);
    expect(draw()).not.to.deep.equal(first);
    manualSeed(13);
    expect(draw()[0]).not.to.equal(first[0]);
    manualSeed(12n);
    expect(draw()).to.deep.equal(first);
  });

  it("with a seed of their own do not move the global stream", () => {
    manualSeed(3);
    const first = bits(randn([4]));
    manualSeed(3);
    randn([4], { seed: 9 });
    rand([4], { seed: 9 });
    expect(bits(randn([4]))).to.deep.equal(first);
  });

  it("are the same for the same place, and other for another seed, draw, image or step", () => {
    const at = { seed: 5, draw: draws.normal, image: 2, step: 3 };
    const here = bits(randn([8], at));
    expect(bits(randn([8], at))).to.deep.equal(here);
    for (const change of [{ seed: 6 }, { draw: draws.forwardNoise }, { image: 3 }, { step: 4 }])
      expect(bits(randn([8], { ...at, ...change })), JSON.stringify(change)).not.to.deep.equal(here);
  });

  it("give row k of a batch whatever the batch is", () => {
    const batch = randn([5, 3, 3], { seed: 1, image: 10 });
    const row = randn([1, 3, 3], { seed: 1, image: 13 });
    expect(bits(batch.slice([3, 4]))).to.deep.equal(bits(row));
  });

  it("have the distributions that their names promise", () => {
    const n = 200_000;
    const statistics = (x: Tensor): { mean: number; variance: number; low: number; high: number } => {
      const values = x.toArray() as number[];
      const mean = values.reduce((a, b) => a + b, 0) / n;
      const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / n;
      return {
        mean,
        variance,
        low: values.reduce((a, b) => Math.min(a, b)),
        high: values.reduce((a, b) => Math.max(a, b)),
      };
    };
    const normal = statistics(randn([n], { seed: 1 }));
    expect(normal.mean).to.be.closeTo(0, 4 / Math.sqrt(n));
    expect(normal.variance).to.be.closeTo(1, 4 * Math.sqrt(2 / n));
    const uniform = statistics(rand([n], { seed: 1, low: -2, high: 4 }));
    expect(uniform.mean).to.be.closeTo(1, (4 * 6) / Math.sqrt(12 * n));
    expect(uniform.variance).to.be.closeTo(3, 0.05);
    expect([uniform.low >= -2, uniform.low < -1.99, uniform.high < 4, uniform.high > 3.99]).to.not.include(false);
    const whole = statistics(randint(-1, 3, [n], { seed: 1 }));
    expect([whole.low, whole.high]).to.deep.equal([-1, 2]);
    expect(whole.mean).to.be.closeTo(0.5, 0.02);
  });

  it("refuse seeds that are none", () => {
    for (const seed of [-1, 1.5, NaN, 2 ** 53, -1n, 1n << 64n]) {
      expect(failure(() => randn([1], { seed })).message).to.match(/^randn: seed .*\. A seed is an integer from 0/);
      expect(failure(() => manualSeed(seed))).to.be.instanceOf(ArgumentError);
    }
    expect(randn([1], { seed: (1n << 64n) - 1n }).size).to.equal(1);
  });

  it("refuse empty ranges, places outside the counter, and dtypes that do not fit", () => {
    expect(failure(() => rand([1], { low: 1, high: 1 })).message).to.equal("rand: low 1 is not below high 1.");
    expect(failure(() => randint(3, 3, [1]))).to.be.instanceOf(ArgumentError);
    expect(failure(() => randint(0, 1.5, [1]))).to.be.instanceOf(ArgumentError);
    expect(failure(() => randn([1], { step: -1 }))).to.be.instanceOf(ArgumentError);
    expect(failure(() => randn([2], { image: 2 ** 32 - 1 }))).to.be.instanceOf(ArgumentError);
    expect(failure(() => randn([1], { dtype: "int32" }))).to.be.instanceOf(DTypeError);
  });
});

describe("random tensors on ts and cpu", () => {
  before(function () {
    if (!cpuIsBuilt) this.skip();
  });

  it("are bit-equal", () => {
    for (const make of [
      (device: "ts" | "cpu") => randn([3, 7, 5, 3], { seed: 77, image: 4, step: 2, device }),
      (device: "ts" | "cpu") => rand([3, 1001], { seed: 77, low: -0.3, high: 0.1, device }),
      (device: "ts" | "cpu") => randint(0, 1000, [999], { seed: 77, device }),
    ])
      expect(bits(make("cpu"))).to.deep.equal(bits(make("ts")));
  });
});
