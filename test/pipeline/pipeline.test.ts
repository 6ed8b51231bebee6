// Pipelines at work: what a run gives, looks at it, diffusers' defaults, starts from pictures, rows between seeds, and nothing left.

import { expect } from "chai";
import {
  ArgumentError,
  DDIMScheduler,
  DDPMScheduler,
  EulerDiscreteScheduler,
  HeunDiscreteScheduler,
  LifetimeError,
  Pipeline,
  UNet2D,
  full,
  grid,
  manualSeed,
  randn,
  sample,
  zeros,
} from "langevin";
import type { PipelineProgress, PipelineRun, PipelineSampleOptions, Tensor, UNet2DOptions } from "langevin";
import { BatchSampler } from "../../ts/pipeline/batch-sampler.ts";
import { rejection } from "../failure.ts";
import { liveMemory, onEveryDevice, referencedMemory, sampleByGraphs } from "../tensor/devices.ts";

function bits(x: Tensor): Int32Array {
  return new Int32Array(Float32Array.from([x.toArray()].flat(9) as number[]).buffer);
}

const small: UNet2DOptions = {
  sampleSize: 4,
  inChannels: 1,
  outChannels: 1,
  blockOutChannels: [4, 4],
  layersPerBlock: 1,
  normNumGroups: 2,
  downBlockTypes: ["DownBlock2D", "DownBlock2D"],
  upBlockTypes: ["UpBlock2D", "UpBlock2D"],
  addAttention: false,
};
/** 20 timesteps that end in noise. */
const betas = { numTrainTimesteps: 20, betaStart: 0.01, betaEnd: 0.5 };

onEveryDevice("Pipeline", (device) => {
  sampleByGraphs();

  let model: UNet2D;
  let pipeline: Pipeline;
  let classes: Pipeline;
  before(() => {
    manualSeed(1);
    model = new UNet2D(small).eval();
    pipeline = new Pipeline({ model, scheduler: new DDPMScheduler(betas) });
    classes = new Pipeline({ model: new UNet2D({ ...small, numClassEmbeds: 3 }), scheduler: new DDIMScheduler(betas) });
  });
  const draw = async (options: PipelineSampleOptions = {}, from = pipeline): Promise<Int32Array> => {
    const images = await from.sample({ seed: 5, ...options });
    const result = bits(images);
    images.dispose();
    return result;
  };

  describe("a run", () => {
    it("that is awaited gives what sample gives", async () => {
      const solver = pipeline.scheduler.solver({ steps: 20 });
      const expected = await sample({ model, solver, count: 3, size: [4, 4, 1], seed: 5 });
      const images = await pipeline.sample({ n: 3, seed: 5 });
      expect([images.shape, images.dtype, images.device]).to.deep.equal([[3, 4, 4, 1], "float32", device]);
      expect(bits(images)).to.deep.equal(bits(expected));
      expect((await grid(images)).width).to.equal(8);
    });

    it("that nobody looks at makes all steps of a batch in one go", async () => {
      const { advance } = BatchSampler.prototype;
      const made: number[] = [];
      BatchSampler.prototype.advance = function (steps) {
        made.push(steps);
        return advance.call(this, steps);
      };
      try {
        await draw({ n: 3, batch: 2 });
      } finally {
        BatchSampler.prototype.advance = advance;
      }
      expect(made).to.deep.equal([20, 20]);
    });

    it("is one image of seed 0 unless told otherwise, and the same at any batch", async () => {
      expect(await draw({ seed: undefined })).to.deep.equal(await draw({ n: 1, seed: 0 }));
      const all = await draw({ n: 5 });
      for (const batch of [1, 2]) expect(await draw({ n: 5, batch })).to.deep.equal(all);
      expect(await draw({ n: 2, eager: true })).to.deep.equal(all.subarray(0, 32));
    });

    it("that is iterated shows every step, and can be awaited then", async () => {
      const run = pipeline.sample({ n: 3, batch: 2, seed: 5, steps: 10 });
      const seen: Omit<PipelineProgress, "preview">[] = [];
      let last: Tensor | undefined;
      for await (const { preview, ...progress } of run) {
        seen.push(progress);
        expect(preview.shape).to.deep.equal([progress.image === 0 ? 2 : 1, 4, 4, 1]);
        if (progress.step === 0) expect(bits(preview)).to.deep.equal(bits(randn(preview.shape, { seed: 5, draw: 0, image: progress.image }))); // prettier-ignore
        if (progress.step === 10) last = preview.keep();
      }
      const steps = Array.from({ length: 11 }, (_, step) => step);
      expect(seen).to.deep.equal([0, 2].flatMap((image) => steps.map((step) => ({ step, steps: 10, image }))));
      const images = await run;
      expect(await run).to.equal(images);
      expect(bits(images)).to.deep.equal(await draw({ n: 3, steps: 10 }));
      expect(bits(last!)).to.deep.equal(bits(images.slice([2, 3])));
    });

    it("shows every so many steps, lends previews until the next look, and is not changed by them", async () => {
      const run = pipeline.sample({ seed: 5, previewEvery: 8 });
      const previews: Tensor[] = [];
      const steps: number[] = [];
      for await (const { step, preview } of run) {
        expect(previews.map(({ disposed }) => disposed)).to.deep.equal(steps.map((before) => before !== 8));
        previews.push(step === 8 ? preview.keep() : preview);
        steps.push(step);
      }
      expect(steps).to.deep.equal([0, 8, 16, 20]);
      expect(previews.map(({ disposed }) => disposed)).to.deep.equal([true, false, true, true]);
      expect(bits(await run)).to.deep.equal(await draw());
    });

    it("starts when somebody looks, and no earlier", async () => {
      const before = await liveMemory();
      const run = pipeline.sample({ n: -1 });
      expect(await liveMemory()).to.deep.equal(before);
      expect((await rejection(run)).message).to.equal("sample: count is -1, expected an integer >= 1.");
    });

    it("that was left gives no images", async () => {
      const run = pipeline.sample();
      for await (const { step } of run) if (step === 3) break;
      const error = await rejection(run);
      expect(error).to.be.instanceOf(LifetimeError);
      expect(error.message).to.equal("Pipeline.sample: the run was stopped before its images were made.");
    });

    it("that failed while it was iterated fails again when it is awaited", async () => {
      const run = pipeline.sample({ steps: 10, signal: AbortSignal.abort(new Error("no")) });
      const iterate = async (): Promise<void> => {
        for await (const _ of run);
      };
      expect((await rejection(iterate())).message).to.equal("no");
      expect((await rejection(run)).message).to.equal("no");
    });

    it("does without dropout, and leaves the model training", async () => {
      manualSeed(1);
      const training = new UNet2D({ ...small, dropout: 0.5 });
      const run = async (): Promise<Int32Array> =>
        draw({ n: 2 }, new Pipeline({ model: training, scheduler: pipeline.scheduler }));
      const images = await run();
      expect([...training.namedModules().values()].every((module) => module.training)).to.equal(true);
      training.eval();
      expect(await run()).to.deep.equal(images);
    });
  });

  describe("stops on abort", () => {
    it("within one step, with the reason, and frees everything", async () => {
      await draw();
      const before = await referencedMemory();
      const controller = new AbortController();
      const run = pipeline.sample({ n: 4, batch: 2, signal: controller.signal });
      let last = -1;
      const iterate = async (): Promise<void> => {
        for await (const { step } of run) {
          last = step;
          if (step === 7) controller.abort(new Error("enough"));
        }
      };
      expect((await rejection(iterate())).message).to.equal("enough");
      expect(last).to.equal(7);
      expect(await liveMemory()).to.deep.equal(before);
    });

    it("that a timer gives, while it is awaited", async () => {
      const error = await rejection(pipeline.sample({ n: 1_000_000, batch: 1, signal: AbortSignal.timeout(50) }));
      expect(error.name).to.equal("TimeoutError");
    });
  });

  it("leaves nothing behind but the images", async () => {
    const runs: (() => PipelineRun)[] = [
      () => pipeline.sample({ n: 3, batch: 2, steps: 5 }),
      () => pipeline.sample({ n: 2, from: start, steps: 5 }),
      () => classes.sample({ n: 2, label: [0, 1], guidance: 2, nullLabel: 2, steps: 5 }),
      () => pipeline.sample({ inpaint: { image: start, mask: start, resamples: 2, jump: 2 }, steps: 5 }),
      () => pipeline.interpolate({ seeds: [1, 2], n: 3, scheduler: "DDIMScheduler", steps: 5 }),
    ];
    const start = zeros([1, 4, 4, 1]).keep();
    for (const run of runs) {
      (await run()).dispose();
      const before = await referencedMemory();
      (await run()).dispose();
      expect(await liveMemory()).to.deep.equal(before);
      const iterated = run();
      for await (const { preview } of iterated) preview.add(1).dispose();
      (await iterated).dispose();
      expect(await liveMemory()).to.deep.equal(before);
      for await (const { step } of run()) if (step === 2) break;
      expect(await liveMemory()).to.deep.equal(before);
    }
    start.dispose();
    const before = await liveMemory();
    for (const options of [
      { seeds: [1, 2], n: 1, scheduler: "DDIMScheduler" },
      { seeds: [1, 2], n: 3 },
      { seeds: [1, 0.5], n: 3, scheduler: "DDIMScheduler" },
    ] as const)
      await rejection(pipeline.interpolate(options));
    expect(await liveMemory()).to.deep.equal(before);
  });

  describe("samplers", () => {
    const stepsOf = async (options: PipelineSampleOptions, of = pipeline): Promise<number> => {
      for await (const { steps } of of.sample({ ...options, allowResidualSignal: true })) return steps;
      return expect.fail("no look");
    };
    const long = (Scheduler: typeof DDIMScheduler | typeof DDPMScheduler): Pipeline =>
      new Pipeline({ model, scheduler: new Scheduler() });

    it("make as many steps as in diffusers, and no more than in training", async () => {
      expect(await stepsOf({}, long(DDPMScheduler))).to.equal(1000);
      expect(await stepsOf({}, long(DDIMScheduler))).to.equal(50);
      expect(await stepsOf({ scheduler: "DDIMScheduler" }, long(DDPMScheduler))).to.equal(50);
      expect(await stepsOf({})).to.equal(20);
      expect(await stepsOf({ scheduler: "DDIMScheduler" })).to.equal(20);
      expect(await stepsOf({ steps: 7 }, long(DDIMScheduler))).to.equal(7);
    });

    it("can be exchanged by name, with the options of the pipeline's own, and by another one", async () => {
      const scheduler = new DDIMScheduler(betas);
      const byName = await draw({ scheduler: "DDIMScheduler", steps: 10 });
      expect(await draw({ scheduler, steps: 10 })).to.deep.equal(byName);
      expect(await draw({ solver: scheduler.solver({ steps: 10 }) })).to.deep.equal(byName);
      expect(await draw({ scheduler: new DDIMScheduler({ ...betas, betaEnd: 0.6 }), steps: 10 })).not.to.deep.equal(byName); // prettier-ignore
      const churned = new EulerDiscreteScheduler(betas).solver({ steps: 10 });
      expect((await draw({ solver: churned })).length).to.equal(16);
    });

    it("take eta where they have one", async () => {
      const ddim = await draw({ scheduler: "DDIMScheduler" });
      expect(await draw({ scheduler: "DDIMScheduler", eta: 0 })).to.deep.equal(ddim);
      const solver = new DDIMScheduler(betas).solver({ steps: 20, eta: 1 });
      expect(await draw({ scheduler: "DDIMScheduler", eta: 1 })).to.deep.equal(await draw({ solver }));
    });
  });

  describe("pictures to start from", () => {
    it("lose as much as strength says, as in diffusers", async () => {
      const from = full([1, 4, 4, 1], 0.5);
      for (const [steps, strength, begin] of [
        [20, 0.8, 4],
        [20, 1, 0],
        [10, 0.29, 8], // min(int(10 * 0.29), 10) = 2 are made
        [20, 0.05, 19],
      ] as const) {
        const solver = pipeline.scheduler.solver({ steps, begin });
        expect(await draw({ n: 2, from, steps, strength }), `${strength}`).to.deep.equal(
          await draw({ n: 2, from, solver }),
        );
      }
      const usual = pipeline.scheduler.solver({ steps: 20, begin: 4 });
      expect(await draw({ from })).to.deep.equal(await draw({ from, solver: usual }));
      const heun = new HeunDiscreteScheduler(betas);
      const half = heun.solver({ steps: 10, begin: 5 });
      expect(await draw({ from, scheduler: heun, steps: 10, strength: 0.5 })).to.deep.equal(await draw({ from, solver: half })); // prettier-ignore
    });

    it("say how large the images are", async () => {
      const images = await pipeline.sample({ from: zeros([2, 8, 12, 1]), n: 2, steps: 10 });
      expect(images.shape).to.deep.equal([2, 8, 12, 1]);
      expect((await pipeline.sample({ size: [4, 8], steps: 10 })).shape).to.deep.equal([1, 4, 8, 1]);
      expect((await pipeline.sample({ noise: randn([1, 8, 8, 1]), steps: 10 })).shape).to.deep.equal([1, 8, 8, 1]);
    });

    it("keep what is known of them", async () => {
      const image = full([1, 4, 4, 1], 0.25);
      const images = await pipeline.sample({ n: 2, inpaint: { image, mask: zeros([1, 4, 4, 1]) }, steps: 10 });
      for (const value of [images.toArray()].flat(9) as number[]) expect(value).to.be.closeTo(0.25, 1e-6);
    });
  });

  it("draws a row of images between those of two seeds, with any deterministic sampler", async () => {
    const deterministic = ["DDIMScheduler", "DPMSolverMultistepScheduler", "EulerDiscreteScheduler"] as const;
    const allowResidualSignal = true;
    for (const scheduler of deterministic) {
      const row = bits(await pipeline.interpolate({ seeds: [3, 8], n: 4, scheduler, steps: 10, allowResidualSignal }));
      expect(row.subarray(0, 16), scheduler).to.deep.equal(
        await draw({ seed: 3, scheduler, steps: 10, allowResidualSignal }),
      );
      expect(row.subarray(48), scheduler).to.deep.equal(
        await draw({ seed: 8, scheduler, steps: 10, allowResidualSignal }),
      );
      expect(new Set(Array.from({ length: 4 }, (_, k) => row.subarray(16 * k, 16 * k + 16).join())).size).to.equal(4);
      const batched = await pipeline.interpolate({
        seeds: [3, 8],
        n: 4,
        scheduler,
        steps: 10,
        allowResidualSignal,
        batch: 3,
      });
      expect(bits(batched), scheduler).to.deep.equal(row);
    }
  });

  describe("classes", () => {
    it("are those of all images or of each, and guidance goes from none", async () => {
      const of = (options: PipelineSampleOptions): Promise<Int32Array> =>
        draw({ n: 2, steps: 10, ...options }, classes);
      const [zero, one] = [await of({ label: 0 }), await of({ label: 1 })];
      expect(zero).not.to.deep.equal(one);
      const each = await of({ label: [0, 1] });
      expect(each.subarray(0, 16)).to.deep.equal(zero.subarray(0, 16));
      expect(each.subarray(16)).to.deep.equal(one.subarray(16));
      expect(await of({ label: 0, guidance: 1, nullLabel: 2 })).to.deep.equal(zero);
      expect(await of({ label: 0, guidance: 3, nullLabel: 2 })).not.to.deep.equal(zero);
      expect(await of({ label: 0, guidance: 0, nullLabel: 2 })).to.deep.equal(await of({ label: 2 }));
    });
  });

  describe("refuses", () => {
    const solver = new DDIMScheduler(betas).solver({ steps: 10 });
    const wrong: readonly (readonly [options: PipelineSampleOptions, message: RegExp])[] = [
      [{ strength: 0.5 }, /^Pipeline\.sample: strength is 0\.5, and there are no pictures to start from\. Give them as from\.$/],
      [{ from: zeros([1, 4, 4, 1]).keep(), strength: 1.5 }, /^Pipeline\.sample: strength is 1\.5, which makes 20 of 20 steps\. Expected a number above 0/],
      [{ from: zeros([1, 4, 4, 1]).keep(), strength: 0.04 }, /^Pipeline\.sample: strength is 0\.04, which makes 0 of 20 steps\./],
      [{ eta: 0.5 }, /^Pipeline\.sample: eta is 0\.5, and DDPMScheduler has none\. DDIMScheduler and TCDScheduler have one\.$/],
      [{ scheduler: "EDMEulerScheduler" }, /: the scheduler is "EDMEulerScheduler", for networks with EDM's preconditioning; that of \w+ is one of a noise schedule\. Where/],
      [{ scheduler: "FlowMatchEulerDiscreteScheduler" }, /: the scheduler is "FlowMatchEulerDiscreteScheduler", for networks of flow matching; that/],
      [{ scheduler: "DDIMScheduler", eta: 2 }, /^DDIMScheduler: eta is 2, expected a number from 0 to 1\.$/],
      [{ scheduler: "Ddim" as never }, /^schedulerFromConfig: the class is "Ddim"\. Expected DDPMScheduler/],
      [{ solver, steps: 10, eta: 1 }, /^Pipeline\.sample: a solver is given, and steps, eta as well, which it was made with\.$/],
      [{ label: 0 }, /^Pipeline\.sample: label is given, and the model has no classes\.$/],
      [{ steps: 21 }, /21/],
    ]; // prettier-ignore

    for (const [options, message] of wrong)
      it(Object.keys(options).join(" and "), async () => {
        const error = await rejection(pipeline.sample(options));
        expect(error).to.be.instanceOf(ArgumentError);
        expect(error.message).to.match(message);
      });

    it("labels that the model does not have", async () => {
      for (const [options, message] of [
        [{}, "label is missing: the model is conditioned on classes."],
        [{ label: 3 }, "label is 3, expected a class of the model, from 0 to 2."],
        [{ n: 2, label: [0, NaN] }, "label of image 1 is NaN, expected a class of the model, from 0 to 2."],
        [{ label: 0, guidance: 2, nullLabel: 3 }, "nullLabel is 3, expected a class of the model, from 0 to 2."],
      ] as const)
        expect((await rejection(classes.sample(options))).message).to.equal(`Pipeline.sample: ${message}`);
    });

    it("to guess how large images are", async () => {
      const any = new Pipeline({ model: new UNet2D({ ...small, sampleSize: null }), scheduler: pipeline.scheduler });
      expect((await rejection(any.sample())).message).to.match(/^Pipeline\.sample: the model's sample_size is null/);
      expect((await any.sample({ size: [4, 4], steps: 10 })).shape).to.deep.equal([1, 4, 4, 1]);
    });

    it("rows of one image, and samplers that add noise", async () => {
      const scheduler = "DDIMScheduler";
      expect((await rejection(pipeline.interpolate({ seeds: [1, 2], n: 1, scheduler }))).message).to.equal(
        "Pipeline.interpolate: n is 1, expected an integer >= 2.",
      );
      expect((await rejection(pipeline.interpolate({ seeds: [1, 2], n: 3 }))).message).to.match(
        /^Pipeline\.interpolate: DDPMScheduler adds noise at its steps, .* Take a deterministic sampler: scheduler: "DDIMScheduler"\.$/,
      );
    });
  });
});
