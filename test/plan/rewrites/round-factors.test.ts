// Where plans of precision "bf16" round the factors of products: once, behind what makes them, until something writes there.

import { expect } from "chai";
import type { Operand } from "../../../ts/device/executor.ts";
import type { AnyOp } from "../../../ts/ops/index.ts";
import { ops, roundToBf16 } from "../../../ts/ops/index.ts";
import { lifetimes, placeCommands } from "../../../ts/plan/lifetimes.ts";
import type { RecordedCommand, RecordedProgram } from "../../../ts/plan/recorded.ts";
import { listsOf } from "../../../ts/plan/recorded.ts";
import { rewritten } from "../../../ts/plan/rewrites/index.ts";
import { Sketch, namesOf, reshaped, rows } from "../sketch.ts";

/** The program as a plan of precision "bf16" has it. */
function program(draw: (s: Sketch) => readonly Operand[] | void): RecordedProgram {
  const sketch = new Sketch();
  const outputs = draw(sketch) ?? [];
  return rewritten(sketch.program(...outputs), true, "bf16");
}

function commandsOf(drawn: RecordedProgram): RecordedCommand[] {
  return listsOf(drawn.nodes).flatMap(({ commands }) => commands);
}

/** Its commands, those that run part by part with the one before them behind a "+"; lists end with "|". */
function rounded(draw: (s: Sketch) => readonly Operand[] | void): string {
  return listsOf(program(draw).nodes)
    .map(({ commands }) => commands.map(({ op, joined }) => `${joined ? "+" : ""}${short(op.name)}`).join(" "))
    .join(" | ");
}

const short = (name: string): string => (name === roundToBf16.name ? "round" : name);

const window = { stride: [1, 1], padding: [1, 1, 1, 1], dilation: [1, 1] };

const noTransposes = { transposeA: false, transposeB: false };

const image = [2, 5, 6, 16] as const;

/** A 3x3 convolution that keeps the shape, without a bias. */
function convolution(s: Sketch, x: Operand, weight = s.given(3, 3, 16, 16), output?: Operand): Operand {
  return s.run(ops.conv2d, [x, weight, undefined], window, output);
}

/** The gradient of the weight of such a convolution. */
function weightGradient(s: Sketch, x: Operand, dy: Operand): Operand {
  return s.run(ops.conv2dWeightGradient, [x, dy], { ...window, kernel: [3, 3] });
}

describe("factors of products in bf16", () => {
  it("are rounded in front of all where nothing in the list makes them, and else right behind that", () => {
    expect(
      rounded((s) => {
        const x = s.run(ops.flip, [s.given(...image)], { axes: [1] });
        const y = s.run(ops.sum, [s.given(...image)], { axes: [1], keepDims: true });
        return [convolution(s, x), y];
      }),
    ).to.equal("round flip round sum conv2d");
  });

  it("are rounded part by part with what makes them", () => {
    expect(rounded((s) => [convolution(s, s.run(ops.silu, [convolution(s, s.given(...image))]))])).to.equal(
      "round round round conv2d +silu +round conv2d",
    );
    expect(
      rounded((s) => {
        const norm = s.run(ops.groupNorm, [s.given(...image), undefined, undefined], { groups: 4, epsilon: 1e-5 });
        return [convolution(s, norm)];
      }),
    ).to.equal("round groupNorm +round conv2d");
  });

  it("are rounded once for all that multiply them", () => {
    expect(
      rounded((s) => {
        const weight = s.given(3, 3, 16, 16);
        const x = convolution(s, s.given(...image), weight);
        const y = convolution(s, x, weight);
        return [weightGradient(s, x, y), y];
      }),
    ).to.equal("round round conv2d +round conv2d +round conv2dWeightGradient");
    expect(
      rounded((s) => {
        const x = s.given(8, 16);
        return [s.run(ops.matmul, [x, x, undefined], { transposeA: true, transposeB: false })];
      }),
    ).to.equal("round matmul");
  });

  it("are the same under another shape", () => {
    expect(
      rounded((s) => {
        const x = convolution(s, s.given(...image));
        const product = s.run(ops.matmul, [reshaped(x, 60, 16), s.given(16, 16), undefined], noTransposes);
        return [product, convolution(s, x)];
      }),
    ).to.equal("round round round round conv2d +round matmul conv2d");
  });

  it("are rounded anew when something has written to them, or to a part of them", () => {
    const parts: Readonly<Record<string, (x: Operand) => Operand>> = {
      "+round": (x) => x,
      round: (x) => rows(x, 1, 2),
    };
    for (const [rounding, part] of Object.entries(parts))
      expect(
        rounded((s) => {
          const [x, weight] = [s.given(...image), s.given(3, 3, 16, 16)];
          const before = convolution(s, x, weight);
          s.write(ops.accumulate, part(x), s.given(...part(x).shape));
          return [before, convolution(s, x, weight), convolution(s, x, weight)];
        }),
      ).to.equal(`round round conv2d accumulate ${rounding} conv2d conv2d`);
  });

  it("are no columns of a copy of all that was made with them where something has written to others of these", () => {
    const drawn = program((s) => {
      const y = s.run(ops.matmul, [s.given(1, 16), s.given(16, 32), undefined], noTransposes);
      const [left, right] = [0, 16].map((offset): Operand => ({ ...y, shape: [1, 16], offset, pitch: 16 }));
      s.write(ops.accumulate, left, s.given(1, 16));
      return [right, left].map((x) => s.run(ops.matmul, [x, s.given(16, 8), undefined], noTransposes));
    });
    const commands = commandsOf(drawn);
    const written = commands.findIndex(({ op }) => op === ops.accumulate);
    const [fromRight, fromLeft] = commands.slice(-2).map(({ inputs }) => inputs[0]!.buffer);
    expect(fromLeft).not.to.equal(fromRight);
    expect(commands.findIndex(({ output }) => output?.buffer === fromLeft)).to.be.above(written);
  });

  it("are columns of all that was made with them", () => {
    const drawn = program((s) => {
      const y = convolution(s, s.given(...image), s.given(3, 3, 16, 24));
      return [convolution(s, { ...y, shape: image, offset: 8 })];
    });
    const [, , , , rounding, last] = commandsOf(drawn);
    expect(rounding).to.deep.include({ op: roundToBf16, joined: true });
    expect(rounding.output).to.deep.include({ shape: [2, 5, 6, 24], offset: 0, pitch: 24, dtype: "bfloat16" });
    expect(last.inputs[0]).to.deep.equal({ ...rounding.output, shape: image, offset: 8 });
  });

  it("are rounded column by column with what makes these, where copies of them begin at multiples of 16 bytes", () => {
    const beside = (columns: number, last: AnyOp) => (s: Sketch) => {
      const left = convolution(s, s.given(...image), s.given(3, 3, 16, columns));
      const right = s.run(last, [convolution(s, s.given(...image))], { axes: [1] });
      return [convolution(s, s.concat(-1, left, right), s.given(3, 3, columns + 16, 16))];
    };
    const weights = "round round round round round";
    expect(rounded(beside(16, ops.relu))).to.equal(`${weights} conv2d +round conv2d +relu +round conv2d`);
    expect(rounded(beside(12, ops.relu))).to.equal(`${weights} conv2d conv2d +relu round conv2d`);
    expect(rounded(beside(16, ops.flip))).to.equal(`${weights} conv2d conv2d flip round conv2d`);
    const [, left, , , right, last] = commandsOf(program(beside(16, ops.relu))).slice(5);
    const whole = last.inputs[0]!;
    expect(whole).to.deep.include({ shape: [2, 5, 6, 32], pitch: 32, offset: 0 });
    expect(left.output).to.deep.equal({ ...whole, shape: image });
    expect(right.output).to.deep.equal({ ...whole, shape: image, offset: 16 });
  });

  it("lie in memory of their own, in rows that begin at multiples of 16 bytes, for as long as they are multiplied", () => {
    const drawn = program((s) => {
      const x = convolution(s, s.given(...image), s.given(3, 3, 16, 3));
      const y = convolution(s, x, s.given(3, 3, 3, 16));
      return [weightGradient(s, x, y)];
    });
    const commands = commandsOf(drawn);
    const { output } = commands.find(({ op, joined }) => op === roundToBf16 && joined)!;
    expect(output).to.deep.include({ shape: [2, 5, 6, 3], pitch: 8, offset: 0 });
    expect(drawn.buffers.get(output!.buffer)).to.deep.equal({ bytes: 2 * 60 * 8 });
    const { start, end } = lifetimes(placeCommands(drawn.nodes), drawn.outputs).get(output!.buffer)!;
    expect([start, end].map((position) => commands[position].op.name)).to.deep.equal([
      "conv2d",
      "conv2dWeightGradient",
    ]);
  });

  it("are rounded anew in each list, and in each round of a loop", () => {
    expect(
      rounded((s) => {
        const [x, weight] = [s.given(...image), s.given(3, 3, 16, 16)];
        const y = convolution(s, x, weight);
        const z = s.memory(image);
        s.loop(3, () => {
          convolution(s, y, weight, z);
          convolution(s, x, weight, z);
        });
        return [z, convolution(s, y, weight)];
      }),
    ).to.equal("round round conv2d | round round round conv2d conv2d | round round conv2d");
  });

  it("are left to products where nothing is fused, in other precisions, and where there is nothing to round", () => {
    const sketch = new Sketch();
    const y = convolution(sketch, sketch.given(...image));
    for (const [fuse, precision] of [
      [false, "bf16"],
      [true, "tf32"],
      [true, undefined],
    ] as const)
      expect(namesOf(rewritten(sketch.program(y), fuse, precision))).to.deep.equal(["conv2d"]);
    expect(rounded((s) => [s.run(ops.matmul, [s.given(2, 0), s.given(0, 3), undefined], noTransposes)])).to.equal(
      "matmul",
    );
  });
});
