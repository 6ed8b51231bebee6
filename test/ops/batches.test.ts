// An image's result has the same bits in any batch, and on any number of threads, on every executor.

import { expect } from "chai";

import { TsExecutor } from "../../ts/device/ts/executor.ts";
import type { Executor } from "../../ts/device/executor.ts";
import type { AnyAttributes, AnyOp, SampleInput, Shape } from "../../ts/ops/index.ts";
import { opList, ops, sizeOf } from "../../ts/ops/index.ts";
import type { Case, Value } from "./draw.ts";
import { drawCase, drawInput, generator } from "./draw.ts";
import { cpuSubject, describeSubject, oracle, subjects } from "./executors.ts";
import { evaluate, runCase } from "./run-op.ts";
import { firstDifference } from "./tolerance.ts";

/** An op on a batch; `perImage` inputs have an image for each entry of axis 0, `shared` ones follow them. */
interface Batched {
  readonly name: string;
  readonly op: AnyOp;
  readonly perImage: readonly (Omit<SampleInput, "shape"> & { readonly image: Shape })[];
  readonly shared?: readonly SampleInput[];
  readonly attributes?: AnyAttributes;
  /** Attributes that differ when `count` images from `first` on are computed alone. */
  readonly placed?: (first: number, count: number) => AnyAttributes;
}

const window = { stride: [1, 1], padding: [1, 1, 1, 1], dilation: [1, 1] };
const halved = { stride: [2, 2], padding: [0, 1, 0, 1], dilation: [1, 1] };
const noise = { seed: 5n, draw: 3, step: 2 };
const timestep = { image: [], dtype: "int32", range: [0, 9] } as const;

const batched: readonly Batched[] = [
  {
    name: "conv2d 3x3, 8x8",
    op: ops.conv2d,
    perImage: [{ image: [8, 8, 16] }],
    shared: [{ shape: [3, 3, 16, 19] }, { shape: [19] }],
    attributes: window,
  },
  {
    name: "conv2d 3x3, 2x2",
    op: ops.conv2d,
    perImage: [{ image: [2, 2, 33] }],
    shared: [{ shape: [3, 3, 33, 32] }],
    attributes: window,
  },
  {
    name: "conv2d one channel",
    op: ops.conv2d,
    perImage: [{ image: [7, 5, 1] }],
    shared: [{ shape: [3, 3, 1, 16] }, { shape: [16] }],
    attributes: window,
  },
  {
    name: "conv2d to one channel",
    op: ops.conv2d,
    perImage: [{ image: [5, 5, 16] }],
    shared: [{ shape: [1, 1, 16, 1] }, { shape: [1] }],
    attributes: { ...window, padding: [0, 0, 0, 0] },
  },
  {
    name: "conv2d strided",
    op: ops.conv2d,
    perImage: [{ image: [9, 8, 6] }],
    shared: [{ shape: [3, 3, 6, 20] }],
    attributes: halved,
  },
  {
    name: "convTranspose2d 2x2",
    op: ops.convTranspose2d,
    perImage: [{ image: [4, 4, 32] }],
    shared: [{ shape: [2, 2, 17, 32] }, { shape: [17] }],
    attributes: { ...window, stride: [2, 2], padding: [0, 0, 0, 0], size: [8, 8] },
  },
  {
    name: "convTranspose2d as a gradient",
    op: ops.convTranspose2d,
    perImage: [{ image: [4, 4, 20] }],
    shared: [{ shape: [3, 3, 6, 20] }],
    attributes: { ...halved, size: [8, 8] },
  },
  {
    name: "maxPool2d",
    op: ops.maxPool2d,
    perImage: [{ image: [8, 6, 18] }],
    attributes: { kernel: [2, 2], stride: [2, 2], padding: [0, 0, 0, 0] },
  },
  {
    name: "maxPool2dGradient",
    op: ops.maxPool2dGradient,
    perImage: [{ image: [8, 6, 18] }, { image: [4, 3, 18] }],
    attributes: { kernel: [2, 2], stride: [2, 2], padding: [0, 0, 0, 0] },
  },
  ...(["nearest", "bilinear", "bicubic", "area"] as const).flatMap((mode) => [
    {
      name: `resize2d, ${mode}`,
      op: ops.resize2d,
      perImage: [{ image: [20, 11, 18] }],
      attributes: { size: [9, 16], mode, alignCorners: false },
    },
    {
      name: `resize2dGradient, ${mode}`,
      op: ops.resize2dGradient,
      perImage: [{ image: [9, 16, 18] }],
      attributes: { size: [20, 11], mode, alignCorners: false },
    },
  ]),
  {
    name: "resize2d to one pixel",
    op: ops.resize2d,
    perImage: [{ image: [70, 40, 5] }],
    attributes: { size: [1, 1], mode: "area", alignCorners: false },
  },
  {
    name: "avgPool2d",
    op: ops.avgPool2d,
    perImage: [{ image: [8, 6, 18] }],
    attributes: { kernel: [3, 3], stride: [2, 2], padding: [1, 1, 1, 1], countPadding: false },
  },
  {
    name: "avgPool2dGradient",
    op: ops.avgPool2dGradient,
    perImage: [{ image: [4, 3, 18] }],
    attributes: { kernel: [3, 3], stride: [2, 2], padding: [1, 1, 1, 1], countPadding: false, size: [8, 6] },
  },
  {
    name: "matmul, rows of a linear layer",
    op: ops.matmul,
    perImage: [{ image: [70] }],
    shared: [{ shape: [70, 33] }, { shape: [33] }],
    attributes: { transposeA: false, transposeB: false },
  },
  {
    name: "matmul, gradient of a linear layer",
    op: ops.matmul,
    perImage: [{ image: [33] }],
    shared: [{ shape: [70, 33] }],
    attributes: { transposeA: false, transposeB: true },
  },
  ...([false, true] as const).flatMap((transposeA) =>
    ([false, true] as const).map((transposeB) => ({
      name: `matmul, matrices of a batch${transposeA ? ", a transposed" : ""}${transposeB ? ", b transposed" : ""}`,
      op: ops.matmul,
      perImage: [{ image: transposeA ? [40, 7] : [7, 40] }, { image: transposeB ? [33, 40] : [40, 33] }],
      attributes: { transposeA, transposeB },
    })),
  ),
  {
    name: "matmul, one matrix for a batch",
    op: ops.matmul,
    perImage: [{ image: [9, 70] }],
    shared: [{ shape: [70, 33] }, { shape: [33] }],
    attributes: { transposeA: false, transposeB: false },
  },
  {
    name: "attention",
    op: ops.attention,
    perImage: [{ image: [50, 12] }, { image: [21, 12] }, { image: [21, 10] }],
    attributes: { heads: 2, scale: 0.5, causal: false },
  },
  {
    name: "attention with a mask for each image",
    op: ops.attention,
    perImage: [{ image: [9, 12] }, { image: [9, 12] }, { image: [9, 6] }, { image: [1, 1, 9] }],
    attributes: { heads: 3, scale: 0.5, causal: true },
  },
  { name: "add of a row", op: ops.add, perImage: [{ image: [5, 3, 7] }], shared: [{ shape: [7] }] },
  { name: "mul of an image's factor", op: ops.mul, perImage: [{ image: [5, 3, 7] }, { image: [1, 1, 7] }] },
  ...[ops.silu, ops.sigmoid, ops.tanh, ops.exp, ops.gelu, ops.sin].map((op) => ({
    name: op.name,
    op,
    perImage: [{ image: [3, 3, 5] }],
  })),
  { name: "siluGradient", op: ops.siluGradient, perImage: [{ image: [3, 3, 5] }, { image: [3, 3, 5] }] },
  {
    name: "mean over pixels",
    op: ops.mean,
    perImage: [{ image: [40, 40, 3] }],
    attributes: { axes: [1, 2], keepDims: false },
  },
  {
    name: "sum of an image",
    op: ops.sum,
    perImage: [{ image: [33, 65] }],
    attributes: { axes: [1, 2], keepDims: true },
  },
  { name: "softmax of rows", op: ops.softmax, perImage: [{ image: [3, 70] }], attributes: { axis: -1 } },
  { name: "logSoftmax of columns", op: ops.logSoftmax, perImage: [{ image: [9, 5, 7] }], attributes: { axis: 1 } },
  {
    name: "softmaxGradient",
    op: ops.softmaxGradient,
    perImage: [{ image: [3, 70] }, { image: [3, 70] }],
    attributes: { axis: 1 },
  },
  ...[
    { pixels: "8x8", image: [8, 8, 48], groups: 12 },
    { pixels: "many", image: [33, 40, 34], groups: 17 },
    { pixels: "no", image: [35], groups: 5 },
  ].map(({ pixels, image, groups }) => ({
    name: `groupNorm, ${pixels} pixels`,
    op: ops.groupNorm,
    perImage: [{ image }],
    shared: [{ shape: image.slice(-1) }, { shape: image.slice(-1) }],
    attributes: { groups, epsilon: 1e-5 },
  })),
  {
    name: "layerNorm",
    op: ops.layerNorm,
    perImage: [{ image: [5, 70] }],
    shared: [{ shape: [70] }, { shape: [70] }],
    attributes: { axes: 1, epsilon: 1e-5, center: true },
  },
  {
    name: "max of an image",
    op: ops.max,
    perImage: [{ image: [33, 65] }],
    attributes: { axes: [1, 2], keepDims: false },
  },
  {
    name: "argmin over pixels",
    op: ops.argmin,
    perImage: [{ image: [500, 3] }],
    attributes: { axis: 1, keepDims: false },
  },
  {
    name: "extremeGradient over pixels",
    op: ops.extremeGradient,
    perImage: [{ image: [40, 40, 3] }, { image: [3] }],
    attributes: { axes: [1, 2], keepDims: false, of: "max" },
  },
  ...[ops.variance, ops.norm, ops.logSumExp].flatMap((op) =>
    [
      [40, 40, 3],
      [33, 65],
    ].map((image) => ({
      name: `${op.name} of an image ${image.join("x")}`,
      op,
      perImage: [{ image }],
      attributes: {
        axes: image.slice(0, 2).map((_, i) => i + 1),
        keepDims: false,
        ...(op === ops.variance && { correction: 1 }),
      },
    })),
  ),
  {
    name: "cumsum over pixels",
    op: ops.cumsum,
    perImage: [{ image: [300, 3] }],
    attributes: { axis: 1, reverse: false },
  },
  {
    name: "cumprodGradient along rows",
    op: ops.cumprodGradient,
    perImage: [{ image: [3, 40] }, { image: [3, 40] }],
    attributes: { axis: 2 },
  },
  {
    name: "gather",
    op: ops.gather,
    perImage: [{ image: [9, 5] }, { image: [20, 5], dtype: "int32", range: [0, 9] }],
    attributes: { axis: 1 },
  },
  {
    name: "scatterAdd",
    op: ops.scatterAdd,
    perImage: [{ image: [200, 5], dtype: "int32", range: [0, 9] }, { image: [200, 5] }],
    attributes: { axis: 1 },
    placed: (_, count) => ({ shape: [count, 9, 5] }),
  },
  {
    name: "addNoise",
    op: ops.addNoise,
    perImage: [{ image: [5, 3, 3] }, { image: [5, 3, 3] }, timestep],
    shared: [{ shape: [9, 2] }],
  },
  {
    name: "ddpmStep",
    op: ops.ddpmStep,
    perImage: [{ image: [5, 3, 3] }, { image: [5, 3, 3] }, timestep],
    shared: [{ shape: [9, 3] }],
    attributes: noise,
    placed: (first) => ({ image: first }),
  },
  {
    name: "randn",
    op: ops.randn,
    perImage: [],
    attributes: { ...noise, dtype: "float32" },
    placed: (first, count) => ({ image: first, shape: [count, 5, 3, 7] }),
  },
  {
    name: "dropout",
    op: ops.dropout,
    perImage: [{ image: [5, 3, 7] }],
    attributes: { ...noise, p: 0.3 },
    placed: (first) => ({ image: first }),
  },
  {
    name: "randint",
    op: ops.randint,
    perImage: [],
    attributes: { ...noise, low: -5, high: 1000 },
    placed: (first, count) => ({ image: first, shape: [count] }),
  },
];

/** Images `first` to `first + count - 1` of a batch. */
function images({ type, elements }: Value, first: number, count: number): Value {
  const size = sizeOf(type.shape.slice(1));
  return {
    type: { ...type, shape: [count, ...type.shape.slice(1)] },
    elements: elements.slice(first * size, (first + count) * size),
  };
}

const batch = 64;

describe("batches", () => {
  for (const subject of [oracle, ...subjects])
    describeSubject(subject, () => {
      for (const { name, op, perImage, shared = [], attributes = {}, placed } of batched)
        it(`${name}: an image does not know its batch`, () => {
          const random = generator(name.length);
          const draw = (input: SampleInput): Value => {
            const value = drawInput(input, random);
            const isFloat = value.type.dtype === "float32" && subject.float === "float64";
            return isFloat
              ? { type: { ...value.type, dtype: "float64" }, elements: Float64Array.from(value.elements) }
              : value;
          };
          const whole = perImage.map(({ image, ...rest }) => draw({ ...rest, shape: [batch, ...image] }));
          const rest = shared.map(draw);
          const run = (first: number, count: number): Value => {
            const inputs = [...whole.map((value) => images(value, first, count)), ...rest];
            return evaluate(subject.open(), { op, inputs, attributes: { ...attributes, ...placed?.(first, count) } });
          };
          const all = run(0, batch);
          expect(all.elements.some((v) => v !== 0)).to.equal(true);
          for (const [first, count] of [
            [0, 1],
            [5, 1],
            [63, 1],
            [3, 7],
            [57, 7],
          ])
            expect(firstDifference(run(first, count).elements, images(all, first, count).elements)).to.equal(undefined);
        });
    });
});

/** Bigger than the records' samples, so that there is something to share out between threads. */
const large: readonly Case[] = [
  product(ops.conv2d, [[16, 8, 8, 16], [3, 3, 16, 32], [32]], window),
  product(ops.convTranspose2d, [[16, 4, 4, 64], [2, 2, 32, 64], [32]], {
    ...window,
    stride: [2, 2],
    padding: [0, 0, 0, 0],
    size: [8, 8],
  }),
  product(
    ops.conv2dWeightGradient,
    [
      [40, 8, 8, 16],
      [40, 8, 8, 32],
    ],
    { ...window, kernel: [3, 3] },
  ),
  product(
    ops.matmul,
    [
      [300, 65],
      [65, 130],
    ],
    { transposeA: false, transposeB: false },
  ),
  product(
    ops.matmul,
    [
      [700, 65],
      [700, 130],
    ],
    { transposeA: true, transposeB: false },
  ),
  product(
    ops.matmul,
    [
      [90, 30, 65],
      [90, 65, 33],
    ],
    { transposeA: false, transposeB: false },
  ),
  product(
    ops.matmul,
    [
      [3, 200, 130],
      [1, 70, 130],
    ],
    { transposeA: false, transposeB: true },
  ),
  product(
    ops.attention,
    [
      [3, 200, 24],
      [3, 300, 24],
      [3, 300, 40],
    ],
    { heads: 2, scale: 0.3, causal: false },
  ),
  product(
    ops.attentionGradient,
    [
      [3, 1030, 24],
      [3, 100, 24],
      [3, 100, 40],
      [3, 1030, 40],
    ],
    { heads: 2, scale: 0.3, causal: true },
  ),
  product(ops.sum, [[200, 8, 8, 5]], { axes: [0, 1, 2], keepDims: false }),
  product(ops.mean, [[70, 1000]], { axes: [0, 1], keepDims: false }),
  product(ops.variance, [[20_000, 9]], { axes: [0], keepDims: false, correction: 1 }),
  product(ops.norm, [[3, 70_000]], { axes: [1], keepDims: false }),
  product(ops.cumsum, [[50, 7, 1000]], { axis: 1, reverse: true }),
  product(ops.argmax, [[70_000, 3]], { axis: 0, keepDims: false }),
  product(
    ops.mseLoss,
    [
      [70, 1001],
      [70, 1001],
    ],
    { reduction: "mean" },
  ),
  product(ops.silu, [[100_003]], {}),
  product(ops.groupNorm, [[3, 40, 40, 48], [48], [48]], { groups: 12, epsilon: 1e-5 }),
  product(
    ops.groupNormGradient,
    [
      [3, 40, 40, 48],
      [3, 40, 40, 48],
    ],
    { groups: 12, epsilon: 1e-5 },
  ),
  product(
    ops.layerNormGradient,
    [
      [700, 65],
      [700, 65],
    ],
    { axes: 1, epsilon: 1e-5, center: true },
  ),
  product(ops.softmax, [[300, 2100]], { axis: 1 }),
  product(ops.softmax, [[30, 300, 70]], { axis: 1 }),
  product(ops.add, [[64, 8, 8, 17], [17]], {}),
  product(ops.resize2d, [[16, 16, 16, 17]], { size: [32, 40], mode: "bilinear", alignCorners: false }),
  product(ops.resize2d, [[3, 90, 70, 33]], { size: [1, 2], mode: "area", alignCorners: false }),
  product(ops.resize2dGradient, [[3, 90, 70, 33]], { size: [20, 11], mode: "bicubic", alignCorners: true }),
  product(ops.maxPool2d, [[64, 8, 8, 17]], { kernel: [2, 2], stride: [2, 2], padding: [0, 0, 0, 0] }),
];

function product(op: AnyOp, shapes: readonly Shape[], attributes: AnyAttributes): Case {
  const random = generator(sizeOf(shapes[0]));
  return { op, attributes, inputs: shapes.map((shape) => drawInput({ shape }, random)) };
}

describe("threads", () => {
  const one = cpuSubject(1);
  for (const many of [cpuSubject(2), cpuSubject(5)])
    describeSubject(many, () => {
      const same = (c: Case) => {
        const expected = runCase(one.open(), c);
        runCase(many.open(), c).forEach((value, i) =>
          expect(firstDifference(value.elements, expected[i].elements)).to.equal(undefined),
        );
      };
      it("samples of all ops have the bits of one thread", () => {
        for (const op of opList) for (const sample of op.samples) same(drawCase(op, sample, "float32"));
      });
      for (const c of large)
        it(`${c.op.name} of ${c.inputs.map((v) => v!.type.shape.join("x")).join(", ")} has the bits of one thread`, () =>
          same(c));
    });
});

describe("repetition", () => {
  it("the same commands give the same bits on a used executor and on a new one", () => {
    const used: Executor = new TsExecutor();
    for (const c of large) {
      const results = runCase(new TsExecutor(), c);
      runCase(used, c).forEach((value, i) =>
        expect(firstDifference(value.elements, results[i].elements)).to.equal(undefined),
      );
    }
  });
});
