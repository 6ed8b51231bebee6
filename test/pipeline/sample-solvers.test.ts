// sample with schedulers' solvers: plans and batches, classes and guidance, starts from pictures, inpainting.

import { expect } from "chai";
import type { DeviceName, SampleOptions, Solver, Tensor } from "langevin";
import {
  DDIMInverseScheduler,
  DDIMScheduler,
  DDPMScheduler,
  DEISMultistepScheduler,
  DTypeError,
  DPMSolverMultistepScheduler,
  Embedding,
  EulerAncestralDiscreteScheduler,
  EulerDiscreteScheduler,
  HeunDiscreteScheduler,
  LCMScheduler,
  Module,
  NoiseSchedule,
  PNDMScheduler,
  UniPCMultistepScheduler,
  full,
  manualSeed,
  noGrad,
  ones,
  randn,
  sample,
  scope,
  slerp,
  tensor,
  zeros,
} from "langevin";
import { rejection } from "../failure.ts";
import { liveMemory, onEveryDevice, referencedMemory, sampleByGraphs } from "../tensor/devices.ts";

const schedule = new NoiseSchedule({ steps: 1000, betaStart: 1e-4, betaEnd: 0.02 });
const steps = 6;

/** A network whose prediction depends on x, on t (whole or not) and on the class. */
class ClassNet extends Module {
  classes = new Embedding(4, 2);

  forward(x: Tensor, t: Tensor, { classLabels }: { readonly classLabels?: Tensor } = {}): Tensor {
    const time = t.to(x.dtype).mul(1e-3).cos().reshape([-1, 1, 1, 1]);
    const seen = x.mul(0.7).add(time).tanh();
    return classLabels ? seen.add(this.classes.forward(classLabels).reshape([-1, 1, 1, 2])) : seen;
  }
}

const solvers: readonly (readonly [string, () => Solver])[] = [
  ["DDPM", () => new DDPMScheduler({ schedule }).solver({ steps })],
  ["DDIM, eta 0.5", () => new DDIMScheduler({ schedule }).solver({ steps, eta: 0.5 })],
  ["PNDM", () => new PNDMScheduler({ schedule }).solver({ steps })],
  ["Euler, Karras", () => new EulerDiscreteScheduler({ schedule, useKarrasSigmas: true }).solver({ steps, churn: 3 })],
  ["Euler ancestral", () => new EulerAncestralDiscreteScheduler({ schedule }).solver({ steps })],
  ["Heun", () => new HeunDiscreteScheduler({ schedule }).solver({ steps })],
  ["DPM++ 2M", () => new DPMSolverMultistepScheduler({ schedule }).solver({ steps })],
  ["DPM++ 2M SDE", () => new DPMSolverMultistepScheduler({ schedule, algorithmType: "sde-dpmsolver++" }).solver({ steps })], // prettier-ignore
  ["UniPC, thresholding", () => new UniPCMultistepScheduler({ schedule, thresholding: true }).solver({ steps })],
  ["LCM", () => new LCMScheduler({ schedule }).solver({ steps })],
];

function bits(x: Tensor): Int32Array {
  return new Int32Array(Float32Array.from([x.toArray()].flat(9) as number[]).buffer);
}

onEveryDevice("sample with solvers", (device: DeviceName) => {
  sampleByGraphs();

  let model: ClassNet;
  before(() => {
    manualSeed(3);
    model = new ClassNet();
  });
  const ddim = (begin?: number): Solver => new DDIMScheduler({ schedule, clipSample: false }).solver({ steps, begin });
  const options = (changes: Partial<SampleOptions> = {}): SampleOptions => ({
    model,
    solver: ddim(),
    count: 3,
    size: [4, 4, 2],
    seed: 5,
    ...changes,
  });

  for (const [name, make] of solvers)
    it(`${name}: a plan has eager's bits, image k the same at any batch, nothing is left behind`, async () => {
      const solver = make();
      (await sample(options({ solver }))).dispose();
      const before = await referencedMemory();
      const whole = await sample(options({ solver, count: 5 }));
      const eager = await sample(options({ solver, count: 5, eager: true }));
      expect(bits(eager)).to.deep.equal(bits(whole));
      const apart = await sample(options({ solver, count: 5, batch: 2 }));
      expect(bits(apart)).to.deep.equal(bits(whole));
      expect([...bits(whole)].some((value, i, all) => value !== all[i % 32])).to.equal(true);
      for (const images of [whole, eager, apart]) images.dispose();
      expect(await liveMemory()).to.deep.equal(before);
    });

  it("is the loop that a user would write", async () => {
    const solver = new DPMSolverMultistepScheduler({ schedule, algorithmType: "sde-dpmsolver++" }).solver({ steps });
    const expected = noGrad(() =>
      scope(() => {
        let state = solver.start(randn([3, 4, 4, 2], { seed: 5, draw: 0 }).mul(solver.initialNoise));
        for (let call = 0; call < solver.calls; call++) {
          const noise = (): Tensor => randn([3, 4, 4, 2], { seed: 5, draw: 3, step: call });
          state = solver.step(state, call, (x, t) => model.forward(x, t), noise);
        }
        return state.x.clone().keep();
      }),
    );
    expect(bits(await sample(options({ solver })))).to.deep.equal(bits(expected));
    expected.dispose();
  });

  describe("classes", () => {
    it("are told to the network, one for each image", async () => {
      const mixed = bits(await sample(options({ classLabels: [0, 1, 2], batch: 2 })));
      const alone = await Promise.all([0, 1, 2].map((label) => sample(options({ classLabels: label }))));
      alone.forEach((images, k) => {
        expect(mixed.subarray(32 * k, 32 * (k + 1))).to.deep.equal(bits(images).subarray(32 * k, 32 * (k + 1)));
      });
    });

    it("guide: 1 is the class, 0 none, 2 as far again from none", async () => {
      const linear = {
        forward: (x: Tensor, _t: Tensor, { classLabels }: { readonly classLabels?: Tensor } = {}): Tensor =>
          zeros(x.shape).add(classLabels!.to(x.dtype).reshape([-1, 1, 1, 1])),
      };
      const at = async (guidance: number): Promise<number> =>
        ((await sample(options({ model: linear, classLabels: 1, guidance, nullLabel: 3 }))).slice(0, 0, 0, 0)).item(); // prettier-ignore
      const [none, once, twice] = [await at(0), await at(1), await at(2)];
      expect(twice - once).to.be.closeTo(once - none, 1e-4 * Math.abs(twice));
      const ofNull = await sample(options({ model: linear, classLabels: 3 }));
      expect(ofNull.slice(0, 0, 0, 0).item()).to.equal(none);
    });

    it("are refused where they do not fit", async () => {
      for (const [changes, text] of [
        [{ classLabels: [1, 2] }, /^sample: classLabels are \[1, 2\]\. Expected 3 integers >= 0, or one for all\.$/],
        [{ classLabels: -1 }, /^sample: classLabels are \[-1, -1, -1\]/],
        [{ guidance: 3 }, /^sample: guidance is 3, and there are no class labels to guide to\.$/],
        [{ classLabels: 1, guidance: 3 }, /^sample: guidance is 3 and nullLabel is undefined\. Guidance needs/],
      ] as const)
        expect((await rejection(sample(options(changes)))).message).to.match(text);
    });
  });

  describe("from pictures", () => {
    it("gives back a picture of which the network knows what is noise", async () => {
      const picture = tensor(
        Float32Array.from({ length: 32 }, (_, i) => Math.sin(i)),
        { shape: [1, 4, 4, 2] },
      );
      // epsilon of x = signal picture + noise epsilon.
      const knowing = {
        forward: (x: Tensor, t: Tensor): Tensor => {
          const alphaBar = tensor(schedule.alphaBar, { dtype: x.dtype }).indexSelect(0, t).reshape([-1, 1, 1, 1]);
          return x.sub(picture.mul(alphaBar.sqrt())).div(alphaBar.neg().add(1).sqrt());
        },
      };
      const images = await sample(options({ model: knowing, solver: ddim(3), from: picture, eager: true }));
      const error = images.sub(picture).abs().max().item();
      expect(error).to.be.lessThan(1e-4);
    });

    it("starts with the noise of the first step that is made", async () => {
      const solver = ddim(4);
      const { signal, noise } = solver.levels[0];
      const looks: Tensor[] = [];
      const from = full([1, 4, 4, 2], 2);
      await sample(options({ solver, from, onPreview: ({ step, x }) => void (step === 0 && looks.push(x.keep())) }));
      const drawn = randn([3, 4, 4, 2], { seed: 5, draw: 0 });
      const expected = from.mul(signal).add(drawn.mul(noise));
      expect(looks[0].sub(expected).abs().max().item()).to.be.lessThan(1e-6);
    });

    it("are needed where the first step expects signal", async () => {
      const error = await rejection(sample(options({ solver: ddim(4) })));
      expect(error.message).to.match(/^sample: the first step of DDIMScheduler expects pictures that still hold \d+%/);
      (await sample(options({ solver: ddim(4), allowResidualSignal: true }))).dispose();
    });

    it("of other sizes are refused", async () => {
      const error = await rejection(sample(options({ from: zeros([2, 4, 4, 2]) })));
      expect(error.message).to.equal(
        "sample: from has shape [2, 4, 4, 2]. Expected [3 or 1, 4, 4, 2] for 3 images of size [4, 4, 2].",
      );
      const ofOne = await rejection(sample(options({ count: 1, from: zeros([4, 4, 2]) })));
      expect(ofOne.message).to.equal(
        "sample: from has shape [4, 4, 2]. Expected [1, 4, 4, 2] for 1 image of size [4, 4, 2].",
      );
    });
  });

  it("starts from noise that is given", async () => {
    const noise = randn([3, 4, 4, 2], { seed: 5, draw: 0 });
    expect(bits(await sample(options({ noise })))).to.deep.equal(bits(await sample(options())));
    const other = slerp(noise, randn([3, 4, 4, 2], { seed: 6, draw: 0 }), 0.5);
    expect(bits(await sample(options({ noise: other })))).not.to.deep.equal(bits(await sample(options())));
  });

  it("starts all images from one noise, alone and on top of one picture", async () => {
    const noise = randn([1, 4, 4, 2], { seed: 5, draw: 0 });
    const all = noise.broadcastTo([3, 4, 4, 2]);
    const classLabels = [0, 1, 2];
    for (const start of [{}, { from: full([1, 4, 4, 2], 0.5), solver: ddim(2) }]) {
      const expected = bits(await sample(options({ noise: all, classLabels, ...start })));
      for (const changes of [{}, { batch: 2 }, { eager: true }])
        expect(bits(await sample(options({ noise, classLabels, ...start, ...changes })))).to.deep.equal(expected);
    }
  });

  describe("inpainting", () => {
    const known = (): Tensor => full([1, 4, 4, 2], 0.25);
    /** 1 in the right half, which is painted. */
    const mask = (): Tensor => tensor([0, 0, 1, 1], { shape: [1, 1, 4, 1] }).broadcastTo([1, 4, 4, 1]);

    for (const [name, resamples] of [
      ["once", 1],
      ["resampled", 3],
    ] as const)
      it(`${name}: keeps what is known exactly, paints the rest, as a plan and in batches`, async () => {
        const inpaint = { image: known(), mask: mask(), resamples, jump: 2 };
        const images = await sample(options({ inpaint }));
        const [left, right] = images.chunk(2, 2);
        expect(left.sub(0.25).abs().max().item()).to.equal(0);
        expect(right.std().item()).to.be.greaterThan(0.05);
        for (const changes of [{ eager: true }, { batch: 2 }])
          expect(bits(await sample(options({ inpaint, ...changes })))).to.deep.equal(bits(images));
      });

    for (const [name, scheduler] of [
      ["DEIS", new DEISMultistepScheduler({ schedule })],
      ["DDIM to alphaBar of t = 0", new DDIMScheduler({ schedule, setAlphaToOne: false })],
      ["Euler to the least sigma", new EulerDiscreteScheduler({ schedule, finalSigmasType: "sigma_min" })],
    ] as const)
      it(`${name}: keeps what is known exactly although the last level has noise left`, async () => {
        const solver = scheduler.solver({ steps });
        expect(solver.levels.at(-1)!.noise).to.be.greaterThan(0);
        const images = await sample(options({ solver, inpaint: { image: known(), mask: mask() } }));
        expect(images.chunk(2, 2)[0].sub(0.25).abs().max().item()).to.equal(0);
      });

    it("leaves what is known the noise of a run that ends before the pictures do", async () => {
      const solver = new EulerDiscreteScheduler({ schedule }).solver({ sigmas: [50, 3, 1] });
      const image = zeros([1, 4, 4, 2]);
      const images = await sample(options({ solver, count: 64, inpaint: { image, mask: zeros([1, 4, 4, 1]) } }));
      expect(images.std().item()).to.be.closeTo(1, 0.05);
    });

    it("makes stretches of steps again", async () => {
      let calls = 0;
      const counted = { forward: (x: Tensor, t: Tensor): Tensor => (calls++, model.forward(x, t)) };
      const inpaint = { image: known(), mask: mask(), resamples: 3, jump: 2 };
      await sample(options({ model: counted, inpaint, eager: true }));
      expect(calls).to.equal(3 * steps);
    });

    it("goes back with as much noise as a step takes away", async () => {
      // A network that sees no signal and no noise leaves x = 0 at the end of each step: what is there after the way back
      // is noise of the level that the steps are made again from.
      const inpaint = { image: zeros([1, 4, 4, 2]), mask: ones([1, 1, 1, 1]).broadcastTo([1, 4, 4, 1]), resamples: 2, jump: 6 }; // prettier-ignore
      const solver = new DDIMScheduler({ schedule, clipSample: false, predictionType: "sample" }).solver({ steps, eta: 1 }); // prettier-ignore
      const deviations: number[] = [];
      await sample(
        options({
          model: { forward: (x: Tensor) => x.mul(0) },
          solver,
          count: 64,
          inpaint,
          previewEvery: 6,
          onPreview: ({ x }) => void deviations.push(x.std().item()),
        }),
      );
      expect(deviations[0]).to.be.closeTo(1, 0.05);
      expect(deviations[1]).to.be.closeTo(solver.levels[0].noise, 0.05);
      expect(deviations[2]).to.be.closeTo(0, 1e-6);
    });

    it("refuses to go back in a run towards noise", async () => {
      const solver = new DDIMInverseScheduler({ schedule }).solver({ steps });
      const inpaint = { image: known(), mask: mask(), resamples: 2 };
      const error = await rejection(sample(options({ solver, inpaint, allowResidualSignal: true })));
      expect(error.message).to.match(
        /^inpaint: resamples go back to more noise, and the noise of this sampler's steps/,
      );
    });

    it("refuses to go back with a sampler that remembers", async () => {
      const solver = new DPMSolverMultistepScheduler({ schedule }).solver({ steps });
      const inpaint = { image: known(), mask: mask(), resamples: 2 };
      const error = await rejection(sample(options({ solver, inpaint })));
      expect(error.message).to.match(/^sample: inpaint\.resamples is 2, and DPMSolverMultistepScheduler remembers/);
      (await sample(options({ solver, inpaint: { ...inpaint, resamples: 1 } }))).dispose();
    });
  });

  it("refuses pictures, masks and noise of another dtype, by their names", async () => {
    const ints = (shape: readonly number[]): Tensor => zeros([...shape], { dtype: "int32" });
    const image = zeros([1, 4, 4, 2]);
    const cases: readonly (readonly [string, Partial<SampleOptions>])[] = [
      ["from", { from: ints([3, 4, 4, 2]) }],
      ["noise", { noise: ints([3, 4, 4, 2]) }],
      ["inpaint.image", { inpaint: { image: ints([1, 4, 4, 2]), mask: ones([1, 4, 4, 1]) } }],
      ["inpaint.mask", { inpaint: { image, mask: image.greater(0) } }],
    ];
    for (const [name, changes] of cases) {
      const error = await rejection(sample(options(changes)));
      expect(error).to.be.instanceOf(DTypeError);
      expect(error.message).to.equal(`sample: ${name} is int32, and dtype is float32. Convert it with .to("float32").`);
    }
  });

  it("is told either a schedule or a solver", async () => {
    for (const changes of [{ schedule }, { solver: undefined }])
      expect((await rejection(sample(options(changes)))).message).to.match(
        /^sample: (both|neither) a schedule (and|nor)/,
      );
  });

  if (device === "ts")
    describe("slerp", () => {
      it("is on the arc, of the same length, and its ends are a and b", () => {
        const [a, b] = [tensor([[1, 0], [0, 2]]), tensor([[0, 1], [2, 0]])]; // prettier-ignore
        const root = Math.SQRT1_2;
        expect(slerp(a, b, 0).toArray()).to.deep.equal(a.toArray());
        const middle = slerp(a, b, 0.5).toArray() as number[][];
        middle.flat().forEach((value, i) => expect(value).to.be.closeTo([root, root, 2 * root, 2 * root][i], 1e-6));
        const third = (slerp(a, b, 1 / 3).toArray() as number[][])[0];
        expect(third[0]).to.be.closeTo(Math.cos(Math.PI / 6), 1e-6);
      });

      it("is straight between parallel noises, and refuses others", () => {
        const a = tensor([[3, 4]]);
        expect((slerp(a, a.mul(2), 0.25).toArray() as number[][])[0]).to.deep.equal([3.75, 5]);
        expect(() => slerp(a, tensor([[1]]), 0.5)).to.throw("slerp: a has shape [1, 2] and b has [1, 1]");
        expect(() => slerp(a, a, 2)).to.throw("slerp: weight is 2, expected a number from 0 to 1.");
      });
    });
});
