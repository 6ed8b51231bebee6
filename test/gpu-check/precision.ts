// Plans in float32, tf32 and bf16 on device cuda: products of rounded operands, in odd shapes and in those of a large U-Net; the same
// bits however a plan is carried out; training that takes the CPU's course.

import type { Precision } from "langevin";
import { NoiseSchedule } from "langevin";
import { ddpmUNet } from "../../bench/workloads/ddpm-unet.ts";
import { schedule } from "../../bench/workloads/training.ts";
import { tutorialUNet } from "../../bench/workloads/tutorial-unet.ts";
import type { AnyOp, SampleInput } from "../../ts/ops/index.ts";
import { ops } from "../../ts/ops/index.ts";
import type { Case } from "../ops/draw.ts";
import { drawInput, generator } from "../ops/draw.ts";
import { checkInPrecision, products } from "../ops/precision.ts";
import { denseLayout, layouts } from "../ops/run-op.ts";
import { firstDifference } from "../ops/tolerance.ts";
import { freshCase } from "./fresh-cases.ts";
import type { ShortTraining } from "./losses.ts";
import { lossesOf } from "./losses.ts";
import { expectRight } from "./ops.ts";
import { drawPictures, seeded, withEnvironment } from "./sampling.ts";
import type { Part, Session } from "./session.ts";
import { WrongAnswer } from "./session.ts";
import { networksApart } from "./tolerances.ts";

interface Sized {
  readonly op: AnyOp;
  readonly inputs: readonly (SampleInput | undefined)[];
  readonly attributes: Case["attributes"];
}

/** Products in sizes of the U-Net for CIFAR-10: several stages and blocks, and sums of up to 8,192 terms, which are taken in parts. */
function networkSized(): Sized[] {
  const window = { stride: [1, 1], padding: [1, 1, 1, 1], dilation: [1, 1] };
  const halving = { ...window, stride: [2, 2], padding: [0, 1, 0, 1] };
  const shaped = (...shapes: (readonly number[] | undefined)[]) => shapes.map((shape) => shape && { shape });
  const tokens = [2, 256, 256];
  const attention = { heads: 1, scale: 1 / 16, causal: false };
  const plain = { transposeA: false, transposeB: false };
  return [
    { op: ops.conv2d, inputs: shaped([2, 16, 16, 256], [3, 3, 256, 256], [256]), attributes: window },
    { op: ops.conv2d, inputs: shaped([2, 8, 8, 512], [3, 3, 512, 256], undefined), attributes: window },
    { op: ops.conv2d, inputs: shaped([1, 32, 32, 128], [3, 3, 128, 128], [128]), attributes: halving },
    {
      op: ops.convTranspose2d,
      inputs: shaped([2, 16, 16, 256], [3, 3, 128, 256], undefined),
      attributes: { ...window, size: [16, 16] },
    },
    {
      op: ops.conv2dWeightGradient,
      inputs: shaped([8, 32, 32, 64], [8, 32, 32, 64]),
      attributes: { ...window, kernel: [3, 3] },
    },
    { op: ops.matmul, inputs: shaped([128, 512], [512, 256], [256]), attributes: plain },
    { op: ops.attention, inputs: shaped(tokens, tokens, tokens, undefined), attributes: attention },
    { op: ops.attentionGradient, inputs: shaped(tokens, tokens, tokens, tokens, undefined), attributes: attention },
  ];
}

/** Every product in odd shapes, and in those of a network. */
async function checkProducts(session: Session, precision: Precision): Promise<void> {
  const { cuda, cpu, seed, reduced } = session;
  const random = generator(seed);
  const check = (c: Case, layout: (typeof layouts)[number]): void =>
    expectRight(c, `${layout.name}, in ${precision}`, () => {
      checkInPrecision(cuda, precision, c, layout, { executor: cpu, dtype: "float32" });
    });
  for (const [op] of products)
    await session.attempt(`${op.name} in ${precision}`, () => {
      for (const sample of reduced ? op.samples.slice(0, 1) : op.samples)
        for (const layout of layouts) check(freshCase(op, sample, random).case, layout);
      if (reduced) return;
      for (const { inputs, attributes } of networkSized().filter((sized) => sized.op === op))
        check({ op, inputs: inputs.map((input) => input && drawInput(input, random)), attributes }, denseLayout);
    });
  session.say(`products in ${precision}`);
}

/** Trainings of networks without attention and with it, fast enough for wrong gradients to show in the losses. */
function trainings({ seed, reduced }: Session): readonly (readonly [name: string, training: ShortTraining])[] {
  const common = { schedule, lr: 1e-3, seed, ...(reduced ? { count: 2, batch: 1 } : { count: 64, batch: 16 }) };
  const side = reduced ? 8 : 16;
  const withAttention = () => ddpmUNet({ size: side, base: 32, mults: reduced ? [1] : [1, 2] });
  return [
    ["the tutorial's U-Net", { ...common, network: tutorialUNet, size: [8, 8, 1], iterations: reduced ? 4 : 20 }],
    [
      "a U-Net with attention",
      { ...common, network: withAttention, size: [side, side, 3], iterations: reduced ? 1 : 20 },
    ],
  ];
}

/**
 * A plan has the same bits as its commands one by one, which nothing fuses, and losses near the CPU's: in twenty steps these fall by up to
 * a tenth. (In float32 `parity` compares them, at a rate at which Adam does not carry roundings on.)
 */
async function checkTraining(session: Session, precision: Precision): Promise<void> {
  for (const [name, training] of trainings(session))
    await session.attempt(`training of ${name} in ${precision}`, async () => {
      const planned = await lossesOf(training, "cuda", { precision });
      const oneByOne = await lossesOf(training, "cuda", { precision, checkFinite: true });
      const problem = firstDifference(planned, oneByOne);
      if (problem !== undefined)
        throw new WrongAnswer(`losses of ${name} in ${precision} differ with checkFinite: ${problem}`);
      session.say(`training of ${name} in ${precision}: the same bits as one command after the other`);
      if (precision === "float32") return;
      const expected = await lossesOf(training, "cpu");
      const apart = Math.max(...planned.map((loss, i) => Math.abs(loss / expected[i] - 1)));
      const most = networksApart[precision];
      if (!(apart <= most))
        throw new WrongAnswer(
          `losses of ${name} in ${precision} are ${apart} from the CPU's, expected at most ${most}`,
        );
      session.say(`    and at most ${apart.toExponential(1)} from the CPU's`);
    });
}

/** Sampling by graphs has the same bits whether operations are fused or not. */
async function checkFusion(session: Session, precision: Precision): Promise<void> {
  await session.attempt(`sampling in ${precision} with fusion and without`, async () => {
    const fewSteps = new NoiseSchedule({ steps: session.reduced ? 3 : 50, betaStart: 0.002, betaEnd: 0.4 });
    const options = {
      schedule: fewSteps,
      allowResidualSignal: true,
      count: session.reduced ? 1 : 16,
      size: [8, 8, 1],
    } as const;
    const pictures = (fuse: "on" | "off") =>
      withEnvironment("LANGEVIN_FUSE", fuse, () =>
        drawPictures("cuda", seeded(tutorialUNet, session.seed), { ...options, seed: session.seed, precision }),
      );
    await withEnvironment("LANGEVIN_PERSISTENT", "off", async () => {
      const problem = firstDifference((await pictures("on")).values, (await pictures("off")).values);
      if (problem !== undefined)
        throw new WrongAnswer(`pictures in ${precision} differ with fusion and without it: ${problem}`);
    });
    session.say(`sampling in ${precision}: the same bits with fusion and without`);
  });
}

/** Every precision that the GPU has. */
export const precisionChecks: Part = {
  name: "precision",
  title: "Precisions: products of rounded operands, plans and their commands one by one",
  async run(session) {
    for (const precision of session.cuda.precisions) {
      await checkProducts(session, precision);
      await checkTraining(session, precision);
      await checkFusion(session, precision);
    }
  },
};
