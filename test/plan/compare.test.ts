// Whether two recordings are the same program: every way in which they can differ is found, and told in words.

import { expect } from "chai";
import type { Operand } from "../../ts/device/executor.ts";
import { PerStep, ops } from "../../ts/ops/index.ts";
import type { Stretch } from "../../ts/plan/compare.ts";
import { difference } from "../../ts/plan/compare.ts";
import type { RecordedCommand, RecordedNode } from "../../ts/plan/recorded.ts";
import { Sketch, reshaped, rows } from "./sketch.ts";

/** What a sketch records. */
function recorded(draw: (s: Sketch) => readonly Operand[] | void): Stretch {
  const s = new Sketch();
  const outputs = draw(s) ?? [];
  const { nodes, buffers } = s.program();
  return { nodes, buffers, firstBuffer: 0, outputs };
}

/** How two programs differ: `op: what`, or undefined. It is the same the other way round. */
function compared(a: (s: Sketch) => readonly Operand[] | void, b: typeof a): string | undefined {
  const found = difference(recorded(a), recorded(b));
  const back = difference(recorded(b), recorded(a));
  expect(back?.op === undefined).to.equal(found?.op === undefined);
  return found && `${found.op}: ${found.what}`;
}

/** A program with a part that is another one for 1 and for 2. */
const expectDifference = (
  draw: (s: Sketch, version: number) => readonly Operand[] | void,
  expected: string | undefined,
): void => {
  for (const version of [1, 2])
    expect(
      compared(
        (s) => draw(s, version),
        (s) => draw(s, version),
      ),
    ).to.equal(undefined);
  const found = compared(
    (s) => draw(s, 1),
    (s) => draw(s, 2),
  );
  expect(found).to.equal(expected);
};

describe("comparison of recordings", () => {
  it("finds no difference where there is none: in lists, loops, data, results", () => {
    const draw = (s: Sketch): Operand[] => {
      const x = s.run(ops.exp, [s.given(3)]);
      s.loop(3, () => {
        s.loop(2, () => s.run(ops.add, [x, s.constant(3)]));
      });
      return [x, reshaped(x, 3, 1)];
    };
    expect(compared(draw, draw)).to.equal(undefined);
    expect(
      difference(
        { nodes: [], buffers: new Map(), firstBuffer: 0 },
        recorded(() => undefined),
      ),
    ).to.equal(undefined);
  });

  it("finds another op, one more, one less", () => {
    expectDifference(
      (s, version) => void s.run(version === 1 ? ops.exp : ops.neg, [s.given(3)]),
      "exp: the other one has neg in its place",
    );
    expectDifference((s, version) => {
      const x = s.run(ops.exp, [s.given(3)]);
      if (version === 2) s.run(ops.neg, [x]);
    }, "neg: it is there once and not the other time");
    expectDifference((s, version) => {
      if (version === 2) s.run(ops.exp, [s.given(3)]);
    }, "exp: it is there once and not the other time");
  });

  it("finds attributes of every kind: numbers, NaN, lists, flags, seeds", () => {
    const fill = { shape: [2], dtype: "float32" };
    expectDifference(
      (s, version) => void s.run(ops.fill, [], { ...fill, value: version }),
      "fill: value is 1 in one and 2 in the other",
    );
    expectDifference(
      (s, version) => void s.run(ops.fill, [], { ...fill, value: version === 1 ? NaN : 3 }),
      "fill: value is NaN in one and 3 in the other",
    );
    const zeros = [0, -0].map((value) => recorded((s) => void s.run(ops.fill, [], { ...fill, value })));
    expect(difference(zeros[0], zeros[1])?.op).to.equal("fill");
    expectDifference(
      (s, version) => void s.run(ops.flip, [s.given(2, 2)], { axes: [version - 1] }),
      "flip: axes is [0] in one and [1] in the other",
    );
    expectDifference(
      (s, version) => void s.run(ops.sum, [s.given(1, 1)], { axes: [0, 1].slice(0, version), keepDims: true }),
      "sum: axes is [0] in one and [0, 1] in the other",
    );
    expectDifference((s, version) => {
      const at = { draw: 1, image: 0, step: 0 };
      s.run(ops.dropout, [s.given(2)], { p: 0.5, seed: BigInt(version), ...at });
    }, "dropout: seed is 1n in one and 2n in the other");
  });

  it("finds operands of other shape, dtype and place, and names them", () => {
    expectDifference(
      (s, version) => void s.run(ops.exp, [version === 1 ? s.given(2, 3) : s.given(3, 2)]),
      "exp: x is float32 [2, 3] in one and float32 [3, 2] in the other",
    );
    expectDifference((s, version) => {
      const x = s.given(2);
      const [dtype, ...rest] = version === 1 ? (["float32"] as const) : (["int32"] as const);
      s.run(ops.neg, [{ ...x, dtype }, ...rest]);
    }, "neg: x is float32 [2] in one and int32 [2] in the other");
    expectDifference((s, version) => {
      const x = s.given(4);
      s.run(ops.mul, [rows(x, 0, 2), rows(x, version, version + 2)]);
    }, "mul: b lies elsewhere");
    expectDifference((s, version) => {
      const x = s.given(2, 6);
      s.run(ops.exp, [{ ...x, shape: [2, 2], pitch: 2 + version }]);
    }, "exp: x lies elsewhere");
    expectDifference((s, version) => {
      const [x, y] = [s.given(4), s.given(4)];
      s.run(ops.mul, [x, version === 1 ? x : y]);
    }, "mul: b is another tensor in each");
    expectDifference((s, version) => {
      const [x, y] = [s.given(4), s.given(4)].map((z) => s.run(ops.exp, [z]));
      s.run(ops.mul, [version === 1 ? x : y, y]);
    }, "mul: a is another tensor in each");
    expectDifference((s, version) => {
      s.concat(0, ...[s.given(1), s.given(1), s.given(1)].slice(0, version + 1));
    }, "concat: it has 2 and 3 operands");
    expectDifference((s, version) => {
      const [x, weight, bias] = [s.given(1, 2, 2, 1), s.given(1, 1, 1, 1), s.given(1)];
      const attributes = { stride: [1, 1], padding: [0, 0, 0, 0], dilation: [1, 1] };
      const operands = version === 1 ? [x, weight, bias] : [x, weight, undefined as unknown as Operand];
      s.run(ops.conv2d, operands, attributes);
    }, "conv2d: bias is there once and not the other time");
  });

  it("finds results that lie in other memory, or in memory of another size", () => {
    expectDifference((s, version) => {
      const [a, b] = [s.memory([3]), s.memory([3])];
      s.run(ops.exp, [s.given(3)], {}, version === 1 ? a : b);
    }, "exp: the result is another tensor in each");
    expectDifference((s, version) => {
      const memory = s.memory([3 + version]);
      s.run(ops.exp, [s.given(3)], {}, reshaped(memory, 3));
    }, "exp: the result is of different size");
  });

  it("finds host data that differ: in a number, in its sign, in its place, in how many there are", () => {
    const expectData = (draw: (version: number) => { byteOffset: number; elements: Float32Array }[]): void => {
      expectDifference((s, version) => {
        s.run(ops.exp, [s.memory([3], "float32", draw(version))]);
      }, "exp: x holds host data that differ");
    };
    const elements = (...values: number[]): Float32Array => Float32Array.from(values);
    expectData((version) => [{ byteOffset: 0, elements: elements(1, 2, version) }]);
    expectData((version) => [{ byteOffset: 0, elements: elements(1, version === 1 ? 0 : -0, NaN) }]);
    expectData((version) => [{ byteOffset: 4 * version, elements: elements(5) }]);
    expectData((version) => [{ byteOffset: 0, elements: elements(...[5, 6].slice(0, version)) }]);
    expectData((version) => Array.from({ length: version }, (_, i) => ({ byteOffset: 4 * i, elements: elements(7) })));
  });

  it("finds loops that run otherwise, begin otherwise, or are none", () => {
    const body = (s: Sketch): void => void s.run(ops.exp, [s.given(3)]);
    expectDifference((s, version) => {
      s.loop(1 + version, () => {
        body(s);
      });
    }, "repeat: it runs 2 and 3 times");
    expectDifference((s, version) => {
      if (version === 1) body(s);
      else
        s.loop(1, () => {
          body(s);
        });
    }, "repeat: one has a loop more");
    expectDifference((s, version) => {
      body(s);
      if (version === 2)
        s.loop(1, () => {
          body(s);
        });
    }, "repeat: one has a loop more");
    expectDifference((s, version) => {
      s.loop(2, () => {
        s.run(version === 1 ? ops.exp : ops.neg, [s.given(3)]);
      });
    }, "exp: the other one has neg in its place");
    const loopFrom = (first: number): Stretch => {
      const s = new Sketch();
      body(s);
      const nodes: RecordedNode[] = [{ times: 2, first, index: { value: 0 }, body: s.program().nodes }];
      return { nodes, buffers: s.buffers, firstBuffer: 0 };
    };
    expect(difference(loopFrom(1), loopFrom(1))).to.equal(undefined);
    expect(difference(loopFrom(1), loopFrom(2))!.op).to.equal("repeat");
  });

  it("finds results that are more, others, or in another shape", () => {
    expectDifference(
      (s, version) => [s.run(ops.exp, [s.given(3)]), s.given(3)].slice(0, version),
      "capture: there are 1 results in one and 2 in the other",
    );
    expectDifference((s, version) => {
      const results = [s.run(ops.exp, [s.given(3)]), s.run(ops.neg, [s.given(3)])];
      return version === 1 ? results : results.reverse();
    }, "capture: result 0 is another tensor in each");
    expectDifference((s, version) => {
      const result = s.run(ops.exp, [s.given(6)]);
      return [result, version === 1 ? result : reshaped(result, 3, 2)];
    }, "capture: result 1 is float32 [6] in one and float32 [3, 2] in the other");
  });

  describe("numbers of steps", () => {
    /** A program that counts two numbers, of which `row` takes one. */
    const counting = (which: (numbers: readonly PerStep[]) => RecordedCommand["perStep"], actions = 1): Stretch =>
      recorded((s) => {
        const numbers = [new PerStep(1), new PerStep(2)];
        for (let i = 0; i < actions; i++) s.list().actions.push({ numbers: i === 0 ? numbers : [], run: () => [1, 2] });
        s.run(ops.row, [s.given(4, 2)], { index: 1 }, undefined, which(numbers));
      });
    const first = (numbers: readonly PerStep[]) => [{ attribute: "index", number: numbers[0] }];
    const second = (numbers: readonly PerStep[]) => [{ attribute: "index", number: numbers[1] }];

    it("are alike where they come from the same place, whatever their values", () => {
      const other = counting(first);
      const [list] = other.nodes;
      if ("commands" in list) list.commands[0] = { ...list.commands[0], attributes: { index: 0 } };
      expect(difference(counting(first), other)).to.equal(undefined);
    });

    it("differ where they come from different counts, or in one recording only", () => {
      const expected = { op: "row", layer: "", what: "a number comes from different counts" };
      expect(difference(counting(first), counting(second))).to.deep.equal(expected);
      expect(
        difference(
          counting(first),
          counting(() => []),
        ),
      ).to.deep.equal(expected);
      const elsewhere = counting((numbers) => [{ attribute: "rows", number: numbers[0] }]);
      expect(difference(counting(first), elsewhere)).to.deep.equal(expected);
      const stranger = new PerStep(1);
      expect(
        difference(
          counting(first),
          counting(() => [{ attribute: "index", number: stranger }]),
        ),
      ).to.deep.equal(expected);
    });

    it("are the same object in both for what was counted before", () => {
      const outer = new PerStep(3);
      const fromOutside = (): Stretch => counting(() => [{ attribute: "index", number: outer }]);
      expect(difference(fromOutside(), fromOutside())).to.equal(undefined);
    });

    it("are as many", () => {
      expect(difference(counting(first), counting(first, 2))).to.deep.equal({
        op: "row",
        layer: "",
        what: "one counts more than the other",
      });
    });
  });

  it("takes buffers of both stretches for the same by when they were made, and those from before by themselves", () => {
    const s = new Sketch();
    const before = [s.memory([3]), s.memory([3])];
    const stretch = (input: Operand): Stretch => {
      const firstBuffer = s.buffers.size;
      const inner = new Sketch();
      inner.run(ops.neg, [inner.run(ops.exp, [input], {}, s.memory([3]))], {}, s.memory([3]));
      return { nodes: inner.program().nodes, buffers: s.buffers, firstBuffer };
    };
    expect(difference(stretch(before[0]), stretch(before[0]))).to.equal(undefined);
    expect(difference(stretch(before[0]), stretch(before[1]))!.what).to.equal("x is another tensor in each");
    // What one stretch made is no tensor of the other one.
    const first = stretch(before[0]);
    const made = s.memory([3]);
    expect(difference(first, stretch(made))!.what).to.equal("x is another tensor in each");
  });

  it("names the layer", () => {
    const inLayer = (op: typeof ops.exp): Stretch => {
      const s = recorded((sketch) => void sketch.run(op, [sketch.given(3)]));
      const [list] = s.nodes;
      if ("commands" in list) list.commands[0] = { ...list.commands[0], layer: "net.mid" };
      return s;
    };
    expect(difference(inLayer(ops.exp), inLayer(ops.neg))!.layer).to.equal("net.mid");
  });
});
