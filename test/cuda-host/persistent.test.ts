// The persistent sampler on the host: networks that fit one multiprocessor run all reverse steps in one kernel, with the pictures
// of cpu up to rounding; the same at any batch size; stopped within a window; and what does not fit runs as graphs.

import { expect } from "chai";
import type { DeviceName, Precision, SampleOptions, Tensor } from "langevin";
import {
  Conv2d,
  DDIMScheduler,
  GroupNorm,
  Linear,
  Module,
  NoiseSchedule,
  Parameter,
  capture,
  concat,
  manualSeed,
  noGrad,
  randn,
  setDefaultDType,
  setDefaultDevice,
} from "langevin";
import { TinyNet, TutorialUNet } from "../../examples/tutorial-nets.ts";
import type { Command, Operand } from "../../ts/device/executor.ts";
import { dense } from "../../ts/device/executor.ts";
import { CudaExecutor } from "../../ts/device/native/cuda-executor.ts";
import type { AnyOp } from "../../ts/ops/index.ts";
import { ops, roundToBf16 } from "../../ts/ops/index.ts";
import { rejection } from "../failure.ts";
import { distance, drawPictures, largest } from "../gpu-check/sampling.ts";
import { cpuIsBuilt, useDevice } from "../tensor/devices.ts";

const whereBuilt = process.env.LANGEVIN_CUDA_ADDON
  ? describe
  : (title: string, _: unknown) => describe(title, () => it.skip("skipped: npm run test:cuda-host runs these"));

const steps = 12;
const persistent = /^Runs in one persistent kernel/;

type Network = SampleOptions["model"] & Module;
type Options = Pick<SampleOptions, "count" | "batch" | "size"> &
  Partial<
    Pick<
      SampleOptions,
      "eager" | "signal" | "previewEvery" | "onPreview" | "dtype" | "solver" | "schedule" | "precision"
    >
  >;

/** Samples on a device from a network with weights of its own making; tells also how the programs were carried out. */
async function draw(device: DeviceName, network: () => Network, options: Options) {
  const schedule = options.solver ? undefined : new NoiseSchedule({ steps, betaStart: 0.01, betaEnd: 0.6 });
  const weighted = () => withWeights(network, options.dtype ?? "float32");
  return drawPictures(device, weighted, { schedule, seed: 7, allowResidualSignal: true, ...options });
}

/** A network of this dtype, whose weights are float32 numbers that follow from a seed. */
function withWeights(network: () => Network, dtype: "float32" | "float64"): Network {
  manualSeed(3);
  const drawn = network();
  if (dtype === "float32") return drawn;
  setDefaultDType(dtype);
  try {
    const model = network();
    const weights = drawn.parameters();
    model.parameters().forEach((parameter, i) => parameter.assign(weights[i].detach().to(dtype)));
    return model;
  } finally {
    setDefaultDType("float32");
    drawn.dispose();
  }
}

const tutorial =
  (channels: [number, number, number] = [16, 32, 64]) =>
  () =>
    new TutorialUNet({ imageChannels: 1, channels, timeDim: 16, steps });

/** Odd channels, a stride, a dilation, padding on one side, SiLU, and columns joined. */
class OddNet extends Module {
  readonly first = new Conv2d(3, 7, 3, { padding: 1 });
  readonly time = new Linear(1, 7);
  readonly wide = new Conv2d(7, 6, 3, { padding: 2, dilation: 2 });
  readonly last = new Conv2d(13, 3, [1, 3], { padding: [0, 1] });

  forward(x: Tensor, t: Tensor): Tensor {
    const time = this.time.forward(t.to(x.dtype).mul(0.1).reshape([-1, 1]));
    const h = this.first
      .forward(x)
      .mul(time.reshape([-1, 1, 1, 7]).tanh())
      .silu();
    return this.last.forward(concat([this.wide.forward(h).sigmoid(), h], -1));
  }
}

/** Normalises, and has SiLU behind that. */
class Normalising extends Module {
  readonly conv = new Conv2d(1, 12, 3, { padding: 1 });
  readonly norm = new GroupNorm(3, 12);
  readonly last = new Conv2d(12, 1, 3, { padding: 1 });

  forward(x: Tensor): Tensor {
    return this.last.forward(this.norm.forward(this.conv.forward(x).gelu()).silu());
  }
}

/** Has an operation that the persistent sampler does not know. */
class Choosing extends Module {
  readonly conv = new Conv2d(1, 4, 3, { padding: 1 });
  readonly last = new Conv2d(4, 1, 1);

  forward(x: Tensor): Tensor {
    return this.last.forward(this.conv.forward(x).softmax(-1));
  }
}

whereBuilt("the persistent sampler on the host", function (this: Mocha.Suite) {
  this.timeout(120_000);
  useDevice("cuda");

  const reference: DeviceName = cpuIsBuilt ? "cpu" : "ts";

  /** Errs at most twice as much as the reference device's eager float32 does. */
  async function expectAccurate(network: () => Network, options: Options, way: RegExp = persistent) {
    const exact = await draw("ts", network, { ...options, dtype: "float64", eager: true });
    const eager = await draw(reference, network, { ...options, eager: true });
    const ours = await draw("cuda", network, options);
    for (const found of ours.ways) expect(found).to.match(way);
    expect(ours.ways).to.not.be.empty;
    // Half a unit in the last place of the largest value is what storing in float32 costs anyway.
    const rounding = largest(exact.values) * 2 ** -24;
    expect(distance(ours.values, exact.values)).to.be.at.most(2 * distance(eager.values, exact.values) + rounding);
    return ours.values;
  }

  it("runs the tutorial's U-Net, and an image does not depend on the batch", async () => {
    const options = { count: 5, batch: 5, size: [8, 8, 1] } as const; // more images than the stand-in has multiprocessors
    const whole = await expectAccurate(tutorial(), options, /^Runs in one persistent kernel, two images a block/);
    for (const batch of [1, 2])
      expect((await draw("cuda", tutorial(), { count: 5, batch, size: [8, 8, 1] })).values).to.deep.equal(whole);
  });

  for (const [precision, tolerance] of [
    ["tf32", 2 ** -9],
    ["bf16", 2 ** -6],
  ] as const)
    it(`multiplies in ${precision} where the plan does, and an image does not depend on the batch`, async () => {
      const exact = await draw("ts", tutorial(), { count: 3, size: [8, 8, 1], dtype: "float64", eager: true });
      const ours = await draw("cuda", tutorial(), { count: 3, size: [8, 8, 1], precision });
      for (const found of ours.ways) expect(found).to.match(new RegExp(`on tensor cores in ${precision}`));
      const error = distance(ours.values, exact.values) / largest(exact.values);
      expect(error).to.be.within(tolerance / 1000, tolerance);
      expect((await draw("cuda", tutorial(), { count: 3, batch: 1, size: [8, 8, 1], precision })).values).to.deep.equal(
        ours.values,
      );
    });

  it("runs part B's network, images of odd sizes and channels in odd numbers", async () => {
    await expectAccurate(() => new TinyNet(1), { count: 3, size: [7, 5, 1] });
    await expectAccurate(() => new OddNet(), { count: 3, size: [5, 9, 3] });
    await expectAccurate(() => new Normalising(), { count: 3, size: [6, 7, 1] });
    await expectAccurate(() => new TinyNet(3), { count: 16, size: [3, 4, 3] }); // as many images as channels
  });

  it("does not write over what a product still reads", async () => {
    const weights = (device: DeviceName) => {
      manualSeed(3);
      setDefaultDevice(device);
      return { conv: new Conv2d(16, 16, 3, { padding: 1 }), x: new Parameter(randn([2, 16, 16, 16], { seed: 5 })) };
    };
    const steps = {
      "an activation": (r: Tensor) => r.relu(),
      "a sum": (r: Tensor, x: Tensor) => x.add(r),
    };
    for (const [name, next] of Object.entries(steps)) {
      const run = async (device: DeviceName, precision?: Precision): Promise<number[]> => {
        const { conv, x } = weights(device);
        const step = capture(
          () => {
            noGrad(() => x.assign(next(conv.forward(x), x)));
          },
          { precision },
        );
        for await (const _ of step.replay(3)) continue;
        const values = [...(await x.data())];
        if (device === "cuda") expect(step.plan().toString()).to.match(/^Runs in one persistent kernel/m);
        step.dispose();
        return values;
      };
      const expected = await run(reference);
      for (const [precision, tolerance] of [
        ["float32", 1e-5],
        ["bf16", 2 ** -6],
      ] as const) {
        const got = await run("cuda", precision);
        expect(distance(got, expected) / largest(expected), `${name} in ${precision}`).to.be.below(tolerance);
      }
    }
    setDefaultDevice("cuda");
  });

  it("runs the rows of other samplers' tables", async () => {
    const schedule = new NoiseSchedule({ steps, betaStart: 0.01, betaEnd: 0.6 });
    const solver = new DDIMScheduler({ schedule, clipSample: false }).solver({ steps: 5, eta: 0.5 });
    await expectAccurate(() => new TinyNet(1), { count: 2, size: [4, 4, 1], solver });
  });

  it("goes on from look to look, and stops where a signal says so", async () => {
    const options = { count: 2, size: [6, 6, 1] } as const;
    const network = () => new TinyNet(1);
    const whole = await draw("cuda", network, options);
    const seen: number[] = [];
    const looked = await draw("cuda", network, {
      ...options,
      previewEvery: 5,
      onPreview: ({ step }) => seen.push(step),
    });
    expect(looked.values).to.deep.equal(whole.values);
    expect(seen).to.deep.equal([0, 5, 10, 12]);
    const long = new NoiseSchedule({ steps: 3000, betaStart: 1e-4, betaEnd: 0.02 });
    const stopping = new AbortController();
    const started = draw("cuda", network, { ...options, schedule: long, signal: stopping.signal });
    setTimeout(() => stopping.abort(new Error("enough")), 50);
    expect((await rejection(started)).message).to.equal("enough");
  });

  it("multiplies what was rounded for it, and leaves to graphs what it would find changed, or nowhere", () => {
    const executor = new CudaExecutor();
    const shape = [1, 4, 4, 8];
    const [given, arena] = [executor.allocate(1 << 16), executor.allocate(1 << 16)];
    const [x, weight, y] = [shape, [1, 1, 8, 8], shape].map((each, i) => dense(given, i << 10, each, "float32"));
    const made = dense(arena, 0, shape, "float32");
    const copy = { ...dense(arena, 2048, shape, "float32"), dtype: "bfloat16" } as const;
    const run = (op: AnyOp, inputs: Command["inputs"], output: Operand): Command => ({
      op,
      attributes: op === ops.conv2d ? { stride: [1, 1], padding: [0, 0, 0, 0], dilation: [1, 1] } : {},
      inputs,
      output,
    });
    const way = (...commands: Command[]): string => {
      const places = [
        { byteOffset: 0, bytes: 512 },
        { byteOffset: 4096, bytes: 256 },
      ];
      const id = executor.load({
        lists: [commands],
        steps: [{ list: 0 }],
        ...{ slots: [], reports: [], checkFinite: false, precision: "bf16" },
        temporaries: places.map((place) => ({ buffer: arena, ...place, start: 0, end: commands.length - 1 })),
      });
      const text = executor.describe(id);
      executor.unload(id);
      return text;
    };
    const make = run(ops.relu, [x], made);
    const round = run(roundToBf16, [made], copy);
    const multiply = (factor: Operand): Command => run(ops.conv2d, [factor, weight, undefined], y);
    expect(way(make, round, multiply(copy))).to.match(persistent);
    expect(way(make, round, run(ops.silu, [made], made), multiply(copy))).to.match(
      /: conv2d: it multiplies a copy of what was written to since\.$/,
    );
    expect(way(make, multiply(copy))).to.match(/: conv2d: nothing has rounded what it multiplies\.$/);
    const half = { ...copy, shape: [1, 4, 4, 4] };
    expect(way(make, run(roundToBf16, [{ ...made, shape: half.shape }], half), multiply(copy))).to.match(
      /: conv2d: nothing has rounded what it multiplies\.$/,
    );
    executor.release(given);
    executor.release(arena);
  });

  it("leaves to graphs what it has no instruction for, and what does not fit, and says why", async () => {
    const options = { count: 2, size: [6, 6, 1] } as const;
    await expectAccurate(
      () => new Choosing(),
      options,
      /^Runs as CUDA graphs, .*: it has no instruction for softmax\.$/,
    );
    const wide = await draw("cuda", () => new TinyNet(1), { count: 1, size: [64, 64, 1] });
    expect(wide.ways[0]).to.match(
      /^Runs as CUDA graphs, .*: an image takes \d+ bytes of shared memory, and a block has 232448\.$/,
    );
  });
});
