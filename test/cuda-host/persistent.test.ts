// The persistent sampler on the host: networks that fit one multiprocessor run all reverse steps in one kernel, with the pictures
// of cpu up to rounding; the same at any batch size; stopped within a window; and what does not fit runs as graphs.

import { expect } from "chai";
import type { DeviceName, SampleOptions, Tensor } from "langevin";
import {
  Conv2d,
  DDIMScheduler,
  GroupNorm,
  Linear,
  Module,
  NoiseSchedule,
  concat,
  manualSeed,
  maxPool2d,
  sample,
  setDefaultDevice,
} from "langevin";
import { TinyNet, TutorialUNet } from "../../examples/tutorial-nets.ts";
import { openDevice } from "../../ts/device/devices.ts";
import { rejection } from "../failure.ts";
import { cpuIsBuilt, useDevice } from "../tensor/devices.ts";

const whereBuilt = process.env.LANGEVIN_CUDA_ADDON
  ? describe
  : (title: string, _: unknown) => describe(title, () => it.skip("skipped: npm run test:cuda-host runs these"));

const steps = 12;
const persistent = /^Runs in one persistent kernel/;

type Network = SampleOptions["model"];
type Options = Pick<SampleOptions, "count" | "batch" | "size"> &
  Partial<Pick<SampleOptions, "eager" | "signal" | "previewEvery" | "onPreview" | "dtype" | "solver" | "schedule">>;

/** Samples on a device from a network with weights of its own making; tells also how the programs were carried out. */
async function draw(device: DeviceName, network: () => Network, options: Options) {
  const executor = openDevice(device);
  const ways: (string | undefined)[] = [];
  const load = executor.load.bind(executor);
  executor.load = (program) => {
    const id = load(program);
    ways.push(executor.describe?.(id));
    return id;
  };
  try {
    setDefaultDevice(device);
    manualSeed(3);
    const schedule = options.solver ? undefined : new NoiseSchedule({ steps, betaStart: 0.01, betaEnd: 0.6 });
    const pictures = await sample({ model: network(), schedule, seed: 7, allowResidualSignal: true, ...options });
    const values = [...(await pictures.data())];
    pictures.dispose();
    return { values, ways };
  } finally {
    executor.load = load;
  }
}

const tutorial = (channels: [number, number, number] = [16, 32, 64]) => () =>
  new TutorialUNet({ imageChannels: 1, channels, timeDim: 16, steps });

function largest(values: readonly number[]): number {
  return Math.max(...values.map(Math.abs));
}

function distance(a: readonly number[], b: readonly number[]): number {
  expect(a.length).to.equal(b.length);
  return largest(a.map((x, i) => x - b[i]));
}

/** Odd channels, a stride, a dilation, padding on one side, SiLU, and columns joined. */
class OddNet extends Module {
  readonly first = new Conv2d(3, 7, 3, { padding: 1 });
  readonly time = new Linear(1, 7);
  readonly wide = new Conv2d(7, 6, 3, { padding: 2, dilation: 2 });
  readonly last = new Conv2d(13, 3, [1, 3], { padding: [0, 1] });

  forward(x: Tensor, t: Tensor): Tensor {
    const time = this.time.forward(t.to("float32").mul(0.1).reshape([-1, 1]));
    const h = this.first.forward(x).mul(time.reshape([-1, 1, 1, 7]).tanh()).silu();
    return this.last.forward(concat([this.wide.forward(h).sigmoid(), h], -1));
  }
}

/** Has an operation that the persistent sampler does not know. */
class Normalising extends Module {
  readonly conv = new Conv2d(1, 4, 3, { padding: 1 });
  readonly norm = new GroupNorm(2, 4);
  readonly last = new Conv2d(4, 1, 1);

  forward(x: Tensor): Tensor {
    return this.last.forward(this.norm.forward(this.conv.forward(x)));
  }
}

whereBuilt("the persistent sampler on the host", function () {
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
    const whole = await expectAccurate(tutorial(), { count: 5, batch: 5, size: [8, 8, 1] });
    for (const batch of [1, 2])
      expect((await draw("cuda", tutorial(), { count: 5, batch, size: [8, 8, 1] })).values).to.deep.equal(whole);
  });
});
