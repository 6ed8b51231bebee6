// What plans rewrite: results written straight to their targets, concatenations joined in place, memory taken over; and each
// reason not to. Every program computes the same as its commands do one by one.

import { expect } from "chai";
import type { Operand } from "../../../ts/device/executor.ts";
import { ops } from "../../../ts/ops/index.ts";
import type { RecordedProgram } from "../../../ts/plan/recorded.ts";
import { listsOf } from "../../../ts/plan/recorded.ts";
import { Sketch, namesOf, placedProgram, reshaped, rows } from "../sketch.ts";

/** The commands of the rewritten program; what the sketch returns are its outputs. */
function rewritten(draw: (s: Sketch) => readonly Operand[] | void): string[] {
  const sketch = new Sketch();
  const outputs = draw(sketch) ?? [];
  return namesOf(placedProgram(sketch, ...outputs));
}

/** The first command of the rewritten program with this name. */
function commandIn(program: RecordedProgram, name: string) {
  return listsOf(program.nodes)
    .flatMap(({ commands }) => commands)
    .find(({ op }) => op.name === name)!;
}

const expectStraight = (draw: (s: Sketch) => readonly Operand[] | void): void => {
  expect(rewritten(draw)).not.to.include("assign");
};
const expectCopied = (draw: (s: Sketch) => readonly Operand[] | void): void => {
  expect(rewritten(draw)).to.include("assign");
};

describe("placement: a result goes straight to where it would be copied", () => {
  it("in memory from outside, and in the plan's own", () => {
    const s = new Sketch();
    const target = s.given(2, 3);
    s.assign(target, s.run(ops.exp, [s.given(2, 3)]));
    const placed = placedProgram(s);
    expect(namesOf(placed)).to.deep.equal(["exp"]);
    expect(commandIn(placed, "exp").output).to.deep.equal(target);
    expectStraight((s) => {
      const target = s.memory([4]);
      s.assign(target, s.run(ops.exp, [s.given(4)]));
      return [target];
    });
  });

  it("as a part of the target, and under another shape", () => {
    const s = new Sketch();
    const target = s.given(5, 3);
    const source = s.run(ops.exp, [s.given(6)]);
    s.assign(rows(target, 2, 4), reshaped(source, 2, 3));
    expect(commandIn(placedProgram(s), "exp").output).to.deep.include({ buffer: target.buffer, offset: 6, shape: [6] });
  });

  it("where it was read before it is copied", () => {
    expectStraight((s) => {
      const source = s.run(ops.exp, [s.given(4)]);
      const other = s.run(ops.neg, [source]);
      s.assign(s.given(4), source);
      return [other];
    });
  });

  it("where its own op reads the target in the same places and may replace it", () => {
    expectStraight((s) => {
      const target = s.given(4);
      s.assign(target, s.run(ops.mul, [s.given(4), target]));
    });
    expectStraight((s) => {
      const target = s.given(4);
      s.assign(target, s.run(ops.mul, [target, target]));
    });
  });

  it("not where its own op reads the target in other places, or may not replace it", () => {
    expectCopied((s) => {
      const target = s.given(4);
      s.assign(target, s.run(ops.flip, [target], { axes: [0] }));
    });
    expectCopied((s) => {
      const target = s.given(2, 3);
      s.assign(target, s.run(ops.mul, [target, rows(target, 0, 1)]));
    });
    expectCopied((s) => {
      const target = s.given(5);
      s.assign(rows(target, 1, 5), s.run(ops.neg, [rows(target, 0, 4)]));
    });
  });

  it("not where the target is read or written in between, in a part of it", () => {
    expectCopied((s) => {
      const target = s.given(4);
      const source = s.run(ops.exp, [s.given(4)]);
      const other = s.run(ops.neg, [target]);
      s.assign(target, source);
      return [other];
    });
    expectCopied((s) => {
      const target = s.given(4);
      const source = s.run(ops.exp, [s.given(2)]);
      const other = s.run(ops.neg, [rows(target, 1, 3)]);
      s.assign(rows(target, 0, 2), source);
      return [other];
    });
    expectCopied((s) => {
      const target = s.given(4);
      const source = s.run(ops.exp, [s.given(4)]);
      s.write(ops.accumulate, rows(target, 3, 4), s.given(1));
      s.assign(target, source);
    });
  });

  it("where only the rest of the target's memory is read in between", () => {
    for (const [from, rest] of [
      [0, 2],
      [2, 0],
    ])
      expectStraight((s) => {
        const target = s.given(4);
        const source = s.run(ops.exp, [s.given(2)]);
        const other = s.run(ops.neg, [rows(target, rest, rest + 2)]);
        s.assign(rows(target, from, from + 2), source);
        return [other];
      });
  });

  it("not where the source is used later, is a result, or is written to again", () => {
    expectCopied((s) => {
      const target = s.given(4);
      const source = s.run(ops.exp, [s.given(4)]);
      s.assign(target, source);
      s.write(ops.accumulate, target, s.given(4));
      return [s.run(ops.neg, [source])];
    });
    expectCopied((s) => {
      const source = s.run(ops.exp, [s.given(4)]);
      s.assign(s.given(4), source);
      return [source];
    });
    expectCopied((s) => {
      const source = s.run(ops.exp, [s.given(4)]);
      s.write(ops.accumulate, source, s.given(4));
      s.assign(s.given(4), source);
    });
  });

  it("not where the source comes from outside, from the host, or from another list", () => {
    expectCopied((s) => {
      s.assign(s.given(4), s.given(4));
    });
    expectCopied((s) => {
      s.assign(s.given(4), s.constant(4));
    });
    expectCopied((s) => {
      const { table } = s.table(4);
      s.assign(s.given(4), reshaped(table, 4));
    });
    expectCopied((s) => {
      const target = s.given(4);
      let source = target;
      s.loop(2, () => (source = s.run(ops.exp, [s.given(4)])));
      s.assign(target, source);
    });
    expectCopied((s) => {
      const target = s.given(4);
      const source = s.run(ops.exp, [s.given(4)]);
      s.loop(2, () => {
        s.write(ops.accumulate, target, target);
        s.assign(target, source);
      });
    });
  });

  it("from a row of a table, which is another one in each run", () => {
    const names = rewritten((s) => {
      const sum = s.memory([4]);
      s.assign(sum, s.given(4));
      s.loop(4, () => {
        const { table, number } = s.table(4);
        const row = s.run(ops.row, [table], { index: 0 }, undefined, [{ attribute: "index", number }]);
        s.assign(sum, s.run(ops.add, [s.run(ops.mul, [sum, s.given(4)]), row]));
      });
      return [sum];
    });
    expect(names).to.deep.equal(["assign", "row", "mul", "add"]);
  });

  it("not where the source is a part of what its op made, or was made in parts", () => {
    expectCopied((s) => {
      s.assign(s.given(2), rows(s.run(ops.exp, [s.given(4)]), 1, 3));
    });
    expectCopied((s) => {
      const source = s.memory([4]);
      s.run(ops.exp, [s.given(2)], {}, rows(source, 0, 2));
      s.run(ops.neg, [s.given(2)], {}, rows(source, 2, 4));
      s.assign(s.given(4), source);
    });
  });

  it("not where the target's rows are spaced", () => {
    expectCopied((s) => {
      const whole = s.given(3, 5);
      s.assign({ ...whole, shape: [3, 2] }, s.run(ops.exp, [s.given(6)].map((x) => reshaped(x, 3, 2)))); // prettier-ignore
    });
  });

  it("one after the other where several go to one target", () => {
    expectStraight((s) => {
      const target = s.given(4);
      s.assign(target, s.run(ops.exp, [s.given(4)]));
      const seen = s.run(ops.neg, [target]);
      s.assign(target, s.run(ops.exp, [target]));
      return [seen];
    });
    const names = rewritten((s) => {
      const target = s.given(4);
      const [first, second] = [s.run(ops.exp, [s.given(4)]), s.run(ops.neg, [s.given(4)])];
      s.assign(target, first);
      const seen = s.run(ops.square, [target]);
      s.assign(target, second);
      return [seen];
    });
    expect(names).to.deep.equal(["exp", "neg", "square", "assign"]);
  });

  it("inside loops", () => {
    const names = rewritten((s) => {
      const state = s.memory([4]);
      s.assign(state, s.given(4));
      s.loop(5, () => {
        s.assign(state, s.run(ops.sin, [s.run(ops.mul, [state, s.given(4)])]));
      });
      return [state];
    });
    expect(names).to.deep.equal(["assign", "mul", "sin"]);
  });

  it("and a concatenation, too", () => {
    expectStraight((s) => {
      const parts = [s.run(ops.exp, [s.given(2, 3)]), s.run(ops.neg, [s.given(2, 2)])];
      s.assign(s.given(2, 5), s.concat(1, ...parts));
    });
    // Its parts are made before the target is read.
    const names = rewritten((s) => {
      const target = s.given(2, 5);
      const parts = [s.run(ops.exp, [s.given(2, 3)]), s.run(ops.neg, [s.given(2, 2)])];
      const seen = s.run(ops.sin, [target]);
      s.assign(target, s.concat(1, ...parts));
      return [seen];
    });
    expect(names).to.deep.equal(["exp", "neg", "sin", "concat"]);
  });
});

describe("placement: parts of a concatenation are computed in their place", () => {
  const expectJoined = (expected: boolean, draw: (s: Sketch) => readonly Operand[] | void): void => {
    expect(rewritten(draw).includes("concat")).to.equal(!expected);
  };

  it("as columns of the whole, and nothing is copied", () => {
    const s = new Sketch();
    const parts = [s.run(ops.exp, [s.given(2, 4, 3)]), s.run(ops.neg, [s.given(2, 4, 2)])];
    const whole = s.concat(-1, ...parts);
    const placed = placedProgram(s, s.run(ops.sin, [whole]));
    expect(namesOf(placed)).to.deep.equal(["exp", "neg", "sin"]);
    expect(commandIn(placed, "exp").output).to.deep.include({ buffer: whole.buffer, offset: 0, pitch: 5 });
    expect(commandIn(placed, "neg").output).to.deep.include({ buffer: whole.buffer, offset: 3, pitch: 5 });
  });

  it("where others read them, too, before and afterwards", () => {
    expectJoined(true, (s) => {
      const part = s.run(ops.exp, [s.given(3, 2)]);
      const early = s.run(ops.neg, [part]);
      const whole = s.concat(1, part, s.run(ops.square, [s.given(3, 1)]));
      return [early, s.run(ops.sum, [whole], { axes: [0, 1], keepDims: false }), s.run(ops.sin, [part])];
    });
  });

  it("in part, where others come from outside, from the host, or from another list", () => {
    for (const other of [
      (s: Sketch) => s.given(3, 2),
      (s: Sketch) => s.constant(3, 2),
      (s: Sketch) => reshaped(s.table(6).table, 3, 2),
      (s: Sketch) => {
        let made: Operand | undefined;
        s.loop(2, () => (made = s.run(ops.exp, [s.given(3, 2)])));
        return made!;
      },
    ]) {
      const s = new Sketch();
      const part = other(s);
      const whole = s.concat(1, part, s.run(ops.neg, [s.given(3, 3)]));
      const placed = placedProgram(s, whole);
      expect(namesOf(placed)).to.include("concat");
      expect(commandIn(placed, "concat").inputs[0]).to.deep.include({ buffer: part.buffer, pitch: 2 });
      expect(commandIn(placed, "neg").output).to.deep.include({ buffer: whole.buffer, offset: 2, pitch: 5 });
    }
  });

  it("not along another axis", () => {
    const s = new Sketch();
    const parts = [s.run(ops.exp, [s.given(2, 3)]), s.run(ops.neg, [s.given(1, 3)])];
    const placed = placedProgram(s, s.concat(0, ...parts));
    expect(commandIn(placed, "exp").output).to.deep.equal(parts[0]);
    expect(namesOf(placed)).to.deep.equal(["exp", "neg", "concat"]);
  });

  it("the inner of two that are nested: rows are spaced once", () => {
    const s = new Sketch();
    const inner = s.concat(1, s.run(ops.exp, [s.given(3, 2)]), s.run(ops.neg, [s.given(3, 1)]));
    const outer = s.concat(1, s.run(ops.square, [s.given(3, 4)]), inner);
    const placed = placedProgram(s, outer);
    expect(namesOf(placed)).to.deep.equal(["exp", "neg", "square", "concat"]);
    expect(commandIn(placed, "exp").output).to.deep.include({ buffer: inner.buffer, pitch: 3 });
    expect(commandIn(placed, "square").output).to.deep.include({ buffer: outer.buffer, pitch: 7 });
  });

  it("for one of two concatenations that share it, and for one of two places", () => {
    const s = new Sketch();
    const shared = s.run(ops.exp, [s.given(3, 2)]);
    const first = s.concat(1, shared, s.run(ops.neg, [s.given(3, 1)]));
    const second = s.concat(1, s.run(ops.sin, [s.given(3, 1)]), shared);
    expect(namesOf(placedProgram(s, first, second))).to.deep.equal(["exp", "neg", "sin", "concat"]);
    expectJoined(false, (s) => {
      const twice = s.run(ops.exp, [s.given(3, 2)]);
      return [s.concat(1, twice, twice), s.run(ops.neg, [twice])];
    });
  });

  it("where views of it keep its rows: of other leading axes, of some rows", () => {
    expectJoined(true, (s) => {
      const part = s.run(ops.exp, [s.given(2, 3, 2)]);
      const whole = s.concat(2, part, s.run(ops.neg, [s.given(2, 3, 1)]));
      return [whole, s.run(ops.sin, [reshaped(part, 6, 2)]), s.run(ops.cos, [rows(part, 1, 2)])];
    });
    expectJoined(true, (s) => {
      const flat = s.run(ops.exp, [s.given(6, 2)]);
      return [s.concat(2, reshaped(flat, 2, 3, 2), s.run(ops.neg, [s.given(2, 3, 1)]))];
    });
    // A row alone is adjacent wherever it lies, and so is a piece of one.
    expectJoined(true, (s) => {
      const part = s.run(ops.exp, [s.given(3, 4)]);
      const whole = s.concat(1, part, s.run(ops.neg, [s.given(3, 1)]));
      return [whole, s.run(ops.sin, [{ ...reshaped(part, 2, 1), shape: [2], pitch: 2, offset: 5 }])];
    });
  });

  it("not where a view of it would break: flat, or with other columns", () => {
    expectJoined(false, (s) => {
      const part = s.run(ops.exp, [s.given(3, 2)]);
      return [s.concat(1, part, s.run(ops.neg, [s.given(3, 1)])), s.run(ops.sin, [reshaped(part, 6)])];
    });
    expectJoined(false, (s) => {
      const part = s.run(ops.exp, [s.given(3, 2)]);
      return [s.concat(1, part, s.run(ops.neg, [s.given(3, 1)])), s.run(ops.sin, [reshaped(part, 2, 3)])];
    });
    expectJoined(false, (s) => {
      const made = s.run(ops.exp, [s.given(6)]);
      return [s.concat(1, reshaped(made, 3, 2), s.run(ops.neg, [s.given(3, 1)]))];
    });
    expectJoined(false, (s) => {
      const made = s.run(ops.exp, [s.given(3, 2)]);
      return [s.concat(1, made, s.run(ops.neg, [s.given(3, 1)])), reshaped(made, 6)];
    });
  });

  it("where it is a result, which then lies in spaced rows", () => {
    const s = new Sketch();
    const part = s.run(ops.exp, [s.given(3, 2)]);
    const whole = s.concat(1, part, s.run(ops.neg, [s.given(3, 1)]));
    const placed = placedProgram(s, part, whole);
    expect(namesOf(placed)).not.to.include("concat");
    expect(placed.outputs[0]).to.deep.include({ buffer: whole.buffer, pitch: 3 });
  });

  it("not where something else writes to it, or to the whole", () => {
    expectJoined(false, (s) => {
      const part = s.run(ops.exp, [s.given(3, 2)]);
      const whole = s.concat(1, part, s.run(ops.neg, [s.given(3, 1)]));
      s.write(ops.accumulate, part, s.given(3, 2));
      return [whole, part];
    });
    expectJoined(false, (s) => {
      const part = s.run(ops.exp, [s.given(3, 2)]);
      const whole = s.concat(1, part, s.run(ops.neg, [s.given(3, 1)]));
      s.write(ops.accumulate, whole, s.given(3, 3));
      return [whole, part];
    });
    expectJoined(false, (s) => {
      const part = s.memory([4, 2]);
      s.run(ops.fill, [], { shape: [4, 2], dtype: "float32", value: 1 }, part);
      const rest = s.run(ops.exp, [s.given(4)]);
      s.assign(rows(part, 1, 3), reshaped(rest, 2, 2));
      return [s.concat(1, part, s.run(ops.neg, [s.given(4, 1)]))];
    });
    expectJoined(false, (s) => {
      const part = s.run(ops.exp, [s.given(3, 2)]);
      const whole = s.concat(1, part, s.run(ops.neg, [s.given(3, 1)]));
      const made = s.run(ops.square, [s.given(3, 3)]);
      const seen = s.run(ops.sin, [part]);
      s.assign(whole, made);
      return [whole, seen];
    });
  });

  it("inside loops, also for what is used after them", () => {
    expectJoined(true, (s) => {
      const state = s.memory([3, 3]);
      s.assign(state, s.given(3, 3));
      let whole = state;
      s.loop(4, () => {
        const part = s.run(ops.sin, [state]);
        whole = s.concat(1, part, s.run(ops.neg, [s.given(3, 1)]));
        s.assign(state, s.run(ops.mul, [part, s.given(3, 3)]));
      });
      return [whole, state];
    });
  });
});

describe("placement: a result takes over the memory of an operand", () => {
  /** Whether the results of the last two commands lie in one place. */
  const takesOver = (draw: (s: Sketch) => readonly Operand[]): boolean => {
    const s = new Sketch();
    const placed = placedProgram(s, ...draw(s));
    const [before, last] = listsOf(placed.nodes)
      .flatMap(({ commands }) => commands)
      .slice(-2);
    return before.output!.buffer === last.output!.buffer;
  };

  it("that is not needed afterwards, one after the other", () => {
    expect(takesOver((s) => [s.run(ops.sin, [s.run(ops.exp, [s.given(4)])])])).to.equal(true);
    const s = new Sketch();
    const end = s.run(ops.mul, [s.given(4), s.run(ops.sin, [s.run(ops.neg, [s.run(ops.exp, [s.given(4)])])])]);
    const placed = placedProgram(s, end);
    const lists = listsOf(placed.nodes).flatMap(({ commands }) => commands);
    expect(new Set(lists.map(({ output }) => output!.buffer)).size).to.equal(1);
    expect(placed.outputs[0].buffer).to.equal(lists[0].output!.buffer);
  });

  it("that is all of its operands", () => {
    expect(
      takesOver((s) => {
        const x = s.run(ops.exp, [s.given(4)]);
        return [s.run(ops.mul, [x, x])];
      }),
    ).to.equal(true);
  });

  it("under another shape of the same elements only where the shapes are equal", () => {
    expect(takesOver((s) => [s.run(ops.sin, [reshaped(s.run(ops.exp, [s.given(2, 3)]), 6)])])).to.equal(true);
  });

  it("in loops, of what is made there", () => {
    const s = new Sketch();
    const state = s.memory([4]);
    s.assign(state, s.given(4));
    let [made, last] = [state, state];
    s.loop(3, () => {
      made = s.run(ops.sin, [state]);
      last = s.run(ops.neg, [made]);
      s.assign(state, s.run(ops.mul, [last, s.given(4)]));
    });
    const placed = placedProgram(s, state);
    expect(commandIn(placed, "neg").output!.buffer).to.equal(commandIn(placed, "sin").output!.buffer);
  });

  it("not of one that is used later, or is a result", () => {
    expect(
      takesOver((s) => {
        const x = s.run(ops.exp, [s.given(4)]);
        return [x, s.run(ops.sin, [x])];
      }),
    ).to.equal(false);
    const s = new Sketch();
    const x = s.run(ops.exp, [s.given(4)]);
    const y = s.run(ops.sin, [x]);
    const placed = placedProgram(s, y, s.run(ops.sum, [x], { axes: [0], keepDims: false }));
    expect(placed.outputs[0].buffer).not.to.equal(x.buffer);
  });

  it("not of one that another operand reads at other places", () => {
    expect(
      takesOver((s) => {
        const x = s.run(ops.exp, [s.given(3, 4)]);
        return [s.run(ops.mul, [x, reshaped(rows(x, 0, 1), 4)])];
      }),
    ).to.equal(false);
    expect(
      takesOver((s) => {
        const x = s.run(ops.exp, [s.given(3, 3)]);
        return [s.run(ops.mul, [x, reshaped(rows(x, 1, 2), 3, 1)])];
      }),
    ).to.equal(false);
    expect(
      takesOver((s) => {
        const x = s.run(ops.exp, [s.given(4)]);
        return [s.run(ops.mul, [x, reshaped(x, 1, 4)])];
      }),
    ).to.equal(false);
  });

  it("not of one that another operand reads that the op may not replace", () => {
    expect(ops.addNoise.inPlace).to.deep.equal([0, 1]);
    expect(
      takesOver((s) => {
        const t = s.run(ops.fill, [], { shape: [3], dtype: "int32", value: 1 });
        const x = s.run(ops.exp, [s.given(3, 2)]);
        return [s.run(ops.addNoise, [x, s.given(3, 2), t, x])];
      }),
    ).to.equal(false);
  });

  it("not of one from outside its loop, which the next iteration reads", () => {
    const s = new Sketch();
    const x = s.run(ops.exp, [s.given(4)]);
    const sum = s.memory([4]);
    s.assign(sum, s.given(4));
    s.loop(3, () => {
      s.write(ops.accumulate, sum, s.run(ops.sin, [x]));
    });
    const placed = placedProgram(s, sum);
    expect(commandIn(placed, "sin").output!.buffer).not.to.equal(x.buffer);
  });

  it("not of one from outside its loop, also in the loop's last command", () => {
    const s = new Sketch();
    const x = s.run(ops.exp, [s.given(4)]);
    const sum = s.memory([4]);
    s.assign(sum, s.given(4));
    let y = x;
    s.loop(3, () => {
      s.write(ops.accumulate, sum, x);
      y = s.run(ops.sin, [x]);
    });
    expect(placedProgram(s, sum, y).outputs[1].buffer).to.equal(y.buffer);
  });

  it("not into memory that was in use before", () => {
    const s = new Sketch();
    const memory = s.memory([4]);
    const x = s.run(ops.exp, [s.given(4)]);
    s.run(ops.neg, [s.given(4)], {}, memory);
    const seen = s.run(ops.flip, [memory], { axes: [0] });
    s.run(ops.sin, [x], {}, memory);
    expect(placedProgram(s, seen, memory).outputs[1].buffer).to.equal(memory.buffer);
  });

  it("not of one from an inner loop, which ended", () => {
    const s = new Sketch();
    let x: Operand | undefined;
    s.loop(2, () => (x = s.run(ops.exp, [s.given(4)])));
    const y = s.run(ops.sin, [x!]);
    expect(placedProgram(s, y).outputs[0].buffer).to.equal(y.buffer);
  });

  it("not of memory from outside, of constants, and of tables", () => {
    for (const source of [
      (s: Sketch) => s.given(4),
      (s: Sketch) => s.constant(4),
      (s: Sketch) => reshaped(s.table(4).table, 4),
    ]) {
      const s = new Sketch();
      const x = source(s);
      const y = s.run(ops.sin, [x]);
      expect(placedProgram(s, y).outputs[0].buffer).to.equal(y.buffer);
    }
  });

  it("not of one that is broadcast, of another dtype, a part of its memory or more of it", () => {
    expect(takesOver((s) => [s.run(ops.mul, [s.run(ops.exp, [s.given(4)]), s.given(3, 4)])])).to.equal(false);
    expect(
      takesOver((s) => {
        const mask = s.run(ops.less, [s.given(4), s.given(4)]);
        return [s.run(ops.where, [mask, s.given(4), s.given(4)])];
      }),
    ).to.equal(false);
    expect(takesOver((s) => [s.run(ops.sin, [rows(s.run(ops.exp, [s.given(4)]), 1, 3)])])).to.equal(false);
    expect(
      takesOver((s) => {
        const memory = s.memory([8]);
        const x = s.run(ops.exp, [s.given(4)]);
        s.run(ops.fill, [], { shape: [4], dtype: "float32", value: 1 }, rows(memory, 4, 8));
        s.run(ops.neg, [s.given(4)]);
        s.run(ops.sin, [x], {}, rows(memory, 0, 4));
        return [memory];
      }),
    ).to.equal(false);
  });

  it("not by an op that cannot", () => {
    expect(takesOver((s) => [s.run(ops.flip, [s.run(ops.exp, [s.given(4)])], { axes: [0] })])).to.equal(false);
    expect(takesOver((s) => [s.run(ops.softmax, [s.run(ops.exp, [s.given(2, 4)])], { axis: -1 })])).to.equal(false);
  });

  it("of a part of a concatenation neither, nor of the whole while a part is needed", () => {
    const s = new Sketch();
    const part = s.run(ops.exp, [s.given(3, 2)]);
    const whole = s.concat(1, part, s.run(ops.neg, [s.given(3, 1)]));
    const later = s.run(ops.sin, [whole]);
    const last = s.run(ops.cos, [part]);
    const placed = placedProgram(s, later, last);
    expect(commandIn(placed, "sin").output!.buffer).to.equal(later.buffer);
    expect(commandIn(placed, "cos").output!.buffer).to.equal(last.buffer);
  });
});
