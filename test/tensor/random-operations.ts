// What random programs are made of: every differentiable operation, with operands on which it is smooth.
/* eslint-disable @typescript-eslint/restrict-template-expressions -- a value within a text is its name */

import type { Shape } from "langevin";
import type { Draft, Made } from "./random-programs.ts";

/** Adds one operation to a draft; undefined where it found nothing that fits. */
type Operation = (p: Draft) => Made | undefined;

/** How far values stay from kinks and ties: more than differences and float32 move them. */
const distance = 2e-4;

const clearOf = (elements: readonly number[], ...points: number[]): boolean =>
  elements.every((x) => points.every((point) => Math.abs(x - point) > distance));

const clearOfZero = (x: Made): boolean => clearOf(x.elements, 0);

/** Whether no two elements are so near to each other that the larger could become the smaller. */
function distinct({ elements }: Made): boolean {
  const sorted = Float64Array.from(elements).sort();
  return sorted.every((x, i) => i === 0 || x - sorted[i - 1] > distance);
}

const list = (items: readonly unknown[]): string => `[${items.join(", ")}]`;

const sizeOf = (shape: Shape): number => shape.reduce((n, m) => n * m, 1);

/** A call on any operand. */
const smooth =
  (call: string): Operation =>
  (p) =>
    p.make(`${p.any()}.${call}`);

/** A call on an operand that is clear of `points`. */
const kinked =
  (call: string, ...points: number[]): Operation =>
  (p) => {
    const x = p.find(({ elements }) => clearOf(elements, ...points));
    return x && p.make(`${x}.${call}`);
  };

/** A value of at least one half. */
function positive(p: Draft, of = p.any()): Made {
  const bounded = p.make(`${of}.${p.pick(["square()", "softplus()", "sigmoid()", "exp()"])}`)!;
  return p.make(`${bounded}.add(0.5)`)!;
}

const onPositive =
  (call: string): Operation =>
  (p) =>
    p.make(`${positive(p)}.${call}`);

/** An operand that broadcasts against x, or makes x broadcast. */
function partner(p: Draft, x: Made): Made {
  const broadcasts = (y: Made): boolean =>
    y.shape.every((n, i) => [1, n].includes(x.shape[i - y.rank + x.rank] ?? 1) || n === 1);
  const found = p.chance(0.7) ? p.find(broadcasts) : undefined;
  if (found) return found;
  const shape = x.shape.map((n) => (p.chance(0.3) ? 1 : n));
  return p.leaf(p.chance(0.3) ? shape.slice(1) : shape);
}

const binary =
  (name: string): Operation =>
  (p) => {
    const x = p.any();
    return p.make(p.chance(0.15) ? `${x}.${name}(${p.pick([-0.75, 0.5, 1.25])})` : `${x}.${name}(${partner(p, x)})`);
  };

/** A choice between operands, where they are not nearly equal. */
const extreme =
  (name: string): Operation =>
  (p) => {
    const x = p.any();
    const y = partner(p, x);
    return clearOf(p.peek(`${x}.sub(${y})`), 0) ? p.make(`${x}.${name}(${y})`) : undefined;
  };

const axisOf = (p: Draft, x: Made): number => p.integer(-x.rank, x.rank - 1);

/** An axis of an operand that has one. */
const alongAxis =
  (call: (axis: number, p: Draft, x: Made) => string, fits: (x: Made) => boolean = () => true): Operation =>
  (p) => {
    const x = p.find((value) => value.rank > 0 && fits(value));
    if (!x) return undefined;
    const text = `${x}.${call(axisOf(p, x), p, x)}`;
    return p.make(/split|chunk|unbind/.test(text) ? pieceOf(text) : text);
  };

/** One of several results; the others are freed. */
const pieceOf = (text: string): string => `scope(() => ${text})`;

/** Axes to reduce as an argument, and how many elements each result is made of. */
function drawAxes(p: Draft, x: Made): { readonly text: string; readonly count: number } {
  if (x.rank === 0 || p.chance(0.25)) return { text: "undefined", count: x.size };
  const axes = x.shape.map((_, axis) => axis).filter(() => p.chance(0.5));
  if (axes.length < 2) {
    const axis = axes[0] ?? p.integer(0, x.rank - 1);
    return { text: String(p.chance(0.3) ? axis - x.rank : axis), count: x.shape[axis] };
  }
  return { text: list(axes), count: sizeOf(axes.map((axis) => x.shape[axis])) };
}

const keepDims = (p: Draft): string => `keepDims: ${p.chance(0.5)}`;

const reduction =
  (name: string, fits: (x: Made) => boolean = () => true, options = ""): Operation =>
  (p) => {
    const x = p.find(fits);
    return x && p.make(`${x}.${name}(${drawAxes(p, x).text}, { ${options}${keepDims(p)} })`);
  };

/** Variance or its root, of elements that differ. */
const spread =
  (name: string): Operation =>
  (p) => {
    const x = p.find(distinct);
    if (!x) return undefined;
    const { text, count } = drawAxes(p, x);
    return count < 2 ? undefined : p.make(`${x}.${name}(${text}, { correction: ${p.integer(0, 1)}, ${keepDims(p)} })`);
  };

/** A mask that broadcasts against x: constant, or a comparison that no small step turns over. */
function mask(p: Draft, x: Made): Made {
  if (p.chance(0.4)) {
    const shape = x.shape.map((n) => (p.chance(0.3) ? 1 : n));
    return p.integers(shape, 0, 1);
  }
  const threshold = [0.25, -0.5, 0, 1, 4].find((value) => clearOf(x.elements, value)) ?? 100;
  const comparison = p.pick(["greater", "greaterEqual", "less", "lessEqual", "notEqual", "equal"]);
  const made = p.constant(`${x}.${comparison}(${threshold})`);
  return p.chance(0.2) ? p.constant(`${made}.logicalNot()`) : made;
}

/** An image [N, H, W, C]. */
function image(p: Draft, channels?: number): Made {
  const found = p.chance(0.7)
    ? p.find(({ shape }) => shape.length === 4 && shape[1] > 1 && shape[2] > 1 && (channels ?? shape[3]) === shape[3])
    : undefined;
  return found ?? p.leaf([p.integer(1, 2), p.integer(2, 5), p.integer(2, 5), channels ?? p.integer(1, 4)]);
}

/** A kernel's sides, and how it moves over an image. */
function drawWindow(p: Draft, { shape }: Made): { readonly kernel: number[]; readonly options: string } {
  const kernel = [p.integer(1, Math.min(3, shape[1])), p.integer(1, Math.min(3, shape[2]))];
  const stride = p.chance(0.5) ? 1 : list([p.integer(1, 2), p.integer(1, 2)]);
  const padding = p.pick(["0", "1", "[0, 1]", "[1, 0, 2, 1]"]);
  return { kernel, options: `stride: ${stride}, padding: ${padding}` };
}

/** Groups that divide the channels. */
const drawGroups = (p: Draft, channels: number): number => p.pick([1, 1, 2].filter((n) => channels % n === 0));

const optional = (p: Draft, shape: Shape): string => (p.chance(0.7) ? String(p.shaped(shape)) : "undefined");

const equations = [
  ["ij,jk->ik", "ij", "jk"],
  ["bij,bkj->bik", "bij", "bkj"],
  ["i,j->ij", "i", "j"],
  ["ij->ji", "ij"],
  ["ijk->j", "ijk"],
  ["ij,ij->", "ij", "ij"],
  ["ijk,k->ij", "ijk", "k"],
  ["bhqd,bhkd->bhqk", "bhqd", "bhkd"],
  ["...ij,jk->...ik", "abij", "jk"],
  ["ij,jk,kl->il", "ij", "jk", "kl"],
] as const;

/** A loss with its options, of prediction and target. */
const loss =
  (name: string, fits: (p: Draft, a: Made, b: Made) => boolean = () => true, options = ""): Operation =>
  (p) => {
    const a = p.find(({ rank }) => rank > 0)!;
    const b = p.shaped(a.shape);
    if (!fits(p, a, b)) return undefined;
    const reduced = p.pick(["mean", "sum", "none"]);
    // pseudoHuber has one error for each sample only.
    const weight = p.chance(0.3) ? `, weight: ${p.shaped([a.shape[0]])}` : "";
    return p.make(`${name}(${a}, ${b}, { ${options}reduction: "${reduced}"${weight} })`);
  };

function drawSlice(p: Draft, n: number): string {
  const start = p.integer(0, n - 1);
  const stop = p.integer(start + 1, n);
  switch (p.integer(0, 5)) {
    case 0:
      return String(p.chance(0.3) ? start - n : start);
    case 1:
      return "null";
    case 2:
      return list([start, stop]);
    case 3:
      return list([start - n]);
    case 4:
      return list(["null", stop]);
    default:
      return list([start, stop, p.integer(1, 3)]);
  }
}

/** An order of 0..n-1 by Fisher and Yates. */
function shuffled(p: Draft, n: number): number[] {
  const order = Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i > 0; i--) {
    const j = p.integer(0, i);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

/** Queries, keys and values with heads within the channels, and a mask. */
function attend(p: Draft): Made | undefined {
  const heads = p.integer(1, 3);
  const [batch, queries, width] = [p.integer(1, 2), p.integer(1, 5), p.integer(1, 4) * heads];
  const q = p.find(({ rank, shape }) => rank === 3 && shape[2] % heads === 0) ?? p.leaf([batch, queries, width]);
  const [b, lq, c] = q.shape;
  const keys = p.integer(1, 6);
  const [k, v] = [p.shaped([b, keys, c]), p.shaped([b, keys, heads * p.integer(1, 4)])];
  return p.make(`attention(${q}, ${k}, ${v}, { heads: ${heads}${drawMask(p, [b, heads, lq, keys])} })`);
}

function attendByHeads(p: Draft): Made | undefined {
  const lead = p.pick([[], [2], [2, 3]]);
  const [lq, keys, d] = [p.integer(1, 5), p.integer(1, 5), p.integer(1, 5)];
  const [q, k, v] = [
    p.shaped([...lead, lq, d]),
    p.shaped([...lead, keys, d]),
    p.shaped([...lead, keys, p.integer(1, 5)]),
  ];
  return p.make(`scaledDotProductAttention(${q}, ${k}, ${v}, { scale: 0.75${drawMask(p, [...lead, lq, keys])} })`);
}

function drawMask(p: Draft, shape: Shape): string {
  const own = shape.map((n, axis) => (axis < shape.length - 2 && p.chance(0.5) ? 1 : n));
  switch (p.integer(0, 3)) {
    case 0:
      return `, mask: ${p.integers(own, 0, 1)}`;
    case 1:
      return `, mask: ${p.constant(`tensor(${list(p.numbers(sizeOf(own)))}, { shape: ${list(own)} })`)}`;
    case 2:
      return ", causal: true";
    default:
      return "";
  }
}

/** Of one element, or centred ones of two, a normalisation keeps the sign only: the gradient is what cancellation leaves. */
const leastNormalised = 3;

/** By name; each name is one draw, whatever the number of statements. */
export const operations: Readonly<Record<string, Operation>> = {
  // One operand, smooth everywhere.
  neg: smooth("neg()"),
  clone: smooth("clone()"),
  square: smooth("square()"),
  exp: smooth("exp()"),
  expm1: smooth("expm1()"),
  sin: smooth("sin()"),
  cos: smooth("cos()"),
  erf: smooth("erf()"),
  tan: (p) => p.make(`${p.make(`${p.any()}.tanh()`)!}.tan()`),
  sigmoid: smooth("sigmoid()"),
  tanh: smooth("tanh()"),
  silu: smooth("silu()"),
  gelu: smooth("gelu()"),
  "gelu by tanh": smooth('gelu({ approximate: "tanh" })'),
  quickGelu: smooth("quickGelu()"),
  softplus: smooth("softplus()"),
  mish: smooth("mish()"),
  "whole power": smooth("pow(3)"),

  // With kinks or jumps.
  abs: kinked("abs()", 0),
  relu: kinked("relu()", 0),
  relu6: kinked("relu6()", 0, 6),
  leakyRelu: kinked("leakyRelu({ slope: 0.125 })", 0),
  elu: kinked("elu({ alpha: 0.5 })", 0),
  sign: kinked("sign()", 0),
  floor: kinked("floor()", -3, -2, -1, 0, 1, 2, 3),
  ceil: kinked("ceil()", -3, -2, -1, 0, 1, 2, 3),
  round: kinked("round()", -2.5, -1.5, -0.5, 0.5, 1.5, 2.5),
  clamp: kinked("clamp({ min: -1, max: 0.5 })", -1, 0.5),
  "clamp from above": kinked("clamp({ max: 0.25 })", 0.25),

  // Of positive numbers.
  sqrt: onPositive("sqrt()"),
  rsqrt: onPositive("rsqrt()"),
  reciprocal: onPositive("reciprocal()"),
  log: onPositive("log()"),
  log1p: onPositive("log1p()"),
  log2: onPositive("log2()"),
  "broken power": onPositive("pow(-1.5)"),
  power: (p) => {
    const x = positive(p);
    return p.make(`${x}.pow(${partner(p, x)})`);
  },

  // Two operands.
  add: binary("add"),
  sub: binary("sub"),
  mul: binary("mul"),
  div: (p) => {
    const x = p.any();
    return p.make(`${x}.div(${positive(p, partner(p, x))})`);
  },
  "number by tensor": (p) => p.make(`${p.constant("full([], 1.5)")}.div(${positive(p)})`),
  maximum: extreme("maximum"),
  minimum: extreme("minimum"),
  where: (p) => {
    const x = p.any();
    const y = partner(p, x);
    return p.make(`where(${mask(p, x)}, ${p.pick([`${x}, ${y}`, `${y}, ${x}`, `${x}, 0.5`, `-1, ${x}`])})`);
  },
  maskedFill: (p) => {
    const x = p.any();
    return p.make(`${x}.maskedFill(${mask(p, x)}, 0.5)`);
  },
  lerp: (p) => {
    const x = p.any();
    return p.make(`lerp(${x}, ${partner(p, x)}, ${p.pick([0, 0.25, 0.75, 1])})`);
  },
  "lerp by a tensor": (p) => {
    const x = p.any();
    const weight = p.find((w) => String(w.shape) === String(x.shape) && clearOf(w.elements, 0.5));
    return weight && p.make(`lerp(${x}, ${partner(p, x)}, ${weight})`);
  },

  // Reductions and lines.
  sum: reduction("sum"),
  mean: reduction("mean"),
  max: reduction("max", distinct),
  min: reduction("min", distinct),
  var: spread("var"),
  std: spread("std"),
  norm: reduction("norm", clearOfZero),
  "norm 1": reduction("norm", clearOfZero, "p: 1, "),
  "largest magnitude": (p) => {
    const x = positive(p);
    return distinct(x) ? p.make(`${x}.norm(${drawAxes(p, x).text}, { p: Infinity, ${keepDims(p)} })`) : undefined;
  },
  logSumExp: reduction("logSumExp"),
  prod: reduction("prod", ({ size }) => size < 40),
  cumsum: alongAxis((axis, p) => `cumsum(${axis}, { reverse: ${p.chance(0.5)} })`),
  cumprod: alongAxis(
    (axis) => `cumprod(${axis})`,
    ({ shape }) => Math.max(...shape) < 10,
  ),
  softmax: alongAxis((axis) => `softmax(${axis})`),
  logSoftmax: alongAxis((axis) => `logSoftmax(${axis})`),

  // Shapes.
  reshape: (p) => {
    const x = p.any();
    const divisors = [1, 2, 3, 4, 5, 6].filter((n) => x.size % n === 0);
    return p.make(`${x}.reshape([${p.pick(divisors)}, -1])`);
  },
  flatten: (p) => {
    const x = p.any();
    const start = p.integer(0, Math.max(0, x.rank - 1));
    return p.make(`${x}.flatten(${start}, ${p.integer(start, Math.max(0, x.rank - 1))})`);
  },
  squeeze: smooth("squeeze()"),
  unsqueeze: (p) => {
    const x = p.any();
    return p.make(`${x}.unsqueeze(${p.integer(-x.rank - 1, x.rank)})`);
  },
  permute: (p) => {
    const x = p.any();
    return p.make(`${x}.permute(${list(shuffled(p, x.rank))})`);
  },
  transpose: (p) => {
    const x = p.find(({ rank }) => rank > 1);
    return x && p.make(`${x}.transpose(${axisOf(p, x)}, ${axisOf(p, x)})`);
  },
  broadcastTo: (p) => {
    const x = p.any();
    const shape = x.shape.map((n) => (n === 1 ? p.integer(1, 3) : n));
    return p.make(`${x}.broadcastTo(${list(p.chance(0.5) ? [p.integer(1, 3), ...shape] : shape)})`);
  },
  row: (p) => {
    const x = p.find(({ rank, size }) => rank > 0 && size > 0)!;
    return p.make(`${x}.row(${p.integer(0, x.shape[0] - 1)})`);
  },
  slice: (p) => {
    const x = p.find(({ rank }) => rank > 0)!;
    return p.make(`${x}.slice(${x.shape.slice(0, p.integer(1, x.rank)).map((n) => drawSlice(p, n)).join(", ")})`); // prettier-ignore
  },
  split: alongAxis((axis, p, x) => {
    const n = x.shape.at(axis)!;
    const first = p.integer(0, n - 1);
    return `split([${first}, ${n - first}], ${axis})[1]`;
  }),
  chunk: alongAxis((axis, p) => `chunk(${p.integer(1, 3)}, ${axis}).at(-1)`),
  unbind: alongAxis((axis, p) => `unbind(${axis})${p.chance(0.5) ? "[0]" : ".at(-1)"}`),
  diag: (p) => {
    const x = p.find(({ rank, shape }) => (rank === 1 && shape[0] < 10) || (rank === 2 && Math.min(...shape) > 1));
    return x && p.make(`${x}.diag(${p.integer(-1, 1)})`);
  },
  flip: alongAxis((axis, p) => `flip(${p.pick([axis, `[${axis}]`, ""])})`),
  roll: alongAxis((axis, p) => `roll(${p.integer(-3, 3)}, ${axis})`),
  repeat: (p) => {
    const x = p.any();
    return p.make(`${x}.repeat(${list([...x.shape.map(() => p.integer(1, 2)), ...(p.chance(0.3) ? [2] : [])])})`);
  },
  repeatInterleave: alongAxis((axis, p) => `repeatInterleave(${p.integer(1, 3)}, ${axis})`),
  tril: (p) => {
    const x = p.find(({ rank }) => rank > 1);
    return x && p.make(`${x}.${p.pick(["tril", "triu"])}(${p.integer(-1, 1)})`);
  },
  concat: (p) => {
    const x = p.find(({ rank }) => rank > 0)!;
    const axis = axisOf(p, x);
    const fits = (y: Made): boolean =>
      y.rank === x.rank && y.shape.every((n, i) => n === x.shape[i] || i === (axis + x.rank) % x.rank);
    const others = Array.from({ length: p.integer(1, 2) }, () => p.find(fits)!);
    return p.make(`concat(${list([x, ...others])}, ${axis})`);
  },
  stack: (p) => {
    const x = p.any();
    return p.make(`stack(${list([x, p.shaped(x.shape)])}, ${p.integer(-x.rank - 1, x.rank)})`);
  },
  meshgrid: (p) => p.make(pieceOf(`meshgrid(${p.shaped([2])}, ${p.shaped([3])})[${p.integer(0, 1)}]`)),
  pad: (p) => {
    const x = p.any();
    const margins = x.shape.map(() => `[${p.integer(0, 2)}, ${p.integer(0, 2)}]`);
    return p.make(`pad(${x}, ${list(margins)}, { value: 0.5 })`);
  },
  "pad with its own": (p) => {
    const x = p.find(({ rank, shape }) => rank > 0 && shape.every((n) => n > 1));
    const mode = p.pick(["reflect", "replicate", "circular"]);
    const margins = x?.shape.map((n) => `[${p.integer(0, Math.min(n - 1, 2))}, ${p.integer(0, 1)}]`);
    return x && p.make(`pad(${x}, ${list(margins!)}, { mode: "${mode}" })`);
  },
  gather: (p) => {
    const x = p.find(({ rank }) => rank > 0)!;
    const axis = p.integer(0, x.rank - 1);
    const shape = x.shape.map((n, i) => (i === axis ? p.integer(1, 5) : p.integer(1, n)));
    return p.make(`${x}.gather(${axis}, ${p.integers(shape, 0, x.shape[axis] - 1)})`);
  },
  scatterAdd: (p) => {
    const x = p.find(({ rank }) => rank > 0)!;
    const axis = p.integer(0, x.rank - 1);
    const shape = x.shape.map((n, i) => (i === axis ? p.integer(1, 5) : p.integer(1, n)));
    const index = p.integers(shape, 0, x.shape[axis] - 1);
    return p.make(`${x}.scatterAdd(${axis}, ${index}, ${p.shaped(shape)})`);
  },
  indexSelect: alongAxis((axis, p, x) => {
    const [n, count] = [x.shape.at(axis)!, p.integer(1, 5)];
    const listed = Array.from({ length: count }, () => p.integer(0, n - 1));
    return `indexSelect(${axis}, ${p.chance(0.5) ? list(listed) : p.integers([count], 0, n - 1)})`;
  }),

  // Products.
  matmul: (p) => {
    const x = p.find(({ rank }) => rank > 0)!;
    const k = x.shape[x.rank - 1];
    const lead = x.rank > 2 && p.chance(0.5) ? x.shape.slice(0, -2).map((n) => (p.chance(0.3) ? 1 : n)) : [];
    return p.make(`${x}.matmul(${p.shaped(p.chance(0.2) ? [k] : [...lead, k, p.integer(1, 6)])})`);
  },
  dot: (p) => {
    const x = p.find(({ rank }) => rank === 1) ?? p.leaf([4]);
    return p.make(`${x}.dot(${p.shaped(x.shape)})`);
  },
  outer: (p) => {
    const x = p.find(({ rank }) => rank === 1) ?? p.leaf([4]);
    return p.make(`${x}.outer(${p.shaped([p.integer(1, 5)])})`);
  },
  linear: (p) => {
    const x = p.find(({ rank }) => rank > 0)!;
    const width = p.integer(1, 6);
    return p.make(`linear(${x}, ${p.shaped([x.shape[x.rank - 1], width])}, ${optional(p, [width])})`);
  },
  einsum: (p) => {
    const [equation, ...terms] = p.pick(equations);
    const sizes = new Map([..."abdhijklq"].map((letter) => [letter, p.integer(1, 4)]));
    const operands = terms.map((term) => p.shaped([...term].map((letter) => sizes.get(letter)!)));
    return p.make(`einsum("${equation}", ${operands.join(", ")})`);
  },
  embedding: (p) => {
    const table = p.find(({ rank }) => rank === 2) ?? p.leaf([4, 3]);
    const index = p.integers(p.pick([[], [3], [2, 3]]), 0, table.shape[0] - 1);
    return p.make(`embedding(${table}, ${index})`);
  },
  attention: attend,
  scaledDotProductAttention: attendByHeads,

  // Normalisation.
  groupNorm: (p) => {
    const x = p.find(({ rank, size, shape }) => rank > 1 && size >= leastNormalised * shape[0]);
    if (!x) return undefined;
    const [channels, perImage] = [x.shape[x.rank - 1], x.size / x.shape[0]];
    const fits = (n: number): boolean => channels % n === 0 && perImage >= leastNormalised * n;
    const groups = p.pick([1, 2, 3, channels].filter(fits));
    return p.make(
      `groupNorm(${x}, ${groups}, ${optional(p, [channels])}, ${optional(p, [channels])}, { epsilon: 0.01 })`,
    );
  },
  layerNorm: (p) => {
    const x = p.find(({ rank, shape }) => rank > 0 && shape[rank - 1] >= leastNormalised);
    if (!x) return undefined;
    const shape = x.shape.slice(-p.integer(1, x.rank));
    return p.make(`layerNorm(${x}, ${list(shape)}, ${optional(p, shape)}, ${optional(p, shape)}, { epsilon: 0.01 })`);
  },
  rmsNorm: (p) => {
    const x = p.find(({ rank, shape }) => rank > 0 && shape[rank - 1] >= leastNormalised);
    if (!x) return undefined;
    const width = x.shape[x.rank - 1];
    return p.make(`rmsNorm(${x}, ${width}, ${optional(p, [width])}, { epsilon: 0.01 })`);
  },

  normalize: (p) => {
    const x = positive(p);
    return x.rank > 0 ? p.make(`normalize(${x}, { axis: ${axisOf(p, x)}, p: ${p.integer(1, 2)} })`) : undefined;
  },
  cosineSimilarity: (p) => {
    const x = positive(p);
    const y = positive(p, partner(p, x));
    return x.rank > 0 ? p.make(`cosineSimilarity(${x}, ${y}, { axis: ${p.integer(-x.rank, -1)} })`) : undefined;
  },

  // Images.
  conv2d: (p) => {
    const x = image(p);
    const { kernel, options } = drawWindow(p, x);
    const [channels, groups] = [x.shape[3], drawGroups(p, x.shape[3])];
    const outputs = groups * p.integer(1, 3);
    const weight = p.shaped([...kernel, channels / groups, outputs]);
    const dilation = p.chance(0.2) && kernel.every((n, i) => n === 1 || 2 * n - 1 <= x.shape[i + 1]) ? 2 : 1;
    return p.make(
      `conv2d(${x}, ${weight}, ${optional(p, [outputs])}, { ${options}, groups: ${groups}, dilation: ${dilation} })`,
    );
  },
  convTranspose2d: (p) => {
    const x = image(p);
    const [channels, groups] = [x.shape[3], drawGroups(p, x.shape[3])];
    const outputs = groups * p.integer(1, 3);
    const stride = p.integer(1, 2);
    const weight = p.shaped([p.integer(2, 3), p.integer(2, 3), outputs / groups, channels]);
    const options = `stride: ${stride}, padding: ${p.integer(0, 1)}, outputPadding: ${p.integer(0, stride - 1)}, groups: ${groups}`;
    return p.make(`convTranspose2d(${x}, ${weight}, ${optional(p, [outputs])}, { ${options} })`);
  },
  maxPool2d: (p) => {
    const x = image(p);
    if (!distinct(x)) return undefined;
    const stride = p.integer(1, 2);
    return p.make(`maxPool2d(${x}, 2, { stride: ${stride}, padding: ${p.integer(0, 1)} })`);
  },
  avgPool2d: (p) => {
    const x = image(p);
    const options = `stride: ${p.integer(1, 2)}, padding: ${p.integer(0, 1)}, countPadding: ${p.chance(0.5)}`;
    return p.make(`avgPool2d(${x}, 2, { ${options} })`);
  },
  resize2d: (p) => {
    const x = image(p);
    const target = p.chance(0.5) ? "scale: 2" : `size: ${list([p.integer(1, 7), p.integer(1, 7)])}`;
    const mode = p.pick(["nearest", "area", "bilinear", "bicubic"]);
    const corners = mode.startsWith("bi") ? `, alignCorners: ${p.chance(0.5)}` : "";
    return p.make(`resize2d(${x}, { ${target}, mode: "${mode}"${corners} })`);
  },
  pixelShuffle: (p) => p.make(`pixelShuffle(${image(p, p.pick([4, 8]))}, 2)`),
  pixelUnshuffle: (p) => {
    const x =
      p.find(({ rank, shape }) => rank === 4 && shape[1] % 2 === 0 && shape[2] % 2 === 0) ?? p.leaf([1, 4, 2, 2]);
    return p.make(`pixelUnshuffle(${x}, 2)`);
  },
  globalAvgPool2d: (p) => p.make(`globalAvgPool2d(${image(p)})`),

  // Noise and losses.
  dropout: (p) => p.make(`dropout(${p.any()}, 0.25, { seed: ${p.integer(0, 1000)} })`),
  mse: loss("mse"),
  l1: loss("l1", (p, a, b) => clearOf(p.peek(`${a}.sub(${b})`), 0)),
  huber: loss("huber", (p, a, b) => clearOf(p.peek(`${a}.sub(${b})`), 0), "delta: 0.75, "),
  smoothL1: loss("smoothL1", (p, a, b) => clearOf(p.peek(`${a}.sub(${b})`), 0), "beta: 0.5, "),
  pseudoHuber: loss("pseudoHuber", () => true, "c: 0.5, "),
  bceWithLogits: loss("bceWithLogits"),
  crossEntropy: (p) => {
    const logits = p.find(({ rank }) => rank > 0)!;
    const classes = p.integers(logits.shape.slice(0, -1), 0, logits.shape[logits.rank - 1] - 1);
    return p.make(`crossEntropy(${logits}, ${classes}, { labelSmoothing: ${p.pick([0, 0.125])} })`);
  },
};
