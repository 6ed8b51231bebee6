// The persistent sampler's pictures beside the CPU's, in every precision, for batches that leave multiprocessors idle and for one
// that makes two images a block.

import type { DeviceName, Precision, Tensor } from "langevin";
import { Module, NoiseSchedule } from "langevin";
import { TutorialUNet } from "../../examples/tutorial-nets.ts";
import { distance, drawPictures, seeded } from "./sampling.ts";
import type { Part, Session } from "./session.ts";
import { WrongAnswer } from "./session.ts";
import { networksApart } from "./tolerances.ts";

const size = [8, 8, 1] as const;
const pixels = size[0] * size[1] * size[2];

/** A block has two images where there are more than multiprocessors: of an H100 (132), or of the stand-in on the host. */
const moreThanMultiprocessors = ({ reduced, ceilings }: Session): number =>
  reduced ? 5 : (ceilings?.multiprocessors ?? 132) + 1;

/** Reverse steps, several launches of the kernel, from noise to pictures. */
const scheduleOf = ({ reduced }: Session): NoiseSchedule =>
  reduced
    ? new NoiseSchedule({ steps: 18, betaStart: 0.01, betaEnd: 0.4 })
    : new NoiseSchedule({ steps: 50, betaStart: 0.002, betaEnd: 0.4 });

const tutorial = ({ seed }: Session, { steps }: NoiseSchedule) =>
  seeded(() => new TutorialUNet({ imageChannels: 1, channels: [16, 32, 64], timeDim: 16, steps }), seed);

/** Predicts that there is no noise: what it draws is noise. */
class Blind extends Module {
  forward(x: Tensor): Tensor {
    return x.mul(0);
  }
}

/** One batch of pictures. */
function draw(
  device: DeviceName,
  network: () => TutorialUNet | Blind,
  count: number,
  session: Session,
  precision?: Precision,
) {
  const schedule = scheduleOf(session);
  return drawPictures(device, network, { schedule, count, batch: count, size, seed: session.seed, precision });
}

/** The CPU's pictures. */
interface Expected {
  readonly values: readonly number[];
  /** How far they are from what comes of noise alone: what is wrong in a network shows in that. */
  readonly reach: number;
}

async function expectedOf(count: number, session: Session): Promise<Expected> {
  const { values } = await draw("cpu", tutorial(session, scheduleOf(session)), count, session);
  const { values: noise } = await draw("cpu", () => new Blind(), count, session);
  return { values, reach: distance(values, noise) };
}

/** Draws on cuda, and compares with the CPU's first pictures; refuses ways other than the persistent kernel. */
async function compare(count: number, expected: Expected, session: Session, precision: Precision) {
  const { values, ways } = await draw("cuda", tutorial(session, scheduleOf(session)), count, session, precision);
  const what = `a batch of ${count} in ${precision}`;
  if (ways.length === 0 || !ways.every((way) => way.startsWith("Runs in one persistent kernel")))
    throw new WrongAnswer(`${what} is to come from one persistent kernel: ${ways.join(" ")}`);
  const error = distance(values, expected.values.slice(0, count * pixels)) / expected.reach;
  const most = networksApart[precision];
  if (!(error <= most)) throw new WrongAnswer(`${what} is ${error} away from the CPU's, expected at most ${most}`);
  session.say(`${what}: ${error.toExponential(1)} (${ways[0].split(/[:.]/)[0]})`);
  return values;
}

/** Pictures of the same seed, however many are drawn at once. */
export const persistentSampler: Part = {
  name: "sampler",
  title: "The persistent sampler's pictures beside the CPU's",
  async run(session) {
    const most = moreThanMultiprocessors(session);
    const expected = await expectedOf(most, session);
    for (const precision of session.cuda.precisions) {
      let alone: readonly number[] | undefined;
      for (const count of [1, 3, most])
        await session.attempt(`a batch of ${count} in ${precision}`, async () => {
          const pictures = await compare(count, expected, session, precision);
          alone ??= pictures;
          const other = alone.findIndex((value, i) => value !== pictures[i]);
          if (other >= 0)
            throw new WrongAnswer(
              `pixel ${other} in a batch of ${count} in ${precision} is ${pictures[other]}, drawn alone ${alone[other]}`,
            );
        });
    }
  },
};
