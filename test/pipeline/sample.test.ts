// sample: reproducibility at any batch, previews, aborting, errors, and that nothing is left behind.

import { setTimeout as delay } from "node:timers/promises";
import { expect } from "chai";
import {
  ArgumentError,
  LifetimeError,
  NoiseSchedule,
  ShapeError,
  manualSeed,
  noGrad,
  randn,
  sample,
  scope,
  setDefaultDevice,
} from "langevin";
import type { SampleOptions, Tensor } from "langevin";
import { TutorialUNet } from "../../examples/tutorial-nets.ts";
import { failure, rejection } from "../failure.ts";
import { cpuIsBuilt, liveMemory, onEveryDevice, referencedMemory, sampleByGraphs } from "../tensor/devices.ts";
import { SmallNet, schedule } from "../train/small-net.ts";

function bits(x: Tensor): Int32Array {
  return new Int32Array(Float32Array.from([x.toArray()].flat(9) as number[]).buffer);
}

onEveryDevice("sample", (device) => {
  let model: SmallNet;
  before(() => {
    manualSeed(1);
    model = new SmallNet();
  });
  const options = (changes: Partial<SampleOptions> = {}): SampleOptions => ({
    model,
    schedule,
    count: 3,
    size: [4, 4, 1],
    seed: 5,
    ...changes,
  });

  it("returns count images of the size, finite and not all alike", async () => {
    const images = await sample(options());
    expect([images.shape, images.dtype, images.device, images.requiresGrad]).to.deep.equal([
      [3, 4, 4, 1],
      "float32",
      device,
      false,
    ]);
    const values = [images.toArray()].flat(9) as number[];
    expect(values.every(Number.isFinite)).to.equal(true);
    expect(new Set(values).size).to.equal(48);
  });

  describe("is the reverse process:", () => {
    sampleByGraphs();

    it("x_T from the seed, then each step with its own noise", async () => {
      const images = await sample(options());
      const expected = noGrad(() =>
        scope(() => {
          let x = randn([3, 4, 4, 1], { seed: 5, draw: 0 });
          for (let step = 0; step < 20; step++) {
            const t = 19 - step;
            x = schedule.reverseStep(x, t, model.forward(x, schedule.timesteps(t, x)), { seed: 5, step });
          }
          return x;
        }),
      );
      expect(bits(images)).to.deep.equal(bits(expected));
    });
  });

  it("repeats bit for bit, and draws other images under another seed", async () => {
    const first = bits(await sample(options()));
    expect(bits(await sample(options()))).to.deep.equal(first);
    expect(bits(await sample(options({ seed: 6 })))).not.to.deep.equal(first);
    expect(bits(await sample(options({ seed: undefined })))).to.deep.equal(bits(await sample(options({ seed: 0 }))));
  });

  it("gives image k the same bits at batch 1, 7 and 64, and in a longer run", async () => {
    const count = device === "cpu" ? 64 : 15;
    const steps = 4;
    const short = new NoiseSchedule({ steps, betaStart: 0.1, betaEnd: 0.95 });
    manualSeed(3);
    const unet = new TutorialUNet({ imageChannels: 1, channels: [16, 32, 64], timeDim: 16, steps });
    const run = async (batch: number, n = count): Promise<Int32Array> =>
      bits(await sample({ model: unet, schedule: short, count: n, size: [8, 8, 1], seed: 9, batch }));
    const all = await run(64);
    expect(await run(7)).to.deep.equal(all);
    expect(await run(1)).to.deep.equal(all);
    expect(await run(64, 9)).to.deep.equal(all.subarray(0, 9 * 64));
  });

  it("gives odd sizes and channels the same bits at every batch", async () => {
    const identity = { forward: (x: Tensor) => x.mul(0.9).tanh() };
    const run = async (batch: number): Promise<Int32Array> =>
      bits(await sample(options({ model: identity, count: 7, size: [5, 3, 3], batch })));
    const all = await run(64);
    for (const batch of [1, 2, 3]) expect(await run(batch)).to.deep.equal(all);
  });

  it("leaves nothing behind but the images", async () => {
    (await sample(options())).dispose();
    const before = await referencedMemory();
    for (const batch of [1, 2, 64]) {
      const images = await sample(options({ batch }));
      expect((await liveMemory()).buffers, `batch ${batch}`).to.equal(before.buffers + 1);
      images.dispose();
      expect(await liveMemory(), `batch ${batch}`).to.deep.equal(before);
    }
  });

  it("records nothing for gradients", async () => {
    let recorded: boolean | undefined;
    await sample(
      options({
        model: {
          forward: (x: Tensor, t: Tensor) => {
            const y = model.forward(x, t);
            recorded = y.requiresGrad;
            return y;
          },
        },
      }),
    );
    expect(recorded).to.equal(false);
  });

  describe("previews", () => {
    it("show the noise before the first step and the images after the last, for each batch", async () => {
      const seen: [number, number, number][] = [];
      const last: Tensor[] = [];
      const images = await sample(
        options({
          count: 5,
          batch: 2,
          onPreview: ({ image, step, x }) => {
            seen.push([image, step, x.shape[0]]);
            if (step === 0) expect(bits(x)).to.deep.equal(bits(randn(x.shape, { seed: 5, draw: 0, image })));
            else last.push(x.keep());
          },
        }),
      );
      expect(seen).to.deep.equal([
        [0, 0, 2],
        [0, 20, 2],
        [2, 0, 2],
        [2, 20, 2],
        [4, 0, 1],
        [4, 20, 1],
      ]);
      expect(bits(last[1])).to.deep.equal(bits(images.slice([2, 4])));
    });

    it("come every previewEvery steps, do not change the result, and are freed", async () => {
      const plain = bits(await sample(options()));
      const steps: number[] = [];
      let kept: Tensor | undefined;
      const images = await sample(
        options({
          previewEvery: 7,
          onPreview: ({ step, x }) => {
            steps.push(step);
            kept = x;
            x.add(1);
          },
        }),
      );
      expect(steps).to.deep.equal([0, 7, 14, 20]);
      expect(bits(images)).to.deep.equal(plain);
      expect(failure(() => kept!.toArray())).to.be.instanceOf(LifetimeError);
    });

    it("refuse an asynchronous callback", async () => {
      const onPreview = (async () => undefined) as unknown as SampleOptions["onPreview"];
      const error = await rejection(sample(options({ onPreview })));
      expect(error).to.be.instanceOf(ArgumentError);
      expect(error.message).to.contain("the function returned a promise");
    });
  });

  describe("stops on abort", () => {
    it("before the first step", async () => {
      const reason = new Error("no");
      const model = {
        forward: (): Tensor => {
          throw new Error("ran");
        },
      };
      expect(await rejection(sample(options({ model, signal: AbortSignal.abort(reason) })))).to.equal(reason);
    });

    for (const batch of [64, 2])
      it(`between steps, with the reason, and frees everything (batch ${batch})`, async () => {
        (await sample(options())).dispose();
        const before = await referencedMemory();
        const controller = new AbortController();
        let calls = 0;
        const stopping = {
          forward: (x: Tensor, t: Tensor): Tensor => {
            if (++calls === 27) controller.abort(new Error("enough"));
            return model.forward(x, t);
          },
        };
        const run = sample(
          options({ model: stopping, batch, count: 4 * batch, signal: controller.signal, eager: true }),
        );
        expect((await rejection(run)).message).to.equal("enough");
        expect(calls).to.equal(27);
        expect(await liveMemory()).to.deep.equal(before);
      });

    it("that a timer gives", async () => {
      const started = performance.now();
      const error = await rejection(sample(options({ count: 1_000_000, batch: 1, signal: AbortSignal.timeout(50) })));
      expect(error.name).to.equal("TimeoutError");
      expect(performance.now() - started).to.be.lessThan(5000);
    });
  });

  it("keeps the event loop alive", async () => {
    let ticks = 0;
    const ticking = (async () => {
      for (; ticks < 5; ticks++) await delay(1);
    })();
    await sample(options({ count: 200, batch: 2 }));
    expect(ticks).to.equal(5);
    await ticking;
  });

  it("lets two runs go on side by side, each with its own images", async () => {
    const alone = [bits(await sample(options({ seed: 1 }))), bits(await sample(options({ seed: 2 })))];
    const together = await Promise.all([sample(options({ seed: 1 })), sample(options({ seed: 2 }))]);
    expect(together.map(bits)).to.deep.equal(alone);
  });

  describe("refuses", () => {
    const expectError = async (changes: Partial<SampleOptions>): Promise<Error> => {
      const before = await referencedMemory();
      const error = await rejection(sample(options(changes)));
      expect(await liveMemory()).to.deep.equal(before);
      return error;
    };

    it("counts, batches and sizes that are none", async () => {
      for (const [changes, text] of [
        [{ count: 0 }, "sample: count is 0, expected an integer >= 1."],
        [{ count: 2.5 }, "sample: count is 2.5, expected an integer >= 1."],
        [{ batch: -1 }, "sample: batch is -1, expected an integer >= 1."],
        [{ previewEvery: 0 }, "sample: previewEvery is 0, expected an integer >= 1."],
        [{ size: [8, 8] as never }, "sample: size is [8, 8], expected [height, width, channels]."],
      ] as const)
        expect((await expectError(changes)).message).to.equal(text);
      expect(await expectError({ size: [-1, 2, 2] })).to.be.instanceOf(ShapeError);
      expect((await expectError({ seed: 0.5 })).message).to.match(/^sample: seed is 0\.5\./);
    });

    it("a model that returns another shape", async () => {
      const error = await expectError({ model: { forward: (x: Tensor) => x.slice(null, null, null, [0, 0]) } });
      expect(error).to.be.instanceOf(ShapeError);
      expect(error.message).to.equal(
        "sample: the model returned shape [3, 4, 4, 0] for images of shape [3, 4, 4, 1]. A denoiser returns the noise in x, shaped as x.",
      );
    });

    it("images that do not fit the model, with the layer's path", async () => {
      const error = await expectError({ size: [4, 4, 3] });
      expect(error).to.be.instanceOf(ShapeError);
      expect(error.message).to.match(/^smallNet\.conv1: conv2d: expected 1 input channels, got 3/);
    });
  });
});

describe("sample on ts and cpu", () => {
  it("starts from the same noise, and ends close by", async function () {
    if (!cpuIsBuilt) return this.skip();
    const run = async (device: "ts" | "cpu"): Promise<{ first: Int32Array | undefined; last: number[] }> => {
      setDefaultDevice(device);
      manualSeed(1);
      const model = new SmallNet();
      let first: Int32Array | undefined;
      const images = await sample({
        model,
        schedule,
        count: 4,
        size: [4, 4, 1],
        seed: 3,
        onPreview: ({ step, x }) => {
          if (step === 0) first = bits(x);
        },
      });
      return { first, last: [images.toArray()].flat(9) as number[] };
    };
    const [a, b] = [await run("ts"), await run("cpu")];
    expect(b.first).to.deep.equal(a.first);
    a.last.forEach((value, i) => {
      expect(b.last[i]).to.be.closeTo(value, 1e-4 * Math.max(1, Math.abs(value)));
    });
  });
});
