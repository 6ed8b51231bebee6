// From when to when buffers of programs written by hand are in use: in a row, in loops and across them, and as results.

import { expect } from "chai";
import type { Operand } from "../../ts/device/executor.ts";
import { ops } from "../../ts/ops/index.ts";
import { lifetimes, placeCommands } from "../../ts/plan/lifetimes.ts";
import { Sketch, planOf } from "./sketch.ts";

/** The lives of operands' buffers as `start-end`, of a program whose results are `outputs`. */
function lives(s: Sketch, operands: readonly Operand[], ...outputs: Operand[]): string[] {
  const program = s.program(...outputs);
  const all = lifetimes(placeCommands(program.nodes), program.outputs);
  return operands.map(({ buffer }) => {
    const life = all.get(buffer);
    return life ? `${life.start}-${life.end}` : "none";
  });
}

const exp = (s: Sketch, x: Operand): Operand => s.run(ops.exp, [x]);

/** Commands that have nothing to do with the rest. */
const idle = (s: Sketch, count = 1): void => {
  for (let i = 0; i < count; i++) s.write(ops.accumulate, s.given(1), s.given(1));
};

describe("lifetimes", () => {
  it("last from the first to the last use, those of results to the end", () => {
    const s = new Sketch();
    const x = s.given(4);
    const a = exp(s, x); // 0
    const b = exp(s, a); // 1
    idle(s); // 2
    const c = s.run(ops.add, [a, b]); // 3
    idle(s, 2); // 4, 5
    expect(lives(s, [a, b, c], c)).to.deep.equal(["0-3", "1-3", "3-6"]);
    expect(lives(s, [x, a], a)).to.deep.equal(["none", "0-6"]);
  });

  it("count memory that is written in place, and memory that nothing but one command uses", () => {
    const s = new Sketch();
    const target = s.memory([4]);
    s.assign(target, s.given(4)); // 0
    idle(s); // 1
    s.write(ops.accumulate, target, s.given(4)); // 2
    const unused = exp(s, s.given(4)); // 3
    expect(lives(s, [target, unused])).to.deep.equal(["0-2", "3-3"]);
  });

  it("of what is used inside of a loop alone end inside", () => {
    const s = new Sketch();
    idle(s); // 0
    let inner: Operand[] = [];
    s.loop(5, () => {
      const a = exp(s, s.given(4)); // 1
      const b = exp(s, a); // 2
      idle(s); // 3
      const c = s.run(ops.add, [b, b]); // 4
      inner = [a, b, c];
    });
    idle(s); // 5
    expect(lives(s, inner)).to.deep.equal(["1-2", "2-4", "4-4"]);
  });

  it("of what is made before a loop and read inside last as long as the loop", () => {
    const s = new Sketch();
    const a = exp(s, s.given(4)); // 0
    s.loop(5, () => {
      exp(s, a); // 1
      idle(s, 2); // 2, 3
    });
    idle(s); // 4
    expect(lives(s, [a])).to.deep.equal(["0-3"]);
  });

  it("of what is made in a loop and read after it begin with the loop", () => {
    const s = new Sketch();
    let a: Operand | undefined;
    idle(s); // 0
    s.loop(5, () => {
      idle(s); // 1
      a = exp(s, s.given(4)); // 2
      idle(s); // 3
    });
    idle(s); // 4
    exp(s, a!); // 5
    expect(lives(s, [a!])).to.deep.equal(["1-5"]);
  });

  it("of results that a loop leaves behind begin with the outermost loop", () => {
    const s = new Sketch();
    let a: Operand | undefined;
    idle(s); // 0
    s.loop(2, () => {
      idle(s); // 1
      s.loop(3, () => {
        idle(s); // 2
        a = exp(s, s.given(4)); // 3
      });
    });
    idle(s); // 4
    expect(lives(s, [a!], a!)).to.deep.equal(["1-5"]);
  });

  it("across nested loops cover the loops that not all uses share", () => {
    const s = new Sketch();
    let [outer, both, inner]: (Operand | undefined)[] = [];
    s.loop(2, () => {
      outer = exp(s, s.given(4)); // 0
      both = exp(s, outer); // 1
      s.loop(3, () => {
        idle(s); // 2
        inner = exp(s, both!); // 3
        exp(s, inner); // 4
        idle(s); // 5
      });
      idle(s); // 6
    });
    expect(lives(s, [outer, both, inner])).to.deep.equal(["0-1", "1-5", "3-4"]);
  });

  it("across two loops in a row cover both", () => {
    const s = new Sketch();
    const state = s.memory([4]);
    s.loop(2, () => {
      idle(s); // 0
      s.assign(state, s.given(4)); // 1
    });
    idle(s); // 2
    s.loop(2, () => {
      exp(s, state); // 3
      idle(s); // 4
    });
    expect(lives(s, [state])).to.deep.equal(["0-4"]);
  });

  it("decide which buffers of a plan share memory", () => {
    const s = new Sketch();
    const outside = exp(s, s.given(64));
    let [first, second] = [outside, outside];
    s.loop(2, () => {
      first = s.run(ops.flip, [outside], { axes: [0] });
      second = s.run(ops.flip, [first], { axes: [0] });
      s.write(ops.accumulate, s.given(64), second);
      idle(s);
    });
    const last = s.run(ops.flip, [s.given(64)], { axes: [0] });
    const plan = planOf(s, false, last);
    const places = [outside, first, second, last].map(({ buffer }) => plan.arena.get(buffer)!.byteOffset);
    expect(new Set(places.slice(0, 3)).size).to.equal(3);
    expect(plan.memory).to.deep.include({ arena: 3 * 256, separate: 4 * 256, constants: 0, tables: 0 });
  });
});
