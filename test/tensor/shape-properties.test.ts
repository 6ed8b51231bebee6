// Random shapes and arguments: what broadcasts, moves, picks and reduces elements agrees with plain loops over nested
// arrays, and the gradient of what only moves elements is its adjoint.

import { expect } from "chai";
import fc from "fast-check";
import type { NestedNumbers, Tensor } from "langevin";
import { ShapeError, concat, pad, scope, stack, tensor } from "langevin";
import { failure } from "../failure.ts";
import { onEveryDevice } from "./devices.ts";

// ---- nested arrays ----------------------------------------------------------------------------------------------------

type Sizes = readonly number[];

/** The array of this shape whose elements `element` gives. */
function nested(shape: Sizes, element: (subscript: number[]) => number, subscript: number[] = []): NestedNumbers {
  if (subscript.length === shape.length) return element(subscript);
  return Array.from({ length: shape[subscript.length] }, (_, i) => nested(shape, element, [...subscript, i]));
}

const at = (array: NestedNumbers, subscript: Sizes): number =>
  subscript.reduce<NestedNumbers>((part, i) => (part as NestedNumbers[])[i], array) as number;

const flat = (array: NestedNumbers): number[] => (typeof array === "number" ? [array] : array.flatMap(flat));

const sizeOf = (shape: Sizes): number => shape.reduce((product, n) => product * n, 1);
const replaced = (list: Sizes, axis: number, value: number): number[] => list.map((v, i) => (i === axis ? value : v));

/** An array of integers, which all arithmetic below is exact on, and the tensor of it. */
interface Pair {
  readonly shape: Sizes;
  readonly array: NestedNumbers;
}

const values = (shape: Sizes, low = -9): fc.Arbitrary<Pair> =>
  fc.array(fc.integer({ min: low, max: 9 }), { minLength: sizeOf(shape), maxLength: sizeOf(shape) }).map((flat) => {
    let next = 0;
    return { shape, array: nested(shape, () => flat[next++]) };
  });

const tensorOf = ({ array, shape }: Pair): Tensor => tensor(flat(array), { shape, dtype: "float32" });

const indexOf = ({ array, shape }: Pair): Tensor => tensor(flat(array), { shape, dtype: "int32" });

function expectArray(got: Tensor, shape: Sizes, element: (subscript: number[]) => number): void {
  expect(got.shape).to.deep.equal(shape);
  // -0 is 0 here: sums of nothing and products with 0 differ in the sign.
  const expected = nested(shape, (subscript) => element(subscript) + 0);
  expect(got.add(0).toArray()).to.deep.equal(expected);
}

// ---- arguments --------------------------------------------------------------------------------------------------------

const shapes = (minRank: number, maxRank = 4, least = 0): fc.Arbitrary<number[]> =>
  fc.array(fc.integer({ min: least, max: 4 }), { minLength: minRank, maxLength: maxRank });

/** An array of any shape with one of its axes, which sometimes is given from the end. */
const withAxis = (least = 0): fc.Arbitrary<{ x: Pair; axis: number; given: number }> =>
  shapes(1, 4, least).chain((shape) =>
    fc
      .tuple(values(shape), fc.nat(shape.length - 1), fc.boolean())
      .map(([x, axis, fromEnd]) => ({ x, axis, given: fromEnd ? axis - shape.length : axis })),
  );

const runs = { numRuns: 80 };

/** Checks a property in a scope, so that its tensors do not outlive the run. */
function check<T>(arbitrary: fc.Arbitrary<T>, property: (value: T) => void): void {
  fc.assert(
    fc.property(arbitrary, (value) => {
      scope(() => {
        property(value);
      });
    }),
    runs,
  );
}

// ---- the oracle's broadcasting ------------------------------------------------------------------------------------------

/** The shape that two broadcast to, undefined where they do not. */
function broadcast(a: Sizes, b: Sizes): number[] | undefined {
  const rank = Math.max(a.length, b.length);
  const size = (shape: Sizes, i: number): number => shape[shape.length - rank + i] ?? 1;
  const result = Array.from({ length: rank }, (_, i) => (size(a, i) === 1 ? size(b, i) : size(a, i)));
  const fits = result.every((n, i) => [a, b].every((shape) => size(shape, i) === 1 || size(shape, i) === n));
  return fits ? result : undefined;
}

/** The element of a broadcast array. */
const broadcastAt = ({ array, shape }: Pair, subscript: Sizes): number =>
  at(
    array,
    shape.map((n, i) => (n === 1 ? 0 : subscript[subscript.length - shape.length + i])),
  );

onEveryDevice("properties of shapes", () => {
  describe("broadcasting", () => {
    const operands = fc
      .tuple(shapes(0, 3), shapes(0, 3), fc.boolean())
      .map(([a, b, related]): [Sizes, Sizes] => {
        if (!related) return [a, b];
        // Mostly the one with some of its axes made 1 or dropped, so that they fit.
        const partner = a.map((n, i) => ((b[i] ?? 0) % 2 === 0 ? 1 : n)).slice(b.length % 2);
        return [a, partner];
      })
      .chain(([a, b]) => fc.tuple(values(a), values(b)));

    it("adds as loops do, or is refused with both shapes", () => {
      check(operands, ([a, b]) => {
        const shape = broadcast(a.shape, b.shape);
        if (shape) {
          expectArray(tensorOf(a).add(tensorOf(b)), shape, (s) => broadcastAt(a, s) + broadcastAt(b, s));
          expectArray(tensorOf(b).sub(tensorOf(a)), shape, (s) => broadcastAt(b, s) - broadcastAt(a, s));
        } else {
          const error = failure(() => tensorOf(a).mul(tensorOf(b)));
          expect(error).to.be.instanceOf(ShapeError);
          for (const { shape: given } of [a, b]) expect(error.message).to.contain(`[${given.join(", ")}]`);
        }
      });
    });

    it("repeats to a given shape", () => {
      check(operands, ([a, b]) => {
        const shape = broadcast(a.shape, b.shape);
        if (shape) expectArray(tensorOf(a).broadcastTo(shape), shape, (s) => broadcastAt(a, s));
      });
    });
  });

  describe("moving", () => {
    const ranges = shapes(0).chain((shape) =>
      fc.tuple(
        values(shape),
        fc.tuple(
          ...shape.map((n) =>
            fc.tuple(fc.nat(n), fc.nat(n), fc.integer({ min: 1, max: 3 })).map(([p, q, step]) => ({
              start: Math.min(p, q),
              stop: Math.max(p, q),
              step,
            })),
          ),
        ),
      ),
    );

    it("slice takes start, start + step, ...", () => {
      check(ranges, ([x, parts]) => {
        const shape = parts.map(({ start, stop, step }) => Math.ceil((stop - start) / step));
        const got = tensorOf(x).slice(...parts.map(({ start, stop, step }) => [start, stop, step] as const));
        expectArray(got, shape, (s) =>
          at(
            x.array,
            s.map((v, i) => parts[i].start + v * parts[i].step),
          ),
        );
      });
    });

    it("slice counts from the end, and an index takes its axis along", () => {
      check(withAxis(1), ({ x, axis }) => {
        const got = tensorOf(x).slice(...x.shape.map((_, i) => (i === axis ? -1 : null)));
        const shape = x.shape.filter((_, i) => i !== axis);
        expectArray(got, shape, (s) => at(x.array, [...s.slice(0, axis), x.shape[axis] - 1, ...s.slice(axis)]));
      });
    });

    it("permute and flip", () => {
      const orders = shapes(1).chain((shape) =>
        fc.tuple(values(shape), fc.shuffledSubarray([...shape.keys()], { minLength: shape.length })),
      );
      check(orders, ([x, order]) => {
        const shape = order.map((axis) => x.shape[axis]);
        const source = (s: Sizes) => x.shape.map((_, axis) => s[order.indexOf(axis)]);
        expectArray(tensorOf(x).permute(order), shape, (s) => at(x.array, source(s)));
        const some = order.slice(0, Math.ceil(order.length / 2));
        const mirrored = (s: Sizes) => s.map((v, i) => (some.includes(i) ? x.shape[i] - 1 - v : v));
        expectArray(tensorOf(x).flip(some), x.shape, (s) => at(x.array, mirrored(s)));
      });
    });

    it("roll, repeat and repeatInterleave", () => {
      check(fc.tuple(withAxis(1), fc.integer({ min: -9, max: 9 }), fc.nat(3)), ([{ x, axis, given }, shift, count]) => {
        const n = x.shape[axis];
        const rolled = (s: Sizes) => replaced(s, axis, (((s[axis] - shift) % n) + n) % n);
        expectArray(tensorOf(x).roll(shift, given), x.shape, (s) => at(x.array, rolled(s)));
        const longer = replaced(x.shape, axis, n * count);
        const interleaved = (s: Sizes) => replaced(s, axis, Math.floor(s[axis] / count));
        expectArray(tensorOf(x).repeatInterleave(count, given), longer, (s) => at(x.array, interleaved(s)));
        const counts = [2, ...x.shape.map((_, i) => (i === axis ? count : 1))];
        const tiled = (s: Sizes) => replaced(s.slice(1), axis, s[axis + 1] % n);
        expectArray(tensorOf(x).repeat(counts), [2, ...longer], (s) => at(x.array, tiled(s)));
      });
    });

    it("split and concat undo each other, and so do stack and slice", () => {
      check(fc.tuple(withAxis(), fc.integer({ min: 1, max: 4 })), ([{ x, axis, given }, size]) => {
        const parts = tensorOf(x).split(size, given);
        expect(parts.length).to.equal(Math.max(1, Math.ceil(x.shape[axis] / size)));
        parts.slice(0, -1).forEach((part) => expect(part.shape[axis]).to.equal(size));
        expectArray(concat(parts, given), x.shape, (s) => at(x.array, s));
        const twice = stack([tensorOf(x), tensorOf(x).mul(2)], axis);
        const shape = [...x.shape.slice(0, axis), 2, ...x.shape.slice(axis)];
        expectArray(twice, shape, (s) => at(x.array, [...s.slice(0, axis), ...s.slice(axis + 1)]) * (s[axis] + 1));
        const chunks = tensorOf(x).chunk(size, given);
        expect(chunks.length).to.be.at.most(size);
        expectArray(concat(chunks, axis), x.shape, (s) => at(x.array, s));
      });
    });

    it("flatten, squeeze and unsqueeze keep the order", () => {
      check(fc.tuple(withAxis(), fc.nat(3)), ([{ x, axis }, more]) => {
        const end = Math.min(axis + more, x.shape.length - 1);
        const joined = [...x.shape.slice(0, axis), sizeOf(x.shape.slice(axis, end + 1)), ...x.shape.slice(end + 1)];
        const got = tensorOf(x).flatten(axis, end);
        expect([got.shape, flat(got.toArray())]).to.deep.equal([joined, flat(x.array)]);
        const opened = tensorOf(x).unsqueeze(axis);
        expect(opened.shape).to.deep.equal([...x.shape.slice(0, axis), 1, ...x.shape.slice(axis)]);
        expectArray(opened.squeeze(axis), x.shape, (s) => at(x.array, s));
        expect(opened.squeeze().shape).to.deep.equal(x.shape.filter((n) => n !== 1));
      });
    });

    it("triangles", () => {
      check(
        fc.tuple(
          shapes(2).chain((shape) => values(shape)),
          fc.integer({ min: -4, max: 4 }),
        ),
        ([x, diagonal]) => {
          const above = (s: Sizes) => s[s.length - 1] - s[s.length - 2] - diagonal;
          expectArray(tensorOf(x).tril(diagonal), x.shape, (s) => (above(s) <= 0 ? at(x.array, s) : 0));
          expectArray(tensorOf(x).triu(diagonal), x.shape, (s) => (above(s) >= 0 ? at(x.array, s) : 0));
        },
      );
    });

    const margins = shapes(0, 3, 1).chain((shape) =>
      fc.tuple(values(shape), fc.tuple(...shape.map((n) => fc.tuple(fc.nat(n - 1), fc.nat(n - 1))))),
    );
    const sources = {
      constant: (i: number, n: number) => (i < 0 || i >= n ? -1 : i),
      reflect: (i: number, n: number) => (i < 0 ? -i : i >= n ? 2 * n - 2 - i : i),
      replicate: (i: number, n: number) => (i < 0 ? 0 : i >= n ? n - 1 : i),
      circular: (i: number, n: number) => (i < 0 ? i + n : i >= n ? i - n : i),
    };
    for (const mode of ["constant", "reflect", "replicate", "circular"] as const)
      it(`pad, ${mode}`, () => {
        check(margins, ([x, sides]) => {
          const shape = x.shape.map((n, i) => sides[i][0] + n + sides[i][1]);
          expectArray(pad(tensorOf(x), sides, { mode, value: 5 }), shape, (s) => {
            const from = s.map((v, i) => sources[mode](v - sides[i][0], x.shape[i]));
            return from.includes(-1) ? 5 : at(x.array, from);
          });
        });
      });
  });

  describe("picking", () => {
    /** x, an axis, and an index of x's rank that is no larger than x beside the axis. */
    const indexed = withAxis(1).chain(({ x, axis, given }) =>
      fc
        .tuple(fc.tuple(...x.shape.map((n, i) => (i === axis ? fc.nat(5) : fc.nat(n)))), fc.nat(1e6))
        .map(([shape, seed]) => {
          let state = seed;
          const array = nested(shape, () => (state = (state * 31 + 7) % 1009) % x.shape[axis]);
          return { x, axis, given, index: { shape, array } };
        }),
    );

    it("gather", () => {
      check(indexed, ({ x, axis, given, index }) => {
        const source = (s: Sizes) => replaced(s, axis, at(index.array, s));
        expectArray(tensorOf(x).gather(given, indexOf(index)), index.shape, (s) => at(x.array, source(s)));
        expectArray(indexOf(x).gather(given, indexOf(index)), index.shape, (s) => at(x.array, source(s)));
      });
    });

    it("scatterAdd", () => {
      check(indexed, ({ x, axis, given, index }) => {
        const added = new Map<string, number>();
        const source = nested(index.shape, (s) => {
          const value = 1 + s.reduce((sum, v) => 3 * sum + v, 0);
          const place = replaced(s, axis, at(index.array, s)).join();
          added.set(place, (added.get(place) ?? 0) + value);
          return value;
        });
        const got = tensorOf(x).scatterAdd(given, indexOf(index), tensorOf({ shape: index.shape, array: source }));
        expectArray(got, x.shape, (s) => at(x.array, s) + (added.get(s.join()) ?? 0));
      });
    });

    it("indexSelect, by a tensor and by a list", () => {
      check(
        withAxis(1).chain((c) => fc.tuple(fc.constant(c), fc.array(fc.nat(c.x.shape[c.axis] - 1), { maxLength: 6 }))),
        ([{ x, axis, given }, index]) => {
          const shape = replaced(x.shape, axis, index.length);
          for (const places of [index, tensor(Int32Array.from(index))])
            expectArray(tensorOf(x).indexSelect(given, places), shape, (s) =>
              at(x.array, replaced(s, axis, index[s[axis]])),
            );
        },
      );
    });
  });

  describe("reducing", () => {
    const reductions = {
      sum: (terms: number[]) => terms.reduce((a, b) => a + b, 0),
      prod: (terms: number[]) => terms.reduce((a, b) => a * b, 1),
      max: (terms: number[]) => Math.max(...terms),
      min: (terms: number[]) => Math.min(...terms),
    };
    for (const name of ["sum", "prod", "max", "min"] as const)
      it(`${name} over some axes`, () => {
        const cases = shapes(0, 3, name === "sum" || name === "prod" ? 0 : 1).chain((shape) =>
          fc.tuple(values(shape, name === "prod" ? -1 : -9), fc.subarray([...shape.keys()]), fc.boolean()),
        );
        check(cases, ([x, axes, keepDims]) => {
          const terms = (place: Sizes): number[] => {
            const span = axes.map((axis) => x.shape[axis]);
            const found: number[] = [];
            nested(span, (s) =>
              found.push(
                at(
                  x.array,
                  place.map((v, i) => (axes.includes(i) ? s[axes.indexOf(i)] : v)),
                ),
              ),
            );
            return found;
          };
          const kept = x.shape.map((n, i) => (axes.includes(i) ? 1 : n));
          const shape = keepDims ? kept : x.shape.filter((_, i) => !axes.includes(i));
          const got = tensorOf(x)[name](axes, { keepDims });
          expect(got.shape).to.deep.equal(shape);
          expectArray(got.reshape(kept), kept, (place) => reductions[name](terms(place)));
        });
      });

    it("argmax finds the first of the largest, cumsum adds up", () => {
      check(withAxis(1), ({ x, axis, given }) => {
        const line = (s: Sizes) => Array.from({ length: x.shape[axis] }, (_, i) => at(x.array, replaced(s, axis, i)));
        const kept = replaced(x.shape, axis, 1);
        const found = (s: Sizes) => line(s).indexOf(Math.max(...line(s)));
        expectArray(tensorOf(x).argmax(given, { keepDims: true }), kept, found);
        const elements = flat(x.array);
        expect(tensorOf(x).argmin().item()).to.equal(elements.indexOf(Math.min(...elements)));
        const upTo = (s: Sizes) => reductions.sum(line(s).slice(0, s[axis] + 1));
        expectArray(tensorOf(x).cumsum(given), x.shape, upTo);
        const from = (s: Sizes) => reductions.sum(line(s).slice(s[axis]));
        expectArray(indexOf(x).cumsum(given, { reverse: true }), x.shape, from);
      });
    });
  });

  describe("gradients of what is linear in its elements are its adjoint", () => {
    const linear: Record<string, (x: Tensor, axis: number) => Tensor> = {
      slice: (x, axis) => x.slice(...x.shape.map((n, i) => (i === axis ? ([0, n, 2] as const) : null))),
      pad: (x) =>
        pad(
          x,
          x.shape.map(() => [1, 2] as const),
        ),
      "pad, reflecting": (x) =>
        pad(
          x,
          x.shape.map((n) => [n - 1, 0] as const),
          { mode: "reflect" },
        ),
      flip: (x, axis) => x.flip(axis),
      roll: (x, axis) => x.roll(3, axis),
      repeat: (x) => x.repeat([2, ...x.shape.map(() => 2)]),
      repeatInterleave: (x, axis) => x.repeatInterleave(3, axis),
      indexSelect: (x, axis) => x.indexSelect(axis, [0, x.shape[axis] - 1, 0]),
      split: (x, axis) => concat(x.split(2, axis).reverse(), axis),
      stack: (x, axis) => stack([x, x, x], axis),
      cumsum: (x, axis) => x.cumsum(axis),
      mean: (x, axis) => x.mean(axis).mul(x.shape[axis]),
      sum: (x, axis) => x.sum(axis),
      permute: (x) => x.permute([...x.shape.keys()].reverse()),
      broadcastTo: (x) => x.broadcastTo([2, ...x.shape]),
    };
    for (const [name, apply] of Object.entries(linear))
      it(name, () => {
        check(withAxis(1), ({ x, axis }) => {
          const leaf = tensorOf(x).requireGrad();
          const y = apply(leaf, axis);
          const weights = tensor(
            Array.from({ length: y.size }, (_, i) => (i % 7) - 3),
            { shape: y.shape, dtype: "float32" },
          );
          y.backward(weights);
          const forward = y.detach().mul(weights).sum().item();
          // Means of 3 elements round; everything else is exact.
          expect(leaf.grad!.mul(leaf.detach()).sum().item()).to.be.closeTo(forward, 1e-4);
          leaf.clearGrad();
        });
      });
  });
});
