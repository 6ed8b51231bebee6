// What device cuda makes of a program's list: kernels that do several commands, and a graph in which commands wait only for those
// whose memory they need. Neither may change a bit, in whatever order the graph runs; the stand-in takes another one each time.

import { expect } from "chai";
import type { CaptureOptions, Module, SampleOptions, Tensor } from "langevin";
import { Adam, UNet2D, capture, manualSeed, mse, randint, randn, scope } from "langevin";
import { TutorialUNet } from "../../examples/tutorial-nets.ts";
import type { Command, Operand, Precision, Program, ProgramId, Temporary } from "../../ts/device/executor.ts";
import { dense } from "../../ts/device/executor.ts";
import { CudaExecutor } from "../../ts/device/native/cuda-executor.ts";
import type { AnyOp, DType } from "../../ts/ops/index.ts";
import { ops, roundToBf16 } from "../../ts/ops/index.ts";
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

const programOf = (commands: readonly Command[], temporaries: readonly Temporary[]): Program => ({
  ...{ lists: [commands], steps: [{ list: 0 }], slots: [], reports: [], checkFinite: false },
  temporaries,
});

/** How many kernels a program's graph has for its commands, once it has run; two more begin and end a step. */
function kernelsOf(executor: CudaExecutor, id: ProgramId): number {
  const [, launched] = /a graph of (\d+) kernels/.exec(executor.describe(id))!;
  return Number(launched) - 2;
}

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
    const temporaries = this.temporaries.map(({ slot, start, end }) => ({
      ...{ buffer: this.memory, byteOffset: slot * bytesOfSlot, bytes: bytesOfSlot },
      ...{ start, end },
    }));
    return { ...programOf(this.commands, temporaries), precision };
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
    kernels += kernelsOf(executor, id);
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

// ---- Chains of element-wise commands, which become one kernel.

const neg = (from: Operand, to: Operand): Command => ({ op: ops.neg, attributes: {}, inputs: [from], output: to });
const add = (a: Operand, b: Operand, to: Operand): Command => ({
  ...{ op: ops.add, attributes: {}, inputs: [a, b] },
  output: to,
});

/** The last row of an operand, by itself. */
const lastRow = ({ shape, offset, pitch, ...rest }: Operand): Operand => {
  const rows = shape.slice(0, -1).reduce((product, n) => product * n, 1);
  return { ...rest, offset: offset + (rows - 1) * pitch, pitch, shape: shape.slice(-1) };
};

/** Elements from the first to the last one, those between rows included. */
const extentOf = ({ shape, pitch }: Pick<Operand, "shape" | "pitch">): number =>
  (shape.slice(0, -1).reduce((product, n) => product * n, 1) - 1) * pitch + (shape.at(-1) ?? 1);

const chainMemory = 1 << 12;

/** What an operand holds from the command that wrote it to the last one that uses it. */
interface Held {
  readonly operand: Operand;
  readonly start: number;
  end: number;
}

/** A list of element-wise commands on rows that are spaced or not, in place, over what nobody needs any more, or across it. */
class RandomChain {
  readonly commands: Command[] = [];
  readonly kept: Held[] = [];
  private readonly over: Held[] = [];
  private present: Held[] = [];
  private readonly random: () => number;
  private readonly shape: readonly number[];
  private readonly memory: number;
  private readonly constants: number;

  constructor(seed: number, memory: number, constants: number) {
    this.random = generator(seed);
    this.memory = memory;
    this.constants = constants;
    this.shape = this.oneOf([[2, 3, 5, 4], [2, 9, 5], [67], [3, 1, 16], [4, 2, 3, 8]]);
    for (let left = 3 + this.below(20); left > 0; left--) this.add();
    for (const held of this.present) (this.random() < 0.4 ? this.kept : this.over).push(held);
  }

  program(): Program {
    const temporaries = this.over.map(({ operand, start, end }) => ({
      ...{ buffer: this.memory, byteOffset: 4 * operand.offset, bytes: 4 * extentOf(operand) },
      ...{ start, end },
    }));
    return programOf(this.commands, temporaries);
  }

  private below(n: number): number {
    return Math.floor(this.random() * n);
  }
  private oneOf<T>(all: readonly T[]): T {
    return all[this.below(all.length)];
  }

  /** Something of this dtype that was written, mostly the latest; a row or an element of it; or a constant. */
  private source(dtype: DType, whole = false): Operand {
    const all = this.present.filter(({ operand }) => operand.dtype === dtype);
    if (all.length === 0 || (dtype === "float32" && this.random() < 0.2))
      return dense(this.constants, 4 * this.below(8), this.shape, dtype);
    const held = this.random() < 0.6 ? all.at(-1)! : this.oneOf(all);
    held.end = this.commands.length;
    const kind = whole ? 0 : this.random();
    if (kind < 0.75) return held.operand;
    return kind < 0.9 ? lastRow(held.operand) : { ...held.operand, shape: [], pitch: 1 };
  }

  private add(): void {
    const real = (): Operand => this.source("float32");
    const kind = this.below(20);
    if (kind < 7)
      this.push(this.oneOf([ops.relu, ops.silu, ops.neg, ops.abs, ops.tanh, ops.sin, ops.gelu]), {}, [real()]);
    else if (kind === 7) this.push(ops.clamp, { min: -1, max: 0.75 }, [real()]);
    else if (kind === 8) this.push(ops.leakyRelu, { slope: 0.3 }, [real()]);
    else if (kind < 14) this.push(this.oneOf([ops.add, ops.sub, ops.maximum, ops.minimum]), {}, [real(), real()]);
    else if (kind < 16) this.push(this.oneOf([ops.siluGradient, ops.reluGradient]), {}, [real(), real()]);
    else if (kind === 16) this.push(ops.less, {}, [real(), real()], "int32");
    else if (kind === 17) {
      const terms = [0, 1].map(() => this.source("float32", true));
      this.push(ops.linearCombination, {}, [dense(this.constants, this.below(8), [2], "float32"), ...terms]);
    } else if (this.present.some(({ operand }) => operand.dtype === "int32"))
      if (kind === 18) this.push(ops.where, {}, [this.source("int32"), real(), real()]);
      else this.push(ops.cast, { dtype: "float32" }, [this.source("int32")]);
  }

  private push(op: AnyOp, attributes: Command["attributes"], inputs: Operand[], dtype: DType = "float32"): void {
    const output = this.placeFor(inputs, dtype);
    const at = this.commands.length;
    const inPlace = this.present.find(({ operand, end }) => operand === output && end === at);
    const stays = this.present.filter((held) => held === inPlace || !this.overlap(held.operand, output));
    this.over.push(...this.present.filter((held) => !stays.includes(held)));
    this.present = inPlace
      ? [...stays.filter((held) => held !== inPlace), inPlace]
      : [...stays, { operand: output, start: at, end: at }];
    this.commands.push({ op, attributes, inputs, output });
  }

  /** The place of a source or of something else, or one that overlaps no source. */
  private placeFor(inputs: readonly Operand[], dtype: DType): Operand {
    const inUse = this.present.filter(({ end }) => end === this.commands.length).map(({ operand }) => operand);
    const overlapsInput = (place: Operand): boolean =>
      [...inputs, ...inUse].some((input) => input !== place && this.overlap(input, place));
    const known = this.present.map(({ operand }) => operand).filter((place) => place.dtype === dtype);
    const suited = known.filter((place) => !overlapsInput(place));
    if (suited.length > 0 && this.random() < 0.4) return this.oneOf(suited);
    for (;;) {
      const pitch = this.shape.at(-1)! + this.oneOf([0, 0, 4, 3]);
      const offset = this.oneOf([1, 4]) * this.below(220);
      const place = { buffer: this.memory, offset, shape: this.shape, pitch, dtype };
      if (offset + extentOf(place) <= chainMemory && !overlapsInput(place)) return place;
    }
  }

  private overlap(a: Operand, b: Operand): boolean {
    return a.buffer === b.buffer && a.offset < b.offset + extentOf(b) && b.offset < a.offset + extentOf(a);
  }
}

whereBuilt("chains of element-wise commands on device cuda", () => {
  let executor: CudaExecutor;
  let memory: number;
  let constants: number;
  before(() => {
    executor = new CudaExecutor();
    memory = executor.allocate(4 * chainMemory);
    const random = generator(2);
    const numbers = Float32Array.from({ length: 1024 }, () => 2 * random() - 1);
    constants = executor.allocate(numbers.byteLength);
    executor.write(constants, 0, numbers);
  });
  after(() => {
    executor.release(memory);
    executor.release(constants);
  });

  /** What lies in memory at first: no two elements the same. */
  const early = Float32Array.from({ length: chainMemory }, (_, i) => 1 + i / chainMemory);
  const forget = (): void => executor.write(memory, 0, early);

  /** The bits of everything in memory. */
  function bits(): Int32Array {
    const all = new Int32Array(chainMemory);
    executor.readSync(memory, 0, all);
    return all;
  }

  /** The bits of an operand. */
  function* bitsOf(all: Int32Array, { offset, shape, pitch }: Operand): Generator<number> {
    const columns = shape.at(-1)!;
    for (let at = offset; at < offset + extentOf({ shape, pitch }); at += pitch) yield* all.subarray(at, at + columns);
  }

  function runOnce(program: Program): { readonly kernels: number; readonly memory: Int32Array } {
    const id = executor.load(program);
    forget();
    executor.run(id, new Float64Array(0));
    const memory = bits();
    const kernels = kernelsOf(executor, id);
    executor.unload(id);
    return { kernels, memory };
  }

  const place = (at: number, shift = 0): Operand => dense(memory, 128 * at + shift, [4, 3, 8], "float32");
  const constant = (): Operand => dense(constants, 0, [4, 3, 8], "float32");
  const apply = (op: AnyOp, inputs: Operand[], output: Operand): Command => ({ op, attributes: {}, inputs, output });
  const rest = (from: number, count: number): Command[] =>
    Array.from({ length: count }, (_, i) => neg(place((from + i) % 2), place((from + i + 1) % 2)));

  // The commands, and how many kernels they are. What they write is over with the list.
  const cases: Readonly<Record<string, () => readonly [number, Command[]]>> = {
    "one after the other": () => [1, [neg(constant(), place(0)), ...rest(0, 3)]],
    "in place": () => [1, [neg(constant(), place(0)), neg(place(0), place(0)), add(place(0), constant(), place(0))]],
    "that need a result twice": () => [
      1,
      [apply(ops.square, [constant()], place(0)), ...[1, 2].map((at) => apply(ops.sin, [place(0)], place(at)))],
    ],
    "of a result with itself": () => [1, [neg(constant(), place(0)), add(place(0), place(0), place(1))]],
    "back in a place that is read no more": () => [1, [neg(place(2), place(1)), neg(place(1), place(2))]],
    "behind a sum": () => {
      const coefficients = dense(constants, 0, [2], "float32");
      const sum = apply(ops.linearCombination, [coefficients, constant(), place(2)], place(0));
      return [1, [sum, neg(place(0), place(1))]];
    },
    "that choose": () => {
      const condition = { ...place(0), dtype: "int32" } as const;
      const less = apply(ops.less, [constant(), place(1)], condition);
      return [1, [less, apply(ops.where, [condition, constant(), place(1)], place(2))]];
    },
    "with a row of a result": () => [2, [neg(constant(), place(0)), add(constant(), lastRow(place(0)), place(1))]],
    "with a row of an earlier result": () => [
      2,
      [neg(constant(), place(0)), neg(place(0), place(1)), add(place(1), lastRow(place(0)), place(2))],
    ],
    "across an operand": () => [2, [neg(place(0), place(1)), neg(place(1), place(0, 3))]],
    "over a row that is an operand": () => [2, [add(constant(), lastRow(place(0)), place(1)), neg(place(1), place(0))]],
    "across a result": () => [2, [neg(constant(), place(0)), neg(place(0), place(1)), neg(place(1), place(0, 3))]],
    "across a result that nobody reads": () => [
      2,
      [neg(constant(), place(0)), neg(place(0), place(1)), neg(place(0), place(2)), neg(place(2), place(1, 3))],
    ],
    "with a result of fewer axes": () => {
      const row = dense(memory, 0, [8], "float32");
      return [2, [neg(lastRow(constant()), row), add(constant(), row, place(1))]];
    },
    "of another shape": () => {
      const flat = (at: number): Operand => dense(memory, 128 * at, [12, 8], "float32");
      return [2, [neg(constant(), place(0)), neg(flat(0), flat(1))]];
    },
    "that do not need each other": () => [2, [neg(constant(), place(0)), neg(constant(), place(1))]],
    "more than a kernel takes": () => [2, [neg(constant(), place(0)), ...rest(0, 11)]],
  };

  for (const [title, make] of Object.entries(cases))
    it(`${title}: are as many kernels as they should be, with the same bits`, () => {
      const [kernels, commands] = make();
      const written = new Set(commands.map(({ output }) => output!.offset));
      const temporaries = [...written].map((offset) => ({
        ...{ buffer: memory, byteOffset: 4 * offset, bytes: 4 * extentOf(place(0)) },
        ...{ start: commands.findIndex(({ output }) => output!.offset === offset), end: commands.length - 1 },
      }));
      // Only the last result is looked at.
      const last = commands.at(-1)!.output!;
      forget();
      executor.submit(commands);
      const expected = [...bitsOf(bits(), last)];
      const got = runOnce(programOf(commands, temporaries));
      expect(firstDifference([...bitsOf(got.memory, last)], expected)).to.equal(undefined);
      expect(got.kernels).to.equal(kernels);
    });

  // ---- Roundings to bf16, which are done by what makes their operands, or several at a time.

  const rounded = (byte: number, shape = [4, 3, 8], pitch = 8): Operand => ({
    ...{ buffer: memory, offset: byte / 2, shape, pitch },
    dtype: "bfloat16",
  });
  const round = (from: Operand, to: Operand): Command => apply(roundToBf16, [from], to);
  /** Bytes behind all of `place(0)` to `place(2)`. */
  const behind = (at: number): number => 4 * 128 * 3 + 256 * at;
  const map = (at: number): Operand => dense(constants, at, [2, 2, 3, 8], "float32");
  const gradient = (x: Operand): Command => ({
    ...{ op: ops.groupNormGradient, attributes: { groups: 2, epsilon: 1e-5 }, inputs: [x, map(96), undefined] },
    output: dense(memory, 512, [96 + 16], "float32"),
  });
  const ofGradient = (): Operand => dense(memory, 512, [2, 2, 3, 8], "float32");

  // The commands, and how many kernels they are. All that they write is looked at.
  const roundings: Readonly<Record<string, () => readonly [number, Command[]]>> = {
    "beside each other": () => {
      const narrow = { ...constant(), shape: [12, 6], pitch: 8 };
      const others = [round(narrow, rounded(behind(1), [12, 6])), round(place(0), rounded(behind(2)))];
      return [1, [round(constant(), rounded(behind(0))), ...others]];
    },
    "over the source of one before": () => [2, [round(place(0), rounded(behind(0))), round(constant(), rounded(64))]],
    "of what one before writes over": () => [2, [round(constant(), rounded(64)), round(place(0), rounded(behind(0)))]],
    "to one place": () => [2, [round(constant(), rounded(behind(0))), round(place(0), rounded(behind(0) + 64))]],
    "more than a kernel takes": () => [
      2,
      Array.from({ length: 25 }, (_, at) => round(constant(), rounded(behind(at)))),
    ],
    "behind a chain": () => [
      1,
      [neg(constant(), place(0)), neg(place(0), place(1)), round(place(1), rounded(behind(0)))],
    ],
    "of an earlier result of a chain": () => [
      2,
      [neg(constant(), place(0)), neg(place(0), place(1)), round(place(0), rounded(behind(0)))],
    ],
    "behind a chain, in rows of odd sizes": () => {
      const from = { ...constant(), shape: [12, 7], pitch: 8 };
      const to = { ...place(0), shape: [12, 7], pitch: 9 };
      return [1, [neg(from, to), round(to, rounded(behind(0) + 2, [12, 7], 11))]];
    },
    "over the operand of a chain": () => [2, [neg(place(0), place(1)), round(place(1), rounded(64))]],
    "behind a norm's gradient": () => [2, [gradient(map(0)), round(ofGradient(), rounded(behind(0), [2, 2, 3, 8]))]],
    "over what a norm's gradient reads": () => [
      3,
      [gradient({ ...map(0), buffer: memory }), round(ofGradient(), rounded(64, [2, 2, 3, 8]))],
    ],
  };
  for (const [title, make] of Object.entries(roundings))
    it(`roundings ${title}: are as many kernels as they should be, with the same bits`, () => {
      const [kernels, commands] = make();
      forget();
      for (const command of commands) executor.submit([command]);
      const expected = bits();
      const got = runOnce(programOf(commands, []));
      expect(firstDifference([...got.memory], [...expected])).to.equal(undefined);
      expect(got.kernels).to.equal(kernels);
    });

  it("do not write a result of which only the next command has need", () => {
    const commands = [neg(constant(), place(0)), neg(place(0), place(1))];
    const over = { buffer: memory, byteOffset: 0, bytes: 4 * extentOf(place(0)), start: 0, end: 1 };
    const wasWritten = (temporaries: Temporary[]): boolean[] => {
      const words = bitsOf(runOnce(programOf(commands, temporaries)).memory, place(0));
      const earlier = bitsOf(new Int32Array(early.buffer), place(0));
      return Array.from(words, (word) => word !== earlier.next().value);
    };
    expect(wasWritten([over])).to.not.include(true);
    expect(wasWritten([])).to.not.include(false);
  });

  it("give, drawn by chance, what they give command by command", function () {
    this.timeout(300_000);
    let kernels = 0;
    let commands = 0;
    for (let seed = 1; seed <= 1500; seed++) {
      const chain = new RandomChain(seed, memory, constants);
      forget();
      executor.submit(chain.commands);
      const expected = bits();
      const got = runOnce(chain.program());
      for (const { operand } of chain.kept) {
        const difference = firstDifference([...bitsOf(got.memory, operand)], [...bitsOf(expected, operand)]);
        expect(difference, `seed ${seed}`).to.equal(undefined);
      }
      kernels += got.kernels;
      commands += chain.commands.length;
    }
    expect(kernels).to.be.lessThan(0.7 * commands);
  });
});
