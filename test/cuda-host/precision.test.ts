// Plans in tf32 and bf16 on device cuda, on the host: products of rounded operands, and what refuses them.

import { spawnSync } from "node:child_process";

import { expect } from "chai";
import type { CaptureOptions } from "langevin";
import { ArgumentError, NoiseSchedule, capture, conv2d, groupNorm, ones, randn, sample, setStrictMode } from "langevin";
import { TutorialUNet } from "../../examples/tutorial-nets.ts";
import type { Operand } from "../../ts/device/executor.ts";
import { dense } from "../../ts/device/executor.ts";
import { packageRoot } from "../../ts/device/native/addon.ts";
import { CudaExecutor } from "../../ts/device/native/cuda-executor.ts";
import { TsExecutor } from "../../ts/device/ts/executor.ts";
import type { AnyOp } from "../../ts/ops/index.ts";
import { ops, roundToBf16 } from "../../ts/ops/index.ts";
import { failure, rejection } from "../failure.ts";
import type { ShortTraining } from "../gpu-check/losses.ts";
import { lossesOf } from "../gpu-check/losses.ts";
import { drawPictures, seeded, withEnvironment } from "../gpu-check/sampling.ts";
import type { Value } from "../ops/draw.ts";
import { drawCase, generator, valueOf } from "../ops/draw.ts";
import { checkInPrecision, inPrecision, products } from "../ops/precision.ts";
import { layouts, evaluate } from "../ops/run-op.ts";
import { firstDifference } from "../ops/tolerance.ts";
import { useDevice } from "../tensor/devices.ts";

const whereBuilt = process.env.LANGEVIN_CUDA_ADDON
  ? describe
  : (title: string, _: unknown) => describe(title, () => it.skip("skipped: npm run test:cuda-host runs these"));

const training = (): ShortTraining => {
  return {
    network: () => new TutorialUNet({ imageChannels: 1, channels: [8, 8, 16], timeDim: 8, steps: 10 }),
    size: [8, 8, 1],
    schedule: new NoiseSchedule({ steps: 10, betaStart: 0.01, betaEnd: 0.6 }),
    ...{ count: 8, batch: 4, iterations: 6, lr: 1e-2, seed: 3 },
  };
};

/** For small programs, which would run in the persistent sampler: that has tests of its own. */
function withoutPersistentSampler(): void {
  const earlier = process.env.LANGEVIN_PERSISTENT;
  beforeEach(() => {
    process.env.LANGEVIN_PERSISTENT = "off";
  });
  afterEach(() => {
    if (earlier === undefined) delete process.env.LANGEVIN_PERSISTENT;
    else process.env.LANGEVIN_PERSISTENT = earlier;
  });
}

whereBuilt("precision on device cuda", () => {
  useDevice("cuda");

  for (const precision of ["tf32", "bf16"] as const) {
    describe(precision, () => {
      let cuda: CudaExecutor;
      const ts = new TsExecutor();
      before(() => {
        cuda = new CudaExecutor();
      });

      withoutPersistentSampler();

      for (const [op] of products)
        it(`${op.name} rounds what it multiplies, and adds up in float32`, () => {
          let different = 0;
          for (const given of op.samples)
            for (const layout of layouts) {
              const c = drawCase(op, given, "float32");
              if (checkInPrecision(cuda, precision, c, layout, { executor: ts, dtype: "float64" })) different++;
            }
          expect(different).to.be.greaterThan(op.samples.length);
        });

      describe("attention at its ends", () => {
        const floats = (shape: readonly number[], elements: readonly number[]) => valueOf("float32", shape, elements);
        const run = (op: AnyOp, ...inputs: readonly Value[]): number[] => {
          const attributes = { heads: 1, scale: 1, causal: false };
          return Array.from(evaluate(inPrecision(cuda, precision), { op, inputs, attributes }).elements);
        };
        const [x, empty] = [floats([1, 2, 2], [1, 2, 3, 4]), floats([1, 0, 2], [])];

        it("a query that may look nowhere gives 0, and 0 gradients", () => {
          for (const nowhere of [valueOf("int32", [2, 1], [0, 1]), floats([2, 1], [-Infinity, 0])]) {
            expect(run(ops.attention, x, x, x, nowhere).slice(0, 2)).to.deep.equal([0, 0]);
            const gradients = run(ops.attentionGradient, x, x, x, x, nowhere);
            expect(gradients.slice(0, 2)).to.deep.equal([0, 0]);
            expect(gradients.every(Number.isFinite)).to.equal(true);
          }
        });

        it("there may be no keys, no queries and no channels", () => {
          expect(run(ops.attention, x, empty, empty)).to.deep.equal([0, 0, 0, 0]);
          expect(run(ops.attentionGradient, x, empty, empty, x)).to.deep.equal([0, 0, 0, 0]);
          expect(run(ops.attention, empty, x, x)).to.deep.equal([]);
          expect(run(ops.attentionGradient, empty, x, x, empty)).to.deep.equal([0, 0, 0, 0, 0, 0, 0, 0]);
          const none = floats([1, 2, 0], []);
          expect(run(ops.attention, none, none, x)).to.deep.equal([2, 3, 2, 3]);
          expect(run(ops.attentionGradient, none, none, x, x)).to.deep.equal([2, 3, 2, 3]);
        });

        it("hidden keys, tiles away, leave no trace; great scores choose one key; NaN stays with its query", () => {
          const keys = Array.from({ length: 600 }, (_, key) => key);
          const values = keys.map((key) => (key === 590 ? 3 : 7));
          const only = keys.map((key) => Number(key === 590));
          const row = [1, 600, 1];
          expect(
            run(
              ops.attention,
              floats([1, 1, 1], [1]),
              floats(row, only),
              floats(row, values),
              valueOf("int32", [600], only),
            ),
          ).to.deep.equal([3]);
          const [q, k] = [floats([1, 2, 1], [100, -100]), floats([1, 3, 1], [100, 90, -100])];
          expect(run(ops.attention, q, k, floats([1, 3, 2], [1, 2, 3, 4, 5, 6]))).to.deep.equal([1, 2, 5, 6]);
          const ones = floats([1, 2, 1], [1, 1]);
          expect(run(ops.attention, floats([1, 2, 1], [NaN, 1]), ones, ones)).to.deep.equal([NaN, 1]);
        });
      });

      it("leaves all else in float32", () => {
        for (const op of [ops.add, ops.silu, ops.groupNorm, ops.softmax, ops.sum])
          for (const given of op.samples) {
            const c = drawCase(op, given, "float32");
            const got = evaluate(inPrecision(cuda, precision), c);
            expect(firstDifference(got.elements, evaluate(cuda, c).elements), op.name).to.equal(undefined);
          }
      });

      it("is a property of plans, which say so", () => {
        const step = capture(() => ones([4, 4]).matmul(ones([4, 4])), { precision });
        expect(step.plan().toString()).to.contain(
          `Products round their operands to ${precision}, and add up in float32.`,
        );
        step.dispose();
      });

      it("trains much as float32 does, and samples", async () => {
        const [exact, rough, checked] = [
          await lossesOf(training(), "cuda"),
          await lossesOf(training(), "cuda", { precision }),
          await lossesOf(training(), "cuda", { precision, checkFinite: true }),
        ];
        expect(rough).to.deep.equal(checked);
        expect(rough).not.to.deep.equal(exact);
        const tolerance = precision === "tf32" ? 4e-3 : 3e-2;
        rough.forEach((loss, i) => expect(Math.abs(loss / exact[i] - 1), `step ${i + 1}`).to.be.lessThan(tolerance));
        const model = new TutorialUNet({ imageChannels: 1, channels: [8, 8, 16], timeDim: 8, steps: 10 });
        const schedule = new NoiseSchedule({ steps: 10, betaStart: 0.01, betaEnd: 0.6 });
        const x = await sample({ model, schedule, count: 2, size: [8, 8, 1], seed: 7, precision });
        expect([...(await x.data())].every(Number.isFinite)).to.equal(true);
        x.dispose();
        model.dispose();
      });
    });
  }

  describe("factors in bf16", () => {
    withoutPersistentSampler();

    /** Pictures of a small U-Net, and how their plans were carried out. */
    async function pictures(fuse: "on" | "off") {
      const { network, schedule } = training();
      return withEnvironment("LANGEVIN_FUSE", fuse, () =>
        drawPictures("cuda", seeded(network, 3), { schedule, count: 3, size: [8, 8, 1], seed: 7, precision: "bf16" }),
      );
    }

    it("may lie there rounded, or be rounded by the product, each for itself", () => {
      const executor = new CudaExecutor();
      const random = generator(9);
      const [m, k, n] = [5, 11, 6];
      const memory = executor.allocate(4 * 512);
      executor.write(
        memory,
        0,
        Float32Array.from({ length: 512 }, () => 2 * random() - 1),
      );
      const [a, b, y] = [
        dense(memory, 0, [m, k], "float32"),
        dense(memory, 64, [k, n], "float32"),
        dense(memory, 192, [m, n], "float32"),
      ];
      const stored = [a, b].map(({ shape }, i) => ({
        ...{ buffer: memory, offset: 512 + 256 * i, shape, pitch: 16 },
        dtype: "bfloat16" as const,
      }));
      const round = [a, b].map((x, i) => ({ op: roundToBf16, attributes: {}, inputs: [x], output: stored[i] }));
      const product = (first: Operand, second: Operand): Float32Array => {
        const attributes = { transposeA: false, transposeB: false };
        const command = { op: ops.matmul, attributes, inputs: [first, second, undefined], output: y };
        inPrecision(executor, "bf16").submit([...round, command]);
        const result = new Float32Array(m * n);
        executor.readSync(memory, 4 * y.offset, result);
        return result;
      };
      const expected = product(a, b);
      for (const factors of [stored, [a, stored[1]], [stored[0], b]])
        expect(firstDifference(product(factors[0], factors[1]), expected)).to.equal(undefined);
      executor.release(memory);
    });

    it("samples with the same bits whether factors are rounded before or by each product", async () => {
      const [before, byProducts] = [await pictures("on"), await pictures("off")];
      expect(firstDifference(before.values, byProducts.values)).to.equal(undefined);
      for (const way of before.ways) expect(way).to.match(/^Runs as CUDA graphs/);
      expect(before.ways).not.to.be.empty;
    });

    it("rounds what products, norms and activations make in their kernels", () => {
      const kernels = (channels: number, options: CaptureOptions): number => {
        const weights = [3, 3].map((size) => randn([size, size, channels, channels]));
        const x = randn([2, 6, 6, channels]);
        const step = capture(() => {
          const h = conv2d(x, weights[0], undefined, { padding: 1 }).relu();
          const normalised = groupNorm(conv2d(h, weights[1], undefined, { padding: 1 }), 2).silu();
          return conv2d(normalised, weights[0], undefined, { padding: 1 });
        }, options);
        step().toArray(); // once it has run it is known in what kernels
        const found = /a graph of (\d+) kernels/.exec(step.plan().toString())!;
        step.dispose();
        return Number(found[1]);
      };
      const own = (channels: number): number => kernels(channels, { precision: "bf16" }) - kernels(channels, {});
      // One for the first factor and both weights; of channels that are no multiple of four one for each other factor, too.
      expect(own(8)).to.equal(1);
      expect(own(6)).to.equal(3);
    });
  });

  it("cannot be asked of eager steps", async () => {
    const model = new TutorialUNet({ imageChannels: 1, channels: [8, 8, 16], timeDim: 8, steps: 10 });
    const schedule = new NoiseSchedule({ steps: 10, betaStart: 0.01, betaEnd: 0.6 });
    const options = { model, schedule, count: 2, size: [8, 8, 1], precision: "bf16" } as const;
    const error = await rejection(sample({ ...options, eager: true }));
    expect(error).to.be.instanceOf(ArgumentError);
    expect(error.message).to.equal(
      'sample: precision is "bf16", which is a property of plans, and steps are to run eagerly. Leave out eager and strict mode, or precision.',
    );
    setStrictMode(true);
    try {
      const step = capture(() => ones([2, 2]).matmul(ones([2, 2])), { precision: "bf16" });
      expect(failure(() => step()).message).to.match(/^capture: precision is "bf16", which is a property of plans/);
      expect((await rejection(sample(options))).message).to.equal(error.message);
    } finally {
      setStrictMode(false);
    }
    model.dispose();
  });

  it("is refused by name on GPUs without tensor cores for it", () => {
    const code = `
      import { capture, ones, setDefaultDevice } from "langevin";
      setDefaultDevice("cuda");
      const product = (precision) => capture(() => ones([4, 4]).matmul(ones([4, 4])), { precision });
      console.log(product("float32")().toArray()[0][0]);
      try { product("tf32")(); } catch (error) { console.log(error.name, error.message); }`;
    const { stdout, stderr } = spawnSync(process.execPath, ["--import", "tsx", "--input-type=module", "-e", code], {
      cwd: packageRoot(),
      encoding: "utf8",
      env: { ...process.env, LANGEVIN_CUDA_HOST: "capability=75" },
    });
    expect(stdout, stderr).to.equal(
      '4\nDeviceError capture: precision is "tf32", which device "cuda" here does not have (it has float32). ' +
        "Leave precision out; tf32 and bf16 take a GPU of compute capability 8.0 or more (Ampere and later).\n",
    );
  });
});
