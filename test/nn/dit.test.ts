// DiT: its equations against loops in float64, gradients, first weights, dropped labels, guidance, plans, what it refuses.

import { expect } from "chai";
import {
  Adam,
  DiT,
  NoiseSchedule,
  capture,
  concat,
  full,
  manualSeed,
  mse,
  noGrad,
  randn,
  sample,
  tensor,
} from "langevin";
import type { DiTOptions, Parameter, Tensor } from "langevin";
import { LabelEmbedder } from "../../ts/nn/dit/embedders.ts";
import { presets } from "../../ts/nn/dit/presets.ts";
import { failure } from "../failure.ts";
import { onEveryDevice } from "../tensor/devices.ts";

const tiny: DiTOptions = {
  imageSize: 4,
  patchSize: 2,
  inChannels: 2,
  width: 8,
  depth: 2,
  heads: 2,
  classes: 3,
};

const valuesOf = (x: Tensor): number[] => [x.toArray()].flat(9) as number[];

/** A model none of whose weights are zero. */
function randomised(options: DiTOptions): DiT {
  const model = new DiT(options);
  noGrad(() => {
    model.parameters().forEach((parameter, i) => {
      if (!parameter.requiresGrad) return;
      const { dtype, device } = parameter;
      parameter.assign(randn(parameter.shape, { seed: 40 + i, dtype, device }).mul(0.4));
    });
  });
  return model;
}

// ---- the equations, written out ----------------------------------------------------------------------------------------

type Matrix = number[][];

class Reference {
  private readonly model: DiT;
  private readonly options: DiTOptions;

  constructor(model: DiT, options: DiTOptions) {
    this.model = model;
    this.options = options;
  }

  private weight<T>(name: string): T {
    return this.model.namedParameters().get(name)!.toArray() as T;
  }

  private linear(rows: Matrix, name: string): Matrix {
    const [w, b] = [this.weight<Matrix>(`${name}.weight`), this.weight<number[]>(`${name}.bias`)];
    return rows.map((row) => b.map((bias, o) => row.reduce((sum, value, i) => sum + value * w[i][o], bias)));
  }

  /** SiLU, linear, and the parts of the result. */
  private modulation(c: number[], name: string): Matrix {
    const [row] = this.linear([c.map((v) => v / (1 + Math.exp(-v)))], `${name}.adaLN_modulation.1`);
    const { width } = this.options;
    return Array.from({ length: row.length / width }, (_, k) => row.slice(k * width, (k + 1) * width));
  }

  private modulated(rows: Matrix, shift: number[], scale: number[]): Matrix {
    return rows.map((row) => {
      const mean = row.reduce((a, b) => a + b) / row.length;
      const variance = row.reduce((a, b) => a + (b - mean) ** 2, 0) / row.length;
      return row.map((v, i) => ((v - mean) / Math.sqrt(variance + 1e-6)) * (1 + scale[i]) + shift[i]);
    });
  }

  private attention(rows: Matrix, name: string): Matrix {
    const { width, heads } = this.options;
    const qkv = this.linear(rows, `${name}.qkv`);
    const d = width / heads;
    const mixed = rows.map(() => new Array<number>(width).fill(0));
    for (let h = 0; h < heads; h++)
      qkv.forEach((query, i) => {
        const scores = qkv.map((key) => {
          let score = 0;
          for (let j = h * d; j < (h + 1) * d; j++) score += query[j] * key[width + j];
          return Math.exp(score / Math.sqrt(d));
        });
        const total = scores.reduce((a, b) => a + b);
        for (let j = h * d; j < (h + 1) * d; j++)
          mixed[i][j] = qkv.reduce((sum, value, k) => sum + (scores[k] / total) * value[2 * width + j], 0);
      });
    return this.linear(mixed, `${name}.proj`);
  }

  private network(rows: Matrix, name: string): Matrix {
    const gelu = (v: number): number => 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)));
    const hidden = this.linear(rows, `${name}.fc1`).map((row) => row.map(gelu));
    return this.linear(hidden, `${name}.fc2`);
  }

  private condition(t: number, label: number | undefined): number[] {
    const waves = Array.from({ length: 256 }, (_, k) => {
      const angle = t * 10_000 ** (-(k % 128) / 128);
      return k < 128 ? Math.cos(angle) : Math.sin(angle);
    });
    const hidden = this.linear([waves], "t_embedder.mlp.0").map((row) => row.map((v) => v / (1 + Math.exp(-v))));
    const [time] = this.linear(hidden, "t_embedder.mlp.2");
    if (label === undefined) return time;
    const table = this.weight<Matrix>("y_embedder.embedding_table.weight");
    return time.map((v, i) => v + table[label][i]);
  }

  /** Sines and cosines of the column, then of the row. */
  private position(row: number, column: number): number[] {
    const quarter = this.options.width / 4;
    return [column, row].flatMap((place) =>
      [Math.sin, Math.cos].flatMap((wave) =>
        Array.from({ length: quarter }, (_, i) => wave(place / 10_000 ** (i / quarter))),
      ),
    );
  }

  /** One image. */
  forward(x: number[][][], t: number, label?: number): number[][][] {
    const { patchSize: p, depth } = this.options;
    const [kernel, bias] = [
      this.weight<number[][][][]>("x_embedder.proj.weight"),
      this.weight<number[]>("x_embedder.proj.bias"),
    ];
    const [rows, columns] = [x.length / p, x[0].length / p];
    const places = Array.from({ length: rows * columns }, (_, k) => [Math.floor(k / columns), k % columns]);
    let h = places.map(([row, column]) => {
      const position = this.position(row, column);
      return bias.map((b, o) => {
        let sum = b + position[o];
        for (let a = 0; a < p; a++)
          for (let e = 0; e < p; e++)
            x[row * p + a][column * p + e].forEach((value, i) => (sum += value * kernel[a][e][i][o]));
        return sum;
      });
    });
    const c = this.condition(t, label);
    const plus = (a: Matrix, gate: number[], b: Matrix): Matrix =>
      a.map((row, i) => row.map((v, j) => v + gate[j] * b[i][j]));
    for (let k = 0; k < depth; k++) {
      const [shift1, scale1, gate1, shift2, scale2, gate2] = this.modulation(c, `blocks.${k}`);
      h = plus(h, gate1, this.attention(this.modulated(h, shift1, scale1), `blocks.${k}.attn`));
      h = plus(h, gate2, this.network(this.modulated(h, shift2, scale2), `blocks.${k}.mlp`));
    }
    const [shift, scale] = this.modulation(c, "final_layer");
    const pixels = this.linear(this.modulated(h, shift, scale), "final_layer.linear");
    const channels = this.model.outChannels;
    return x.map((line, y) =>
      line.map((_, z) => {
        const patch = pixels[Math.floor(y / p) * columns + Math.floor(z / p)];
        const at = ((y % p) * p + (z % p)) * channels;
        return patch.slice(at, at + channels);
      }),
    );
  }
}

describe("DiT in float64", () => {
  const on = { device: "ts", dtype: "float64" } as const;
  const cases: Record<string, { options: DiTOptions; labels?: (number | null)[] }> = {
    "with classes": { options: tiny, labels: [2, 0] },
    "with the null class": { options: tiny, labels: [null, null] },
    "without classes": { options: { ...tiny, classes: undefined } },
    "without variances": { options: { ...tiny, learnSigma: false }, labels: [1, 1] },
    "of an oblong image": { options: { ...tiny, imageSize: [2, 6] }, labels: [0, 2] },
    "of patches of one pixel, with one head": {
      options: { ...tiny, imageSize: 2, patchSize: 1, heads: 1 },
      labels: [1, 2],
    },
    "of a narrow network": { options: { ...tiny, mlpRatio: 0.7, depth: 1 }, labels: [1, 2] },
    "without a null class": { options: { ...tiny, classDropout: 0 }, labels: [1, 2] },
  };
  for (const [name, { options, labels }] of Object.entries(cases))
    it(`is its equations ${name}`, () => {
      const model = randomised({ ...options, ...on }).eval();
      const x = randn([2, ...model.imageSize, 2], { seed: 1, ...on });
      const classLabels = labels?.includes(null)
        ? null
        : labels && tensor(labels as number[], { dtype: "int32", device: "ts" });
      const times = [3, 471.5];
      const y = model.forward(x, tensor(times, on), { classLabels });
      const reference = new Reference(model, { ...options });
      const images = x.toArray() as number[][][][];
      const expected = images.map((image, n) => reference.forward(image, times[n], labels && (labels[n] ?? 3)));
      expect(y.shape).to.deep.equal([2, ...model.imageSize, model.outChannels]);
      const got = valuesOf(y);
      expected.flat(3).forEach((value, i) => expect(got[i]).to.be.closeTo(value, 1e-10 * (1 + Math.abs(value))));
      expect(Math.max(...got.map(Math.abs))).to.be.greaterThan(0.5);
    });

  it("has the gradients of finite differences", () => {
    const model = randomised({ ...tiny, ...on }).eval();
    const x = randn([2, 4, 4, 2], { seed: 2, ...on }).requireGrad();
    const t = tensor([0.4, 1.3], on).requireGrad();
    const classLabels = tensor([1, 3], { dtype: "int32", device: "ts" });
    const cotangent = randn([2, 4, 4, 4], { seed: 3, ...on });
    const loss = (image: Tensor = x, time: Tensor = t): Tensor =>
      model.forward(image, time, { classLabels }).mul(cotangent).sum();
    loss().backward();
    const leaves = [...model.namedParameters(), ["x", x] as const, ["t", t] as const];
    for (const [name, leaf] of leaves) {
      if (name === "pos_embed") {
        expect(leaf.grad).to.equal(undefined);
        continue;
      }
      const direction = randn(leaf.shape, { seed: 4, ...on });
      const slope = leaf.grad!.mul(direction).sum().item();
      const values = leaf.detach().clone();
      const at = (step: number): number =>
        noGrad(() => {
          const moved = values.add(direction.mul(step));
          if (leaf === x) return loss(moved).item();
          if (leaf === t) return loss(x, moved).item();
          (leaf as Parameter).assign(moved);
          return loss().item();
        });
      const measured = (at(1e-5) - at(-1e-5)) / 2e-5;
      at(0);
      expect(slope, name).to.be.closeTo(measured, 1e-6 * (1 + Math.abs(measured)));
    }
  });
});

onEveryDevice("DiT", (device) => {
  beforeEach(() => manualSeed(5));
  after(() => manualSeed(0));

  it("begins as the paper's code: blocks are the identity, and it predicts 0", () => {
    const model = new DiT({ ...tiny, width: 96, heads: 3, classes: 50 });
    const { blocks } = model;
    const zero = [...model.namedParameters()]
      .filter(([, parameter]) => valuesOf(parameter).every((value) => value === 0))
      .map(([name]) => name);
    const biases = [...model.namedParameters().keys()].filter((name) => name.endsWith("bias"));
    const modulations = [...model.namedParameters().keys()].filter((name) => name.includes("adaLN"));
    const expected = new Set([...biases, ...modulations, "final_layer.linear.weight"]);
    expect(new Set(zero)).to.deep.equal(expected);
    const bounds: [string, Tensor, number][] = [
      ["qkv", blocks[0].attn.qkv.weight, Math.sqrt(6 / (96 + 288))],
      ["proj", blocks[1].attn.proj.weight, Math.sqrt(6 / 192)],
      ["fc1", blocks[0].mlp.fc1.weight, Math.sqrt(6 / (96 + 384))],
      ["fc2", blocks[0].mlp.fc2.weight, Math.sqrt(6 / (96 + 384))],
      ["patches", model.x_embedder.proj.weight, Math.sqrt(6 / (8 + 96))],
    ];
    for (const [name, weight, bound] of bounds)
      expect(Math.max(...valuesOf(weight.abs())), name).to.be.within(0.95 * bound, bound);
    const [first, , last] = model.t_embedder.mlp.chain;
    for (const weight of [first.weight, last.weight, model.y_embedder!.embedding_table.weight])
      expect(weight.std().item()).to.be.closeTo(0.02, 0.001);
    const tokens = randn([2, 4, 96], { seed: 1 });
    expect(blocks[0].forward(tokens, randn([2, 96], { seed: 2 })).toArray()).to.deep.equal(tokens.toArray());
    const y = model.forward(randn([1, 4, 4, 2], { seed: 3 }), tensor([5], { dtype: "int32" }), { classLabels: null });
    expect(new Set(valuesOf(y))).to.deep.equal(new Set([0]));
    expect(model.pos_embed.requiresGrad).to.equal(false);
  });

  it("drops labels while training, about as often as it is told, others each time, and never in use", () => {
    const count = 4000;
    const layer = new LabelEmbedder(2, 4, { dropout: 0.25 });
    const labels = full([count], 1, { dtype: "int32" });
    const nullRow = (layer.embedding_table.weight.toArray() as number[][])[2][0];
    const dropped = (): number[] =>
      (layer.forward(labels, count).toArray() as number[][]).flatMap(([first], i) => (first === nullRow ? [i] : []));
    const [once, again] = [dropped(), dropped()];
    expect(once.length / count).to.be.closeTo(0.25, 0.03);
    expect(again).to.not.deep.equal(once);
    expect(layer.step).to.equal(2);
    layer.step = 0;
    expect(dropped()).to.deep.equal(once);
    expect(layer.eval().forward(labels, count).sum(1).max().item()).to.equal(
      layer.forward(labels, count).sum(1).min().item(),
    );
    expect(layer.step).to.equal(1);
    const [a, b] = [3, 3].map((seed) => new LabelEmbedder(2, 4, { seed }));
    expect(a.draw).to.not.equal(b.draw);
  });

  it("drops the same labels of an image whatever the batch", () => {
    const run = (count: number): number[][] => {
      manualSeed(1);
      const layer = new LabelEmbedder(2, 3, { dropout: 0.5, seed: 9 });
      return layer.forward(full([count], 0, { dtype: "int32" }), count).toArray() as number[][];
    };
    expect(run(64).slice(0, 10)).to.deep.equal(run(10));
  });

  it("trains in a plan as it does eagerly, to the bit, dropped labels included", async () => {
    const train = async (planned: boolean): Promise<number[][]> => {
      manualSeed(5);
      const model = randomised({ ...tiny, classDropout: 0.5 });
      const adam = new Adam(model.parameters(), { lr: 1e-3 });
      const [x, noise] = [1, 2].map((seed) => randn([6, 4, 4, 2], { seed }));
      const t = tensor([1, 10, 100, 300, 600, 999], { dtype: "int32" });
      const classLabels = tensor([0, 1, 2, 0, 1, 2], { dtype: "int32" });
      const step = (): Tensor => {
        const [epsilon] = model.forward(x, t, { classLabels }).chunk(2, -1);
        const loss = mse(epsilon, noise);
        loss.backward();
        adam.step();
        return loss.detach();
      };
      const losses: number[] = [];
      if (planned) {
        const captured = capture(step, { poison: true });
        for await (const { values } of captured.replay(4)) losses.push(values[0]);
        captured.dispose();
      } else for (let i = 0; i < 4; i++) losses.push(step().item());
      expect(new Set(losses).size).to.equal(4);
      return [losses, ...model.parameters().map(valuesOf)];
    };
    expect(await train(true)).to.deep.equal(await train(false));
  });

  it("forwards with guidance in a plan as eagerly, and as its equation says", () => {
    const model = randomised(tiny).eval();
    const x = randn([3, 4, 4, 2], { seed: 6 });
    const t = tensor([3, 30, 300], { dtype: "int32" });
    const classLabels = tensor([2, 0, 1], { dtype: "int32" });
    const [yes, no] = [classLabels, null].map((labels) => noGrad(() => model.forward(x, t, { classLabels: labels })));
    for (const guidedChannels of [undefined, 1, 4]) {
      const guided = (): Tensor =>
        noGrad(() => model.forwardGuided(x, t, { classLabels, guidanceScale: 2.5, guidedChannels }));
      const channels = guidedChannels ?? 2;
      const parts = [yes, no].map((y) => y.slice(null, null, null, [0, channels]));
      const eps = parts[1].add(parts[0].sub(parts[1]).mul(2.5));
      const expected = channels === 4 ? eps : concat([eps, yes.slice(null, null, null, [channels, 4])], -1);
      expect(guided().toArray()).to.deep.equal(expected.toArray());
      const planned = capture(guided, { poison: true });
      expect(planned().toArray()).to.deep.equal(expected.toArray());
      planned.dispose();
    }
  });

  it("is sampled from in a plan as it is eagerly", async () => {
    const model = randomised({ ...tiny, classes: undefined, learnSigma: false }).eval();
    const schedule = new NoiseSchedule({ steps: 6, betaStart: 0.1, betaEnd: 0.9 });
    const [planned, eager] = await Promise.all(
      [false, true].map((eager) => sample({ model, schedule, count: 3, size: [4, 4, 2], seed: 3, eager })),
    );
    expect(planned.toArray()).to.deep.equal(eager.toArray());
  });

  it("refuses options that do not fit each other, and names the part", () => {
    const message = (change: Partial<DiTOptions>): string => failure(() => new DiT({ ...tiny, ...change })).message;
    expect(message({ heads: 3 })).to.equal(
      "dit.blocks[0]: SelfAttention: heads is 3, expected an integer >= 1 that divides the 8 channels.",
    );
    expect(message({ width: 10 })).to.equal(
      "DiT: pos_embed: width is 10, expected a multiple of 4: sines and cosines of the column and of the row.",
    );
    expect(message({ imageSize: [4, 5] })).to.equal(
      "DiT: x_embedder: imageSize is [4, 5], which does not divide into patches of 2 x 2.",
    );
    expect(message({ classDropout: 1 })).to.equal(
      "dit.y_embedder: LabelEmbedder: dropout is 1, expected a probability from 0 to below 1.",
    );
    expect(message({ depth: 0 })).to.equal("DiT: depth is 0, expected an integer >= 1.");
    expect(message({ classes: 2.5 })).to.equal("DiT: classes is 2.5, expected an integer >= 1.");
    expect(message({ mlpRatio: 0.1 })).to.equal("DiT: mlpRatio is 0.1, expected a number of at least 1 / width.");
  });

  it("refuses inputs that do not fit it", () => {
    const model = new DiT(tiny);
    const x = randn([2, 4, 4, 2], { seed: 1 });
    const t = tensor([1, 2]);
    const classLabels = tensor([0, 1], { dtype: "int32" });
    const message = (call: () => unknown): string => failure(call).message;
    expect(message(() => model.forward(x, t))).to.equal(
      "dit: DiT: classLabels is missing, and the model knows 3 classes. Give classLabels, or null for no class.",
    );
    expect(message(() => model.forward(randn([2, 8, 8, 2]), t, { classLabels }))).to.equal(
      "dit.x_embedder: PatchEmbed: x has shape [2, 8, 8, 2], expected [N, 4, 4, 2]. The positions that it knows are those of one image size.",
    );
    expect(message(() => model.forward(x, tensor([1]), { classLabels }))).to.equal(
      "dit: DiT: t has shape [1], expected [2], one for each image.",
    );
    expect(message(() => model.forward(x, t, { classLabels: tensor([0], { dtype: "int32" }) }))).to.equal(
      "dit.y_embedder: LabelEmbedder: classLabels has shape [1], expected [2] (one for each image).",
    );
    expect(message(() => model.forward(x, t, { classLabels: tensor([0, 1]) }))).to.include("classLabels is float32");
    const plain = new DiT({ ...tiny, classes: undefined });
    expect(message(() => plain.forward(x, t, { classLabels }))).to.include("the model knows no classes");
    expect(message(() => plain.forwardGuided(x, t, { classLabels, guidanceScale: 2 }))).to.include("knows no classes");
    const certain = new DiT({ ...tiny, classDropout: 0 });
    expect(message(() => certain.forward(x, t, { classLabels: null }))).to.equal(
      "dit.y_embedder: LabelEmbedder: there is no null class. A model learns one if labels are dropped while it trains: classDropout above 0.",
    );
    expect(message(() => model.forwardGuided(x, t, { classLabels, guidanceScale: 2, guidedChannels: 5 }))).to.equal(
      "DiT.forwardGuided: guidedChannels is 5, expected an integer from 1 to 4.",
    );
  });

  it("has its weights where it is told", () => {
    const model = new DiT({ ...tiny, device });
    expect(new Set(model.parameters().map((parameter) => parameter.device))).to.deep.equal(new Set([device]));
  });
});

describe("presets of DiT", () => {
  it("has the paper's twelve models", () => {
    expect(Object.keys(presets)).to.have.length(12);
    expect(presets["dit-b/8"]).to.deep.equal({ patchSize: 8, width: 768, depth: 12, heads: 12 });
    expect(presets["dit-xl/2"]).to.deep.equal({ patchSize: 2, width: 1152, depth: 28, heads: 16 });
    const model = DiT.preset("dit-s/8", { imageSize: 16, inChannels: 1, classes: 10 });
    expect([model.blocks.length, model.patchSize, model.imageSize]).to.deep.equal([12, 8, [16, 16]]);
    expect(() => DiT.preset("dit-s/3" as never, { imageSize: 16, inChannels: 1 })).to.throw(
      'DiT.preset: the name is "dit-s/3". Known are dit-s/2, dit-s/4',
    );
  });
});
