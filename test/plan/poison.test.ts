// Poison: memory is spoiled before a step and where lives end, so that a life that ends too early shows, and so does what
// is left from an iteration or a step before.

import { expect } from "chai";
import type { BufferId, Operand } from "../../ts/device/executor.ts";
import { ops } from "../../ts/ops/index.ts";
import type { Lifetime } from "../../ts/plan/lifetimes.ts";
import { lifetimes, placeCommands } from "../../ts/plan/lifetimes.ts";
import { Plan } from "../../ts/plan/plan.ts";
import { poisoned } from "../../ts/plan/poison.ts";
import type { RecordedCommand, RecordedProgram } from "../../ts/plan/recorded.ts";
import { Sketch, runPlainly } from "./sketch.ts";

/** A program with its lives and the lists that poison makes of it. */
function poison(program: RecordedProgram, change: (lives: Map<BufferId, Lifetime>) => void = () => undefined) {
  const placed = placeCommands(program.nodes);
  const lives = lifetimes(placed, program.outputs);
  change(lives);
  return poisoned(program, placed, lives);
}

/** Each list as names; a fill with NaN as what it spoils. */
function shown(lists: readonly (readonly RecordedCommand[])[], names: ReadonlyMap<BufferId, string>): string[] {
  const show = ({ op, output, attributes }: RecordedCommand): string =>
    op === ops.fill && Number.isNaN(attributes.value) ? `spoil ${names.get(output!.buffer)}` : op.name;
  return lists.map((list) => list.map(show).join(", "));
}

describe("poison", () => {
  it("spoils everything before the first command, and each buffer after the last one that uses it", () => {
    const s = new Sketch();
    const a = s.run(ops.exp, [s.given(4)]);
    const b = s.run(ops.neg, [a]);
    const c = s.run(ops.mul, [a, b]);
    const d = s.run(ops.sin, [c]);
    const names = new Map([a, b, c, d].map(({ buffer }, i) => [buffer, "abcd"[i]]));
    expect(shown(poison(s.program(d)), names)).to.deep.equal([
      "spoil a, spoil b, spoil c, spoil d, exp, neg, mul, spoil a, spoil b, sin, spoil c",
    ]);
  });

  it("spoils inside of a loop what is used there alone, and spares what others use, too", () => {
    const s = new Sketch();
    const outside = s.run(ops.exp, [s.given(4)]);
    let [inside, left] = [outside, outside];
    s.loop(2, () => {
      inside = s.run(ops.neg, [outside]);
      left = s.run(ops.sin, [inside]);
    });
    const last = s.run(ops.cos, [left]);
    const names = new Map([outside, inside, left, last].map(({ buffer }, i) => [buffer, ["o", "i", "l", "x"][i]]));
    expect(shown(poison(s.program(last)), names)).to.deep.equal([
      "spoil o, spoil i, spoil l, spoil x, exp",
      "neg, sin, spoil i",
      "cos",
    ]);
  });

  it("fills all of a buffer, of any dtype", () => {
    const s = new Sketch();
    const mask = s.run(ops.less, [s.given(3, 5), s.given(3, 5)]);
    const [first] = poison(s.program(mask))[0];
    expect(first.output).to.deep.equal({ buffer: mask.buffer, offset: 0, shape: [15], pitch: 15, dtype: "float32" });
    expect(first.attributes).to.deep.equal({ shape: [15], dtype: "float32", value: NaN });
  });

  it("shows a life that ends too early, and no life that is right", () => {
    const s = new Sketch();
    const a = s.run(ops.exp, [s.given(4)]);
    const b = s.run(ops.neg, [a]);
    const c = s.run(ops.mul, [b, a]);
    const program = s.program(s.run(ops.sin, [c]));
    const run = (lists: RecordedCommand[][]): number[] => {
      const nodes = lists.map((commands) => ({ commands, actions: [] }));
      return s.observe(() => runPlainly(s, { ...program, nodes }))[0];
    };
    const expected = s.observe(() => runPlainly(s, program))[0];
    expect(run(poison(program))).to.deep.equal(expected);
    for (const [operand, life] of [
      [a, { start: 0, end: 1 }],
      [b, { start: 1, end: 1 }],
      [c, { start: 2, end: 2 }],
    ] as const) {
      const got = run(poison(program, (lives) => lives.set(operand.buffer, life)));
      expect(got.every(Number.isNaN), JSON.stringify(life)).to.equal(true);
    }
  });

  /** What a plan of the sketch computes, run twice. */
  const runTwice = (poison: boolean, draw: (s: Sketch) => Operand): number[][] => {
    const s = new Sketch();
    const output = draw(s);
    const plan = new Plan(s.program(output), s.executor, {
      steps: 1,
      reports: [],
      fuse: false,
      checkFinite: false,
      poison,
    });
    const run = (): number[] =>
      s.observe(() => {
        plan.run();
        return [plan.result(0)];
      })[0];
    return [run(), run()];
  };

  it("shows what a step reads that the one before left", () => {
    const draw = (s: Sketch): Operand => {
      const left = s.memory([3]);
      s.write(ops.accumulate, left, s.given(3));
      return left;
    };
    expect(runTwice(false, draw).flat().some(Number.isNaN)).to.equal(false);
    expect(runTwice(true, draw).flat().every(Number.isNaN)).to.equal(true);
  });

  it("shows what an iteration reads that the one before left", () => {
    const draw = (s: Sketch): Operand => {
      const sum = s.memory([3]);
      s.assign(sum, s.given(3));
      s.loop(3, () => {
        const left = s.memory([3]);
        s.write(ops.accumulate, left, s.given(3));
        s.write(ops.accumulate, sum, left);
      });
      return sum;
    };
    expect(runTwice(false, draw).flat().some(Number.isNaN)).to.equal(false);
    expect(runTwice(true, draw).flat().every(Number.isNaN)).to.equal(true);
  });
});
