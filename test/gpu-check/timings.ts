// How long the bench's workloads take on device cuda, replayed as plans, and how far their networks are from the CPU's.

import type { DeviceName, Precision, Tensor } from "langevin";
import { capture, manualSeed, noGrad, randint, randn, scope, setDefaultDevice } from "langevin";
import { unetForward, unetTraining, usualUNet } from "../../bench/tasks.ts";
import type { Task, UNetSizes } from "../../bench/tasks.ts";
import { ddpmUNet, unetSampling } from "../../bench/workloads/ddpm-unet.ts";
import { setUp } from "../../bench/workloads/index.ts";
import type { Network } from "../../bench/workloads/training.ts";
import { schedule } from "../../bench/workloads/training.ts";
import { tutorialUNet } from "../../bench/workloads/tutorial-unet.ts";
import type { Manner, Workload } from "../../bench/workloads/workload.ts";
import { relativeDistance } from "./sampling.ts";
import { networksApart } from "./tolerances.ts";
import type { Part, Session } from "./session.ts";
import { WrongAnswer } from "./session.ts";

/** DDPM's U-Net for CIFAR-10 (Ho et al. 2020): 35.7 million parameters. */
export const cifarUNet: UNetSizes = { size: 32, base: 128, mults: [1, 2, 2, 2] };
const tinyUNet: UNetSizes = { size: 8, base: 32, mults: [1, 1] };

/** A network whose outputs are compared with the CPU's. */
interface Compared {
  readonly name: string;
  readonly make: () => Network;
  readonly size: readonly [height: number, width: number, channels: number];
}
const unet = (name: string, sizes: UNetSizes): Compared => {
  return { name, make: () => ddpmUNet(sizes), size: [sizes.size, sizes.size, 3] };
};
const networks = {
  tutorial: { name: "the tutorial's U-Net", make: tutorialUNet, size: [8, 8, 1] } satisfies Compared,
  cifar: unet("the U-Net of CIFAR-10", cifarUNet),
  w4: unet("the U-Net of W4", usualUNet),
  tiny: unet("a tiny U-Net", tinyUNet),
};

/** What is timed. */
interface Timed {
  /** As in `W1 ms_per_train_step`. */
  readonly name: string;
  /** Where it is one of the bench's. */
  readonly task?: Task;
  readonly network?: Compared;
  setUp(manner: Manner): Workload;
  readonly manner: Manner;
  /**
   * For sampling, whose calls also record and upload a plan: two numbers of steps, from the difference of whose times the time of
   * `schedule.steps` follows.
   */
  readonly between?: readonly [fewer: number, more: number];
}

const timed = (task: Task, network: Compared | undefined, manner: Manner): Timed => {
  return { name: `${task.workload} ${task.metric}`, task, network, setUp: (given) => setUp(task, given), manner };
};
const cifar = <T extends Task>(task: T): T => ({ ...task, workload: task.workload.replace("W4", "cifar10") });

const tutorialTrain = (batch: number, calls: number): Timed =>
  timed({ workload: "W1", metric: "ms_per_train_step", kind: "tutorial-train", batch }, networks.tutorial, { calls });

/** The whole call, and without what it does besides steps. */
function tutorialSample(batch: number, between: Timed["between"], steps?: number): Timed[] {
  const task: Task = { workload: `W2-b${batch}`, metric: "s_total_1000_steps", kind: "tutorial-sample", batch };
  const whole = timed(task, networks.tutorial, { steps });
  return [{ ...whole, name: `${whole.name}, in steps alone`, between }, whole];
}

const reverseStep = (size: number, calls: number): Timed =>
  timed({ workload: "W3", metric: "ms_per_step", kind: "reverse-step", size }, undefined, { calls, asPlan: true });

/** How many calls end with one wait, so that this does not count. */
const calls = { tutorial: 100, unet: 10 };
const float32: readonly Precision[] = ["float32"];
const floats: readonly Precision[] = ["bf16", "float32"];
const all: readonly Precision[] = ["bf16", "tf32", "float32"];

/** What is timed, and in which precisions: the goals for one H100 first, then the bench's W1 to W4. */
const full: readonly (readonly [timed: Timed, precisions: readonly Precision[]])[] = [
  [tutorialTrain(128, calls.tutorial), floats],
  ...[132, 1024, 1, 64].flatMap((batch) => tutorialSample(batch, [100, 1000]).map((each) => [each, all] as const)),
  [timed(cifar(unetTraining(cifarUNet, 128)), networks.cifar, { calls: calls.unet }), all],
  [
    {
      name: "cifar10-sample-b64 s_total_1000_steps, from 40",
      network: networks.cifar,
      setUp: (manner) => unetSampling({ ...cifarUNet, batch: 64 }, manner),
      manner: {},
      between: [10, 50],
    },
    all,
  ],
  [timed(cifar(unetForward(cifarUNet, 64)), networks.cifar, { calls: calls.unet }), all],
  [timed(unetTraining(usualUNet, 16), networks.w4, { calls: calls.unet }), floats],
  ...[16, 1].map(
    (batch) => [timed(unetForward(usualUNet, batch), networks.w4, { calls: calls.unet }), floats] as const,
  ),
  [reverseStep(512, calls.tutorial), float32],
];

/** The bench's tasks among them. */
export const timedTasks: readonly Task[] = full.flatMap(([{ task }]) => task ?? []);

/** A training step that is small. */
export const tinyTraining = unetTraining(tinyUNet, 1);

/** What stands for them where kernels run on the host: one of each kind. */
const reduced: typeof full = [
  [tutorialTrain(1, 2), floats],
  ...tutorialSample(1, [2, 12], 4).map((each) => [each, all] as const),
  [reverseStep(8, 2), float32],
  [timed(tinyTraining, networks.tiny, { calls: 2 }), floats],
  [timed(unetForward(tinyUNet, 1), networks.tiny, { calls: 2 }), float32],
];

/** Runs so often, and for so many seconds, at least, after one run that warms up. */
const least = { full: { runs: 3, seconds: 1 }, reduced: { runs: 1, seconds: 0 } };

/** Median seconds of a call. */
async function timeOf(workload: Workload, { runs, seconds }: typeof least.full): Promise<number> {
  const times: number[] = [];
  await workload.run();
  const begin = performance.now();
  while (times.length < runs || performance.now() - begin < 1000 * seconds) {
    await workload.prepare?.();
    const start = performance.now();
    await workload.run();
    times.push((performance.now() - start) / 1000 / workload.calls);
  }
  return times.sort((a, b) => a - b)[times.length >> 1];
}

/**
 * Seconds in which the GPU could do it: its arithmetic as products of the precision, or its bytes, whichever takes longer. A product
 * in float32 is an fma, or three in tf32; in bf16 every number might be stored in half of the bytes.
 */
function limitOf({ cost }: Workload, precision: Precision, { ceilings }: Session): number | undefined {
  if (ceilings === undefined) return undefined;
  const { float32Tflops, tf32Tflops, bf16Tflops } = ceilings;
  const rate = { float32: Math.max(float32Tflops, tf32Tflops / 3), tf32: tf32Tflops, bf16: bf16Tflops }[precision];
  const bytes = precision === "bf16" ? cost.bytes / 2 : cost.bytes;
  return Math.max(cost.flops / (1e12 * rate), bytes / (1e9 * ceilings.copyGbps));
}

/** What the network gives on a device, for weights and inputs of a seed. */
async function outputOf({ make, size }: Compared, device: DeviceName, precision: Precision, seed: number) {
  setDefaultDevice(device);
  manualSeed(seed);
  const model = make();
  model.eval();
  // Two images tell as much of the arithmetic as a batch does, and the CPU has to compute them, too.
  const [x, t] = scope(() => [randn([2, ...size]).keep(), randint(0, schedule.steps, [2]).keep()]);
  const forward = capture((images: Tensor, times: Tensor) => noGrad(() => model.forward(images, times)), { precision });
  const output = forward(x, t);
  const values = [...(await output.data())];
  forward.dispose();
  for (const held of [output, x, t]) held.dispose();
  model.dispose();
  return values;
}

/** Errors of networks on device cuda, each computed once. */
class Errors {
  readonly #session: Session;
  readonly #expected = new Map<Compared, number[]>();
  readonly #found = new Map<string, number | undefined>();

  constructor(session: Session) {
    this.#session = session;
  }

  /** How far the network is from the CPU's in float32, relative to the largest output; undefined where it could not be told. */
  async of(network: Compared | undefined, precision: Precision): Promise<number | undefined> {
    if (network === undefined) return undefined;
    const what = `${network.name} in ${precision}`;
    if (!this.#found.has(what)) {
      this.#found.set(what, undefined);
      await this.#session.attempt(what, () => this.#compare(network, precision, what));
    }
    return this.#found.get(what);
  }

  async #compare(network: Compared, precision: Precision, what: string): Promise<void> {
    const { seed } = this.#session;
    const expected = this.#expected.get(network) ?? (await outputOf(network, "cpu", "float32", seed));
    this.#expected.set(network, expected);
    const error = relativeDistance(await outputOf(network, "cuda", precision, seed), expected);
    this.#found.set(what, error);
    const most = networksApart[precision];
    if (!(error <= most)) throw new WrongAnswer(`${what} is ${error} away from the CPU's, expected at most ${most}`);
  }
}

/** Takes one time, and notes it. */
async function measure(given: Timed, precision: Precision, session: Session, error: number | undefined): Promise<void> {
  setDefaultDevice("cuda");
  const seconds = async (more: Manner): Promise<readonly [seconds: number, limit: number | undefined]> => {
    const workload = given.setUp({ ...given.manner, precision, ...more });
    try {
      const taken = await timeOf(workload, session.reduced ? least.reduced : least.full);
      return [taken, limitOf(workload, precision, session)];
    } finally {
      await workload.close();
    }
  };
  const { name, between } = given;
  if (between === undefined) {
    const [ours, limit] = await seconds({});
    session.addRow({ workload: `${name} ${precision}`, limit, ours, error });
    return;
  }
  const [fewer, more] = [await seconds({ steps: between[0] }), await seconds({ steps: between[1] })];
  const scale = schedule.steps / (between[1] - between[0]);
  const limit = more[1] === undefined ? undefined : (more[1] / between[1]) * schedule.steps;
  session.addRow({ workload: `${name} ${precision}`, limit, ours: (more[0] - fewer[0]) * scale, error });
}

/** Times them all, and checks each network beside. */
export const timings: Part = {
  name: "times",
  title: "Times, by replay of graphs",
  async run(session) {
    const errors = new Errors(session);
    for (const [given, precisions] of session.reduced ? reduced : full)
      for (const precision of precisions.filter((each) => session.cuda.precisions.includes(each))) {
        const error = await errors.of(given.network, precision);
        const what = `timing of ${given.name} ${precision}`;
        await session.attempt(what, () => measure(given, precision, session, error));
      }
  },
};
