// Compares ops that sum or move elements with their definitions, written as one plain loop for each subscript.

import { expect } from "chai";

import type { AnyAttributes, AnyOp, Shape } from "../../ts/ops/index.ts";
import { ops, sizeOf } from "../../ts/ops/index.ts";
import type { Value } from "./draw.ts";
import { drawCase } from "./draw.ts";
import { describeSubject, oracle, subjects } from "./executors.ts";
import { evaluate, runCase } from "./run-op.ts";
import { expectClose } from "./tolerance.ts";

/** Calls `visit` with every subscript of `shape` in row-major order. */
function subscripts(shape: Shape, visit: (subscript: number[]) => void): void {
  for (let e = 0; e < sizeOf(shape); e++) {
    let rest = e;
    const subscript = new Array<number>(shape.length);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      subscript[axis] = rest % shape[axis];
      rest = Math.floor(rest / shape[axis]);
    }
    visit(subscript);
  }
}

const position = (shape: Shape, subscript: Shape): number => subscript.reduce((at, s, i) => at * shape[i] + s, 0);
const at = ({ type, elements }: Value, ...subscript: number[]): number => elements[position(type.shape, subscript)];

/** An array of doubles that terms are added to. */
class Sums {
  readonly shape: Shape;
  readonly elements: Float64Array;
  constructor(shape: Shape) {
    this.shape = shape;
    this.elements = new Float64Array(sizeOf(shape));
  }
  add(subscript: Shape, term: number): void {
    this.elements[position(this.shape, subscript)] += term;
  }
}

type Definition = (y: Sums, inputs: readonly (Value | undefined)[], attributes: AnyAttributes) => void;

/**
 * Visits every product of a convolution from images [N, H, W, I] to [N, OH, OW, O] that lies inside the image: the pixel
 * of the image, the tap, and the pixel of the output.
 */
function eachTap(
  image: Shape,
  kernel: Shape,
  output: Shape,
  attributes: AnyAttributes,
  visit: (n: number, pixel: [number, number], tap: [number, number], out: [number, number]) => void,
): void {
  const { stride, padding, dilation } = attributes as Record<string, readonly number[]>;
  subscripts([image[0], output[1], output[2], kernel[0], kernel[1]], ([n, oy, ox, ky, kx]) => {
    const y = oy * stride[0] - padding[0] + ky * dilation[0];
    const x = ox * stride[1] - padding[2] + kx * dilation[1];
    if (y >= 0 && y < image[1] && x >= 0 && x < image[2]) visit(n, [y, x], [ky, kx], [oy, ox]);
  });
}

function addBias(y: Sums, bias: Value | undefined): void {
  if (bias) subscripts(y.shape, (s) => y.add(s, at(bias, s[s.length - 1])));
}

const resolved = (axes: readonly number[], rank: number): number[] => axes.map((a) => (a < 0 ? a + rank : a));

/** Visits every element of x with the subscript of the output that it is reduced to. */
function eachTerm(
  x: Value,
  axes: unknown,
  keepDims: unknown,
  visit: (place: number[], value: number, subscript: readonly number[]) => void,
): void {
  const reduced = resolved(axes as number[], x.type.shape.length);
  subscripts(x.type.shape, (s) => {
    const place = keepDims
      ? s.map((v, axis) => (reduced.includes(axis) ? 0 : v))
      : s.filter((_, axis) => !reduced.includes(axis));
    visit(place, at(x, ...s), s);
  });
}

/** Visits every place of `shape` with itself and each place before it along an axis. */
function eachPair(shape: Shape, axis: unknown, visit: (place: number[], earlier: number[]) => void): void {
  const [along] = resolved([axis as number], shape.length);
  subscripts(shape, (s) => {
    for (let k = 0; k <= s[along]; k++)
      visit(
        s,
        s.map((v, i) => (i === along ? k : v)),
      );
  });
}

const definitions: readonly [AnyOp, Definition][] = [
  [
    ops.conv2d,
    (y, [x, weight, bias], attributes) => {
      eachTap(x!.type.shape, weight!.type.shape, y.shape, attributes, (n, pixel, tap, out) =>
        subscripts(weight!.type.shape.slice(2), ([i, o]) =>
          y.add([n, ...out, o], at(x!, n, ...pixel, i) * at(weight!, ...tap, i, o)),
        ),
      );
      addBias(y, bias);
    },
  ],
  [
    ops.convTranspose2d,
    (y, [x, weight, bias], attributes) => {
      eachTap(y.shape, weight!.type.shape, x!.type.shape, attributes, (n, pixel, tap, out) =>
        subscripts(weight!.type.shape.slice(2), ([i, o]) =>
          y.add([n, ...pixel, i], at(x!, n, ...out, o) * at(weight!, ...tap, i, o)),
        ),
      );
      addBias(y, bias);
    },
  ],
  [
    ops.conv2dWeightGradient,
    (dw, [x, dy], attributes) =>
      eachTap(x!.type.shape, dw.shape, dy!.type.shape, attributes, (n, pixel, tap, out) =>
        subscripts(dw.shape.slice(2), ([i, o]) =>
          dw.add([...tap, i, o], at(x!, n, ...pixel, i) * at(dy!, n, ...out, o)),
        ),
      ),
  ],
  [
    ops.matmul,
    (y, [a, b, bias], { transposeA, transposeB }) => {
      const [shapeA, shapeB] = [a!.type.shape, b!.type.shape];
      const terms = shapeA[shapeA.length - (transposeA ? 2 : 1)];
      const own = (batch: Shape, shape: Shape): number[] =>
        shape.slice(0, -2).map((n, i) => (n === 1 ? 0 : batch[batch.length - (shape.length - 2) + i]));
      subscripts([...y.shape, terms], (s) => {
        const batch = s.slice(0, -3);
        const [m, n, k] = s.slice(-3);
        const left = at(a!, ...own(batch, shapeA), ...(transposeA ? [k, m] : [m, k]));
        const right = at(b!, ...own(batch, shapeB), ...(transposeB ? [n, k] : [k, n]));
        y.add([...batch, m, n], left * right);
      });
      addBias(y, bias);
    },
  ],
  [ops.sum, (y, [x], { axes, keepDims }) => eachTerm(x!, axes, keepDims, (place, value) => y.add(place, value))],
  [
    ops.max,
    (y, [x], { axes, keepDims }) => {
      y.elements.fill(-Infinity);
      eachTerm(x!, axes, keepDims, (place, value) => {
        const to = position(y.shape, place);
        y.elements[to] = Math.max(y.elements[to], value);
      });
    },
  ],
  [
    ops.argmin,
    (y, [x], { axis, keepDims }) => {
      const smallest = new Map<number, number>();
      eachTerm(x!, [axis as number], keepDims, (place, value, subscript) => {
        const to = position(y.shape, place);
        if (value >= (smallest.get(to) ?? Infinity)) return;
        smallest.set(to, value);
        y.elements[to] = subscript[resolved([axis as number], subscript.length)[0]];
      });
    },
  ],
  [
    ops.extremeGradient,
    (dx, [x, dy], { axes, keepDims, of }) => {
      const sign = of === "max" ? 1 : -1;
      const first = new Map<number, number[]>();
      eachTerm(x!, axes, keepDims, (place, value, subscript) => {
        const output = position(dy!.type.shape, place);
        const best = first.get(output);
        if (!best || sign * value > sign * at(x!, ...best)) first.set(output, [...subscript]);
      });
      first.forEach((subscript, output) => dx.add(subscript, dy!.elements[output]));
    },
  ],
  [
    ops.variance,
    (y, [x], { axes, keepDims, correction }) => {
      const count = x!.elements.length / y.elements.length;
      const means = new Sums(y.shape);
      eachTerm(x!, axes, keepDims, (place, value) => means.add(place, value / count));
      eachTerm(x!, axes, keepDims, (place, value) => {
        const mean = means.elements[position(y.shape, place)];
        y.add(place, (value - mean) ** 2 / (count - (correction as number)));
      });
    },
  ],
  [
    ops.logSumExp,
    (y, [x], { axes, keepDims }) => {
      const shift = Math.max(...x!.elements);
      eachTerm(x!, axes, keepDims, (place, value) => y.add(place, Math.exp(value - shift)));
      y.elements.forEach((total, i) => (y.elements[i] = shift + Math.log(total)));
    },
  ],
  [
    ops.norm,
    (y, [x], { axes, keepDims }) => {
      eachTerm(x!, axes, keepDims, (place, value) => y.add(place, value ** 2));
      y.elements.forEach((total, i) => (y.elements[i] = Math.sqrt(total)));
    },
  ],
  [
    ops.broadcastTo,
    (y, [x]) => {
      const lead = y.shape.length - x!.type.shape.length;
      subscripts(y.shape, (s) => y.add(s, at(x!, ...x!.type.shape.map((n, axis) => (n === 1 ? 0 : s[lead + axis])))));
    },
  ],
  [
    ops.permute,
    (y, [x], { axes }) => {
      const order = resolved(axes as number[], y.shape.length);
      subscripts(y.shape, (s) => y.add(s, at(x!, ...order.map((_, axis) => s[order.indexOf(axis)]))));
    },
  ],
  [
    ops.slice,
    (y, [x], attributes) => {
      const { starts, steps } = attributes as Record<string, readonly number[]>;
      subscripts(y.shape, (s) => y.add(s, at(x!, ...s.map((v, axis) => starts[axis] + v * steps[axis]))));
    },
  ],
  [
    ops.place,
    (y, [x], attributes) => {
      const { starts, steps } = attributes as Record<string, readonly number[]>;
      y.elements.fill(attributes.value as number);
      subscripts(x!.type.shape, (s) => {
        const to = s.map((v, axis) => starts[axis] + v * steps[axis]);
        y.elements[position(y.shape, to)] = at(x!, ...s);
      });
    },
  ],
  [
    ops.flip,
    (y, [x], { axes }) => {
      const flipped = resolved(axes as number[], y.shape.length);
      subscripts(y.shape, (s) => {
        y.add(s, at(x!, ...s.map((v, axis) => (flipped.includes(axis) ? y.shape[axis] - 1 - v : v))));
      });
    },
  ],
  [
    ops.triangle,
    (y, [x], { part, diagonal }) =>
      subscripts(y.shape, (s) => {
        const [row, column] = s.slice(-2);
        const above = column - row - (diagonal as number);
        if (part === "lower" ? above <= 0 : above >= 0) y.add(s, at(x!, ...s));
      }),
  ],
  [
    ops.linearCombination,
    (y, [coefficients, ...terms]) =>
      subscripts(y.shape, (s) => terms.forEach((x, k) => y.add(s, at(coefficients!, k) * at(x!, ...s)))),
  ],
  [
    // Each element in turn as the one that exactly `rank` others are sorted before.
    ops.quantile,
    (y, [x], { q }) => {
      const n = x!.type.shape.at(-1)!;
      subscripts(y.shape, (s) => {
        const line = Array.from({ length: n }, (_, i) => at(x!, ...s, i));
        const elementAt = (rank: number): number =>
          line.find(
            (value) => line.filter((v) => v < value).length <= rank && line.filter((v) => v <= value).length > rank,
          )!;
        const place = (q as number) * (n - 1);
        const below = elementAt(Math.floor(place));
        y.add(s, below + (place - Math.floor(place)) * (elementAt(Math.ceil(place)) - below));
      });
    },
  ],
  [
    ops.cumsum,
    (y, [x], { axis, reverse }) =>
      eachPair(y.shape, axis, (s, earlier) => (reverse ? y.add(earlier, at(x!, ...s)) : y.add(s, at(x!, ...earlier)))),
  ],
  [
    ops.cumprod,
    (y, [x], { axis }) => {
      y.elements.fill(1);
      eachPair(y.shape, axis, (s, earlier) => (y.elements[position(y.shape, s)] *= at(x!, ...earlier)));
    },
  ],
  [
    // d y[s] / d x[i] is the product of all factors of y[s] but x[i].
    ops.cumprodGradient,
    (dx, [x, dy], { axis }) =>
      eachPair(dx.shape, axis, (s, earlier) => {
        let product = at(dy!, ...s);
        const [along] = resolved([axis as number], s.length);
        for (let k = 0; k <= s[along]; k++)
          if (k !== earlier[along]) product *= at(x!, ...s.map((v, i) => (i === along ? k : v)));
        dx.add(earlier, product);
      }),
  ],
  [
    ops.gather,
    (y, [x, index], { axis }) => {
      const [along] = resolved([axis as number], y.shape.length);
      subscripts(y.shape, (s) => y.add(s, at(x!, ...s.map((v, i) => (i === along ? at(index!, ...s) : v)))));
    },
  ],
  [
    ops.scatterAdd,
    (y, [index, x], { axis }) => {
      const [along] = resolved([axis as number], y.shape.length);
      subscripts(x!.type.shape, (s) => {
        y.add(
          s.map((v, i) => (i === along ? at(index!, ...s) : v)),
          at(x!, ...s),
        );
      });
    },
  ],
  [
    ops.concat,
    (y, inputs, attributes) => {
      const [axis] = resolved([attributes.axis as number], y.shape.length);
      let start = 0;
      for (const x of inputs) {
        subscripts(x!.type.shape, (s) => {
          y.add(
            s.map((v, i) => (i === axis ? start + v : v)),
            at(x!, ...s),
          );
        });
        start += x!.type.shape[axis];
      }
    },
  ],
  [
    ops.mseLoss,
    (y, [prediction, target], { reduction }) => {
      const count = reduction === "mean" ? prediction!.elements.length : 1;
      prediction!.elements.forEach((p, i) => y.add([], (p - target!.elements[i]) ** 2 / count));
    },
  ],
  [
    ops.mseLossGradient,
    (dx, [prediction, target, dy], { reduction }) => {
      const scale = (2 * dy!.elements[0]) / (reduction === "mean" ? dx.elements.length : 1);
      prediction!.elements.forEach((p, i) => (dx.elements[i] = scale * (p - target!.elements[i])));
    },
  ],
  [
    ops.embeddingGradient,
    (dtable, [index, dy]) => {
      const [, width] = dtable.shape;
      index!.elements.forEach((row, k) => {
        for (let d = 0; d < width; d++) dtable.add([row, d], dy!.elements[k * width + d]);
      });
    },
  ],
  [
    ops.addNoise,
    (y, [x0, noise, t, coefficients]) =>
      subscripts(y.shape, (s) => {
        const step = at(t!, s[0]);
        y.add(s, at(coefficients!, step, 0) * at(x0!, ...s) + at(coefficients!, step, 1) * at(noise!, ...s));
      }),
  ],
  [
    ops.maxPool2d,
    (y, [x], attributes) => {
      y.elements.fill(-Infinity);
      const kernel = attributes.kernel as readonly number[];
      eachTap(x!.type.shape, kernel, y.shape, { ...attributes, dilation: [1, 1] }, (n, pixel, _, out) =>
        subscripts([y.shape[3]], ([c]) => {
          const to = position(y.shape, [n, ...out, c]);
          y.elements[to] = Math.max(y.elements[to], at(x!, n, ...pixel, c));
        }),
      );
    },
  ],
];

/** One step for one number: from its operands (NaN where absent) to what the op overwrites. */
type Step = (operands: number[], attributes: AnyAttributes) => number[];

const steps: readonly [AnyOp, Step][] = [
  [ops.ema, ([average, source], { weight }) => [average + (weight as number) * (source - average)]],
  [
    ops.adam,
    ([p, g, m, v, vMax], attributes) => {
      const { decoupled, ...others } = attributes;
      const a = others as Record<string, number>;
      if (decoupled) p -= a.lr * a.weightDecay * p;
      else g += a.weightDecay * p;
      const mean = a.beta1 * m + (1 - a.beta1) * g;
      const variance = a.beta2 * v + (1 - a.beta2) * g * g;
      const largest = Number.isNaN(vMax) ? variance : Math.max(vMax, variance);
      return [p - (a.stepSize * mean) / (Math.sqrt(largest) / a.correction + a.epsilon), mean, variance, largest];
    },
  ],
  [
    ops.sgd,
    ([p, g, velocity], attributes) => {
      const { nesterov, ...others } = attributes;
      const a = others as Record<string, number>;
      const slope = g + a.weightDecay * p;
      if (Number.isNaN(velocity)) return [p - a.lr * slope];
      const next = a.momentum * velocity + (1 - a.dampening) * slope;
      return [p - a.lr * (nesterov ? slope + a.momentum * next : next), next];
    },
  ],
  [
    ops.rmsprop,
    ([p, g, square, mean, velocity], attributes) => {
      const a = attributes as Record<string, number>;
      const slope = g + a.weightDecay * p;
      const nextSquare = a.alpha * square + (1 - a.alpha) * slope ** 2;
      const nextMean = a.alpha * mean + (1 - a.alpha) * slope;
      const variance = Number.isNaN(mean) ? nextSquare : nextSquare - nextMean ** 2;
      const scaled = slope / (Math.sqrt(variance) + a.epsilon);
      const nextVelocity = a.momentum * velocity + scaled;
      const change = Number.isNaN(velocity) ? scaled : nextVelocity;
      return [p - a.lr * change, nextSquare, nextMean, nextVelocity].filter((x) => !Number.isNaN(x));
    },
  ],
];

describe("definitions of optimizers' steps", () => {
  for (const [op, step] of steps)
    describe(op.name, () => {
      for (const subject of [oracle, ...subjects])
        describeSubject(subject, () => {
          for (const sample of op.samples)
            it(sample.name, () => {
              const c = drawCase(op, sample, subject.float);
              const got = runCase(subject.open(), c);
              const expected = Array.from(got[0].elements, (_, i) =>
                step(
                  c.inputs.map((input) => input?.elements[i] ?? NaN),
                  c.attributes,
                ),
              );
              expect(got).to.have.length(c.inputs.filter((input) => input !== undefined).length - 1);
              got.forEach((value, k) =>
                expectClose(c, value, { type: value.type, elements: Float64Array.from(expected, (all) => all[k]) }),
              );
            });
        });
    });
});

describe("definitions", () => {
  for (const [op, define] of definitions)
    describe(op.name, () => {
      for (const sample of op.samples) {
        let expected: Sums | undefined;
        for (const subject of [oracle, ...subjects])
          describeSubject(subject, () =>
            it(sample.name, () => {
              const c = drawCase(op, sample, subject.float);
              const got = evaluate(subject.open(), c);
              if (!expected) define((expected = new Sums(got.type.shape)), c.inputs, c.attributes);
              expectClose(c, got, { type: got.type, elements: expected.elements });
            }),
          );
      }
    });
});
