// What device cuda makes of a program's list: kernels that do several commands, and a graph in which commands wait only for those
// whose memory they need. Neither may change a bit, in whatever order the graph runs; the stand-in takes another one each time.

import { expect } from "chai";
import type { CaptureOptions, Module, SampleOptions, Tensor } from "langevin";
import { Adam, UNet2D, capture, manualSeed, mse, randint, randn, scope } from "langevin";
import { TutorialUNet } from "../../examples/tutorial-nets.ts";
import type { Command, Operand, Precision, Program } from "../../ts/device/executor.ts";
import { dense } from "../../ts/device/executor.ts";
import { CudaExecutor } from "../../ts/device/native/cuda-executor.ts";
import type { AnyOp } from "../../ts/ops/index.ts";
import { ops } from "../../ts/ops/index.ts";
import { generator } from "../ops/draw.ts";
import { firstDifference } from "../ops/tolerance.ts";
import { useDevice } from "../tensor/devices.ts";

const whereBuilt = process.env.LANGEVIN_CUDA_ADDON
  ? describe
  : (title: string, _: unknown) => describe(title, () => it.skip("skipped: npm run test:cuda-host runs these"));

/** Calls with a variable of the environment set. */
function withEnvironment<T>(name: string, value: string, call: () => T): T {
  const earlier = process.env[name];
  process.env[name] = value;
  try {
    return call();
  } finally {
    if (earlier === undefined) delete process.env[name];
    else process.env[name] = earlier;
  }
}

type Network = SampleOptions["model"] & Module;

const networks: Readonly<Record<string, () => Network>> = {
  "the tutorial's U-Net": () => new TutorialUNet({ imageChannels: 1, channels: [8, 8, 16], timeDim: 8, steps: 10 }),
  "a UNet2D": () =>
    new UNet2D({
      ...{ sampleSize: 8, inChannels: 1, outChannels: 1, layersPerBlock: 1, normNumGroups: 4 },
      blockOutChannels: [8, 16],
      downBlockTypes: ["DownBlock2D", "AttnDownBlock2D"],
      upBlockTypes: ["AttnUpBlock2D", "UpBlock2D"],
    }),
};

/** Three steps of training, eager ones or those of a plan: the losses and the weights after them, and how the plan was carried out. */
function trained(network: () => Network, options?: CaptureOptions) {
  manualSeed(5);
  const model = network();
  const adam = new Adam(model.parameters(), { lr: 1e-2 });
  const x = randn([2, 8, 8, 1]);
  const step = (): Tensor => {
    const t = randint(0, 10, [2]);
    const loss = mse(model.forward(x, t), randn([2, 8, 8, 1]));
    loss.backward();
    adam.step();
    return loss.detach();
  };
  const plan = options && capture(step, options);
  const losses = [0, 1, 2].map(() => scope(() => (plan ? plan() : step()).item()));
  const weights = model.parameters().flatMap((parameter) => [...(parameter.toArray() as number[]).flat(4)]);
  const text = plan?.plan().toString() ?? "";
  plan?.dispose();
  model.dispose();
  return { losses, weights, text };
}

/** Commands of a step, kernels of its graph, and those of the longest chain. */
function figures({ text }: { readonly text: string }): number[] {
  return [/: (\d+) commands/, /a graph of (\d+) kernels/, /at most (\d+) of them one after the other/].map((pattern) =>
    Number(pattern.exec(text)?.[1]),
  );
}

whereBuilt("graphs on device cuda", () => {
  useDevice("cuda");

  for (const [name, network] of Object.entries(networks))
    it(`train ${name} with eager's bits, in fewer kernels and shorter chains than it has commands`, function () {
      this.timeout(300_000);
      const eager = trained(network);
      const together = trained(network, {});
      const serial = withEnvironment("LANGEVIN_GRAPHS", "serial", () => trained(network, {}));
      const apart = withEnvironment("LANGEVIN_FUSE", "off", () => trained(network, {}));
      for (const { losses, weights } of [together, serial, apart]) {
        expect(losses).to.deep.equal(eager.losses);
        expect(firstDifference(weights, eager.weights)).to.equal(undefined);
      }
      const [commands, kernels, longest] = figures(together);
      const [, serialKernels, serialLongest] = figures(serial);
      expect(kernels).to.be.lessThan(0.95 * commands);
      expect(longest).to.be.lessThan(0.8 * kernels);
      expect([serialKernels, serialLongest]).to.deep.equal([kernels, kernels]);
    });

  for (const [name, network] of Object.entries(networks))
    it(`train ${name} in bf16 with the same bits whether factors are rounded before or by each product`, function () {
      this.timeout(300_000);
      const options = { precision: "bf16" } as const;
      const before = trained(network, options);
      const poisoned = trained(network, { ...options, poison: true });
      const byProducts = trained(network, { ...options, fuse: false });
      for (const { losses, weights } of [poisoned, byProducts]) {
        expect(losses).to.deep.equal(before.losses);
        expect(firstDifference(weights, before.weights)).to.equal(undefined);
      }
      const [longest, ofProducts] = [before, byProducts].map((run) => figures(run)[2]);
      expect(longest).to.be.lessThan(0.85 * ofProducts);
    });
});

// ---- Random programs on little memory.

// More pixels than one block of a convolution takes.
const images = 3;
const pixels = 7;
const channels = 4;
const shape = [images, pixels, pixels, channels];
const size = images * pixels * pixels * channels;
const weights = 9 * channels * channels;
const slots = 6;
const bytesOfSlot = 4 * size;

/** What lies in a slot, from the command that wrote it to the last one that uses it. */
interface Stay {
  readonly slot: number;
  readonly start: number;
  end: number;
}

/** A command list that reads and writes a few pieces of memory, which values share one after the other. */
class RandomList {
  readonly commands: Command[] = [];
  /** What may be read afterwards. */
  readonly kept: Stay[] = [];
  readonly temporaries: Stay[] = [];
  private readonly random: () => number;
  private readonly memory: number;
  private readonly weight: Operand;
  private readonly ofImage: Operand;
  /** By slot. */
  private readonly present = new Map<number, Stay>();
  private latest = -1;

  constructor(seed: number, memory: number, constants: number) {
    this.random = generator(seed);
    this.memory = memory;
    this.weight = dense(constants, 0, [3, 3, channels, channels], "float32");
    this.ofImage = dense(constants, weights, [images, 1, 1, channels], "float32");
    for (let left = 4 + this.below(24); left > 0; left--) this.add();
    for (const stay of this.present.values()) (this.random() < 0.5 ? this.kept : this.temporaries).push(stay);
  }

  operand(slot: number): Operand {
    return dense(this.memory, slot * size, shape, "float32");
  }

  program(precision: Precision): Program {
    const { memory, commands } = this;
    const temporaries = this.temporaries.map(({ slot, start, end }) => ({
      ...{ buffer: memory, byteOffset: slot * bytesOfSlot, bytes: bytesOfSlot },
      ...{ start, end },
    }));
    return {
      lists: [commands],
      steps: [{ list: 0 }],
      slots: [],
      reports: [],
      checkFinite: false,
      temporaries,
      precision,
    };
  }

  private below(n: number): number {
    return Math.floor(this.random() * n);
  }

  /** A slot that holds something: mostly what was written last, as in a network. */
  private source(): number {
    const all = [...this.present.keys()];
    return this.random() < 0.6 ? this.latest : all[this.below(all.length)];
  }

  private add(): void {
    const kind = this.present.size < 2 ? 0 : this.below(12);
    if (kind === 0)
      this.push(ops.randn, { shape, dtype: "float32", seed: 7n, draw: 0, image: 0, step: this.commands.length }, []);
    else if (kind < 4)
      this.push(
        ops.conv2d,
        { stride: [1, 1], padding: [1, 1, 1, 1], dilation: [1, 1] },
        [this.source()],
        [this.weight, undefined],
      );
    else if (kind < 6) this.push(ops.groupNorm, { groups: 2, epsilon: 1e-5 }, [this.source()], [undefined, undefined]);
    else if (kind < 8) this.push(kind === 6 ? ops.silu : ops.relu, {}, [this.source()], [], true);
    else if (kind === 8) this.push(ops.add, {}, [this.source()], [this.ofImage], true);
    else {
      const op = [ops.add, ops.reluGradient, ops.siluGradient][kind - 9];
      this.push(op, {}, [this.source(), this.source()], [], true);
    }
  }

  /** Adds a command that writes over one of its sources, where that is allowed, or to a slot that is none of them. */
  private push(
    op: AnyOp,
    attributes: Command["attributes"],
    sources: number[],
    others: (Operand | undefined)[] = [],
    mayTakeOver = false,
  ): void {
    const at = this.commands.length;
    for (const slot of sources) this.present.get(slot)!.end = at;
    const takesOver = mayTakeOver && this.random() < 0.3;
    const free = Array.from({ length: slots }, (_, slot) => slot).filter((slot) => !sources.includes(slot));
    const slot = takesOver ? sources[this.below(sources.length)] : free[this.below(free.length)];
    if (!takesOver) {
      const before = this.present.get(slot);
      if (before) this.temporaries.push(before);
      this.present.set(slot, { slot, start: at, end: at });
    }
    this.latest = slot;
    const inputs = [...sources.map((source) => this.operand(source)), ...others];
    this.commands.push({ op, attributes, inputs, output: this.operand(slot) });
  }
}

whereBuilt("random lists on little memory on device cuda", () => {
  let executor: CudaExecutor;
  let memory: number;
  let constants: number;
  before(() => {
    executor = new CudaExecutor();
    memory = executor.allocate(slots * bytesOfSlot);
    const random = generator(1);
    const numbers = Float32Array.from({ length: weights + images * channels }, () => 2 * random() - 1);
    constants = executor.allocate(numbers.byteLength);
    executor.write(constants, 0, numbers);
  });
  after(() => {
    executor.release(memory);
    executor.release(constants);
  });

  const read = (list: RandomList): number[] => {
    const all = new Float32Array(slots * size);
    executor.readSync(memory, 0, all);
    return list.kept.flatMap(({ slot }) => [...all.subarray(slot * size, (slot + 1) * size)]);
  };

  /** What a list leaves, run as one graph, again and again: in another order each time. */
  function* runs(list: RandomList, precision: Precision, times: number): Generator<number[]> {
    const id = executor.load(list.program(precision));
    for (let run = 0; run < times; run++) {
      executor.write(memory, 0, new Float32Array(slots * size).fill(NaN));
      executor.run(id, new Float64Array(0));
      yield read(list);
    }
    const [, launched] = /a graph of (\d+) kernels/.exec(executor.describe(id))!;
    kernels += Number(launched) - 2; // what begins and ends a step
    commands += list.commands.length;
    executor.unload(id);
  }
  let kernels = 0;
  let commands = 0;

  it("give as graphs what they give command by command", function () {
    this.timeout(300_000);
    withEnvironment("LANGEVIN_PERSISTENT", "off", () => {
      for (let seed = 1; seed <= 250; seed++) {
        const list = new RandomList(seed, memory, constants);
        executor.submit(list.commands);
        const expected = read(list);
        for (const got of runs(list, "float32", 3))
          expect(firstDifference(got, expected), `seed ${seed}`).to.equal(undefined);
      }
    });
    // Some take part in the kernel of another one.
    expect(kernels).to.be.lessThan(0.97 * commands);
  });

  it("give in bf16, with working memory, what they give one after the other", function () {
    this.timeout(300_000);
    withEnvironment("LANGEVIN_PERSISTENT", "off", () => {
      for (let seed = 1; seed <= 100; seed++) {
        const list = new RandomList(seed, memory, constants);
        const [expected] = withEnvironment("LANGEVIN_GRAPHS", "serial", () => [...runs(list, "bf16", 1)]);
        for (const got of runs(list, "bf16", 3))
          expect(firstDifference(got, expected), `seed ${seed}`).to.equal(undefined);
      }
    });
  });
});
