// What plans fuse, rule by rule, and each reason not to. Every program computes the same as its commands do one by one, in memory
// of their own.

import { expect } from "chai";
import type { Operand } from "../../../ts/device/executor.ts";
import type { AnyAttributes, AnyOp } from "../../../ts/ops/index.ts";
import { ops } from "../../../ts/ops/index.ts";
import { listsOf } from "../../../ts/plan/recorded.ts";
import { Sketch, fusedProgram, planOf, reshaped, rows } from "../sketch.ts";

/** The commands of the fused program, those that run part by part with the one before them behind a "+". */
function fused(draw: (s: Sketch) => readonly Operand[] | void): string {
  const sketch = new Sketch();
  const outputs = draw(sketch) ?? [];
  return listsOf(fusedProgram(sketch, ...outputs).nodes)
    .flatMap(({ commands }) => commands.map(({ op, joined }) => `${joined ? "+" : ""}${op.name}`))
    .join(" ");
}

const window = { stride: [1, 1], padding: [1, 1, 1, 1], dilation: [1, 1] };
const noise = { seed: 3n, draw: 1, image: 5, step: 2 };

/** More elements than a part has, in images that parts do not divide evenly. */
const image = [3, 40, 50, 7] as const;

/** A 3x3 convolution that keeps the shape. */
function convolution(s: Sketch, x: Operand): Operand {
  const channels = x.shape.at(-1)!;
  return s.run(ops.conv2d, [x, s.given(3, 3, channels, channels), s.given(channels)], window);
}

/** Commands that have nothing to do with the rest, with a temporary of some size. */
function meanwhile(s: Sketch, count: number, ...shape: number[]): void {
  for (let i = 0; i < count; i++)
    s.write(
      ops.accumulate,
      s.given(1),
      s.run(ops.sum, [s.run(ops.flip, [s.given(...shape)], { axes: [0] })], { axes: [0], keepDims: true }),
    );
}

describe("fusion: what follows on a product or a norm", () => {
  it("runs part by part with it: activation, residual, embedding", () => {
    expect(
      fused((s) => {
        const h = s.run(ops.add, [convolution(s, s.given(...image)), s.given(3, 1, 1, 7)]);
        return [s.run(ops.add, [s.given(...image), s.run(ops.silu, [h])])];
      }),
    ).to.equal("conv2d +add +silu +add");
    expect(
      fused((s) => {
        const x = s.given(3, 300, 40);
        const y = s.run(ops.matmul, [x, s.given(40, 40), s.given(40)], { transposeA: false, transposeB: false });
        return [s.run(ops.geluTanh, [y])];
      }),
    ).to.equal("matmul +geluTanh");
    expect(
      fused((s) => {
        const y = s.run(ops.groupNorm, [s.given(...image), s.given(7), s.given(7)], { groups: 7, epsilon: 1e-5 });
        return [s.run(ops.silu, [y])];
      }),
    ).to.equal("groupNorm +silu");
    expect(
      fused((s) => {
        const attributes = { axes: 1, epsilon: 1e-5, center: true };
        const y = s.run(ops.layerNorm, [s.given(4, 500, 30), undefined, undefined], attributes);
        const scaled = s.run(ops.mul, [y, s.given(4, 1, 30)]);
        return [s.run(ops.add, [scaled, s.given(4, 1, 30)])];
      }),
    ).to.equal("layerNorm +mul +add");
  });

  it("waits for an operand that is computed later", () => {
    expect(
      fused((s) => {
        const h = convolution(s, s.given(...image));
        const embedding = s.run(ops.matmul, [s.given(3, 5), s.given(5, 7)], { transposeA: false, transposeB: false });
        return [s.run(ops.add, [h, reshaped(embedding, 3, 1, 1, 7)])];
      }),
    ).to.equal("matmul conv2d +add");
  });

  it("not past a command that reads or overwrites what the product uses", () => {
    expect(
      fused((s) => {
        const h = convolution(s, s.given(...image));
        const total = s.run(ops.sum, [h], { axes: [0, 1, 2, 3], keepDims: false });
        return [s.run(ops.mul, [h, total])];
      }),
    ).to.equal("conv2d sum mul");
    expect(
      fused((s) => {
        const x = s.given(...image);
        const h = convolution(s, x);
        s.write(ops.accumulate, x, s.run(ops.flip, [x], { axes: [1] }));
        return [s.run(ops.silu, [h])];
      }),
    ).to.equal("conv2d flip accumulate silu");
  });

  it("not where it writes to what the product still reads", () => {
    expect(
      fused((s) => {
        const x = s.given(...image);
        s.write(ops.accumulate, x, convolution(s, x));
      }),
    ).to.equal("conv2d accumulate");
  });

  it("not under another shape", () => {
    expect(fused((s) => [s.run(ops.silu, [reshaped(convolution(s, s.given(...image)), 3, 2000, 7)])])).to.equal(
      "conv2d silu",
    );
  });

  it("may be noise, and a whole reverse step", () => {
    const timesteps = (s: Sketch): Operand =>
      s.memory([3], "int32", [{ byteOffset: 0, elements: Int32Array.of(0, 2, 1) }]);
    for (const shape of [image, [3, 2, 3, 7]])
      expect(
        fused((s) => {
          const x = s.given(...shape);
          return [s.run(ops.ddpmStep, [x, convolution(s, x), timesteps(s), s.given(3, 3)], noise)];
        }),
      ).to.equal("conv2d +ddpmStep");
    expect(
      fused((s) => {
        const z = s.run(ops.randn, [], { shape: image, dtype: "float32", ...noise });
        return [z, s.run(ops.addNoise, [s.given(...image), z, timesteps(s), s.given(3, 2)])];
      }),
    ).to.equal("randn +addNoise");
    expect(
      fused((s) => [s.run(ops.dropout, [s.run(ops.silu, [convolution(s, s.given(...image))])], { p: 0.3, ...noise })]),
    ).to.equal("conv2d +silu +dropout");
  });
});

describe("fusion: element-wise commands", () => {
  it("run part by part, whether one uses the other's result or both the same tensor", () => {
    expect(
      fused((s) => {
        const [a, b] = [s.given(...image), s.given(...image)];
        const sum = s.run(ops.add, [a, b]);
        return [s.run(ops.mul, [sum, s.run(ops.exp, [s.run(ops.neg, [sum])])]), s.run(ops.tanh, [a])];
      }),
    ).to.equal("add +neg +exp +mul +tanh");
    expect(fused((s) => [s.run(ops.exp, [s.run(ops.neg, [s.given()])])])).to.equal("neg +exp");
    expect(fused((s) => [s.run(ops.exp, [s.run(ops.neg, [s.given(50_000)])])])).to.equal("neg +exp");
    expect(fused((s) => [s.run(ops.exp, [s.run(ops.neg, [s.given(0, 4)])])])).to.equal("neg exp");
  });

  it("in place, as optimizer and average of weights", () => {
    const adam = ops.adam.samples[0].attributes as AnyAttributes;
    const run = (s: Sketch, op: AnyOp, attributes: AnyAttributes, ...inputs: Operand[]): void => {
      s.list().commands.push({ op, attributes, inputs, output: undefined, perStep: [], layer: "" });
    };
    expect(
      fused((s) => {
        const parameter = s.given(50_001);
        const squares = s.run(ops.square, [s.given(50_001)]);
        run(s, ops.adam, adam, parameter, s.given(50_001), s.given(50_001), squares);
        run(s, ops.ema, { weight: 0.3 }, s.given(50_001), parameter);
      }),
    ).to.equal("square +adam +ema");
  });

  it("not where one reads, of what the other one writes, more than the same part", () => {
    expect(
      fused((s) => {
        const x = s.given(1, 7);
        const y = s.run(ops.exp, [s.given(1, 7)]);
        s.write(ops.accumulate, x, y);
        return [s.run(ops.add, [s.given(30, 7), x])];
      }),
    ).to.equal("exp +accumulate add");
    expect(
      fused((s) => {
        // Rows 0 to 599 are written, rows 1 to 600 are read.
        const x = s.given(601, 70);
        s.write(ops.accumulate, rows(x, 0, 600), s.given(600, 70));
        return [s.run(ops.neg, [rows(x, 1, 601)])];
      }),
    ).to.equal("accumulate neg");
  });

  it("are sixteen at most, and share memory for what they need only of each other", () => {
    const draw = (s: Sketch): Operand[] => {
      const x = s.given(200, 100);
      let sum = s.run(ops.neg, [x]);
      for (let k = 0; k < 10; k++) sum = s.run(ops.add, [sum, s.run(ops.sin, [s.run(ops.mul, [x, s.given()])])]);
      return [sum];
    };
    const commands = fused(draw).split(" ");
    expect(commands.map((name, i) => (name.startsWith("+") ? -1 : i)).filter((i) => i >= 0)).to.deep.equal([0, 16]);
    const bytes = (fuse: boolean): number => {
      const s = new Sketch();
      return planOf(s, fuse, ...draw(s)).memory.arena;
    };
    expect(bytes(true)).to.be.at.most(2 * bytes(false));
  });

  it("not where a loop or another list lies between", () => {
    expect(
      fused((s) => {
        const x = s.run(ops.exp, [s.given(4)]);
        s.loop(2, () => {
          s.write(ops.accumulate, s.given(1), s.given(1));
        });
        return [s.run(ops.neg, [x])];
      }),
    ).to.equal("exp accumulate neg");
  });
});

describe("fusion: loss and gradient", () => {
  const mean = { reduction: "mean" } as const;
  const gradient = (s: Sketch, p: Operand, t: Operand, reduction: AnyAttributes = mean): Operand =>
    s.run(ops.mseLossGradient, [p, t, s.given()], reduction);

  it("are one pass", () => {
    for (const reduction of ["mean", "sum"])
      expect(
        fused((s) => {
          const [p, t] = [s.given(...image), s.given(...image)];
          return [s.run(ops.mseLoss, [p, t], { reduction }), gradient(s, p, t, { reduction })];
        }),
      ).to.equal("mseLossWithGradient");
  });

  it("take no more memory than apart: the gradient lies where the prediction did", () => {
    const draw = (s: Sketch): Operand[] => {
      const [p, t] = [s.run(ops.flip, [s.given(...image)], { axes: [0] }), s.given(...image)];
      return [s.run(ops.mseLoss, [p, t], mean), s.run(ops.flip, [gradient(s, p, t)], { axes: [0] })];
    };
    expect(fused(draw)).to.equal("flip mseLossWithGradient flip");
    const bytes = (fuse: boolean): number => {
      const s = new Sketch();
      return planOf(s, fuse, ...draw(s)).memory.arena;
    };
    expect(bytes(true)).to.equal(bytes(false));
  });

  it("not of another target or reduction, nor where the loss is needed before", () => {
    expect(
      fused((s) => {
        const [p, t] = [s.given(...image), s.given(...image)];
        return [s.run(ops.mseLoss, [p, t], mean), gradient(s, t, p)];
      }),
    ).to.equal("mseLoss mseLossGradient");
    expect(
      fused((s) => {
        const [p, t] = [s.given(...image), s.given(...image)];
        return [s.run(ops.mseLoss, [p, t], mean), gradient(s, p, t, { reduction: "sum" })];
      }),
    ).to.equal("mseLoss mseLossGradient");
    expect(
      fused((s) => {
        const [p, t] = [s.given(...image), s.given(...image)];
        const loss = s.run(ops.mseLoss, [p, t], mean);
        const scaled = s.run(ops.mul, [loss, s.given()]);
        return [s.run(ops.mseLossGradient, [p, t, scaled], mean)];
      }),
    ).to.equal("mseLoss mul mseLossGradient");
  });
});

describe("fusion: what is computed again", () => {
  const long = 30;
  const size = [16, 16, 8];
  /** Uses of x at once and after a while, in which larger temporaries come and go. */
  const soonAndLate = (s: Sketch, x: Operand): void => {
    s.write(ops.accumulate, s.given(...x.shape), s.run(ops.flip, [x], { axes: [0] }));
    meanwhile(s, long, 3 * size[0], ...size.slice(1));
    s.write(ops.accumulate, s.given(...x.shape), s.run(ops.flip, [x], { axes: [1] }));
  };
  const times = (name: string, draw: (s: Sketch) => void): number =>
    fused(draw)
      .split(" ")
      .filter((command) => command.replace("+", "") === name).length;

  it("is what is cheap, from operands that are there", () => {
    expect(times("silu", (s) => soonAndLate(s, s.run(ops.silu, [s.given(...size)])))).to.equal(2);
    const norm = { groups: 4, epsilon: 1e-5 };
    const drawn = (s: Sketch): void => {
      const x = s.given(1, ...size);
      const normalised = s.run(ops.groupNorm, [x, s.given(8), s.given(8)], norm);
      soonAndLate(s, reshaped(s.run(ops.silu, [normalised]), ...size));
      s.write(ops.accumulate, s.given(1, ...size), normalised);
    };
    expect(times("silu", drawn)).to.equal(2);
    expect(times("groupNorm", drawn)).to.equal(2);
  });

  it("is an enlarged map, whose source is small", () => {
    const drawn = (s: Sketch): void => {
      const source = s.run(ops.flip, [s.given(1, 8, 8, 8)], { axes: [1] });
      const large = s.run(ops.resize2d, [source], { size: [16, 16], mode: "nearest", alignCorners: false });
      soonAndLate(s, reshaped(large, ...size));
    };
    expect(times("resize2d", drawn)).to.equal(2);
  });

  it("is no product, nothing whose operands are gone or change, and nothing that is needed soon", () => {
    const product = { transposeA: false, transposeB: false };
    const gone = (s: Sketch): void =>
      soonAndLate(s, s.run(ops.silu, [s.run(ops.flip, [s.given(...size)], { axes: [0] })]));
    expect(times("silu", gone)).to.equal(1);
    expect(
      times("matmul", (s) => soonAndLate(s, s.run(ops.matmul, [s.given(...size), s.given(8, 8)], product))),
    ).to.equal(1);
    expect(times("add", (s) => soonAndLate(s, s.run(ops.add, [s.given(...size), s.given(...size)])))).to.equal(1);
    const changed = (s: Sketch): void => {
      const x = s.given(...size);
      const y = s.run(ops.silu, [x]);
      s.write(ops.accumulate, x, s.given(...size));
      soonAndLate(s, y);
    };
    expect(times("silu", changed)).to.equal(1);
    const soon = (s: Sketch): void => {
      const y = s.run(ops.silu, [s.given(...size)]);
      for (let i = 0; i < long; i++) s.write(ops.accumulate, s.given(...size), s.run(ops.flip, [y], { axes: [0] }));
    };
    expect(times("silu", soon)).to.equal(1);
  });

  it("is in order however much is computed again at one place", () => {
    const count = 60;
    const drawn = (s: Sketch): void => {
      const x = s.given(...size);
      const results = Array.from({ length: count }, (_, i) =>
        s.run(i % 2 ? ops.tanh : ops.sin, [i < 2 ? s.run(ops.neg, [x]) : x]),
      );
      for (const y of results) s.write(ops.accumulate, s.given(...size), s.run(ops.flip, [y], { axes: [0] }));
      meanwhile(s, long, 4 * count * size[0], ...size.slice(1));
      s.write(ops.accumulate, s.given(count * size[0], ...size.slice(1)), s.run(ops.concat, results, { axis: 0 }));
    };
    expect(times("tanh", drawn)).to.be.at.least(count - 2);
  });

  it("is nothing where that saves no memory", () => {
    const drawn = (s: Sketch): void => {
      const y = s.run(ops.silu, [s.given(...size)]);
      s.write(ops.accumulate, s.given(...size), y);
      meanwhile(s, long, 2);
      s.write(ops.accumulate, s.given(...size), y);
    };
    expect(times("silu", drawn)).to.equal(1);
  });
});

describe("fusion: columns that are cut out", () => {
  const cut = (s: Sketch, x: Operand, from: number, to: number): Operand => {
    const starts = x.shape.map((_, axis) => (axis === x.shape.length - 1 ? from : 0));
    const stops = x.shape.map((n, axis) => (axis === x.shape.length - 1 ? to : n));
    return s.run(ops.slice, [x], { starts, stops, steps: x.shape.map(() => 1) });
  };
  const made = (s: Sketch): Operand => s.run(ops.flip, [s.given(5, 6, 12)], { axes: [0] });

  it("are read where they lie, also under another shape", () => {
    expect(
      fused((s) => {
        const x = made(s);
        const [a, b] = [cut(s, x, 0, 6), cut(s, x, 6, 12)];
        return [s.run(ops.flip, [a], { axes: [1] }), s.run(ops.flip, [reshaped(b, 30, 6)], { axes: [0] })];
      }),
    ).to.equal("flip flip flip");
    expect(fused((s) => [s.run(ops.flip, [cut(s, s.given(5, 12), 3, 4)], { axes: [0] })])).to.equal("flip");
  });

  it("not where that would keep much for little, or where they are written to or are results", () => {
    expect(fused((s) => [s.run(ops.flip, [cut(s, made(s), 2, 5)], { axes: [0] })])).to.equal("flip slice flip");
    expect(fused((s) => [cut(s, made(s), 0, 8)])).to.equal("flip slice");
    expect(
      fused((s) => {
        const part = cut(s, made(s), 0, 8);
        s.write(ops.accumulate, part, s.given(5, 6, 8));
        return [s.run(ops.flip, [part], { axes: [0] })];
      }),
    ).to.equal("flip slice accumulate flip");
  });

  it("not where the whole is overwritten before they are read", () => {
    expect(
      fused((s) => {
        const x = s.given(5, 12);
        const part = cut(s, x, 0, 8);
        s.write(ops.accumulate, x, s.given(5, 12));
        return [s.run(ops.flip, [part], { axes: [0] })];
      }),
    ).to.equal("slice accumulate flip");
  });
});
