// What commands cost: products of every op that has them, against numbers worked out by hand, and what all others cost.

import { expect } from "chai";
import { dense } from "../../ts/device/executor.ts";
import type { AnyOp, Shape } from "../../ts/ops/index.ts";
import { opList, ops } from "../../ts/ops/index.ts";
import { bytesMoved, flopsOf, multiplyAddsOf, runsOfCommands } from "../../ts/plan/cost.ts";
import type { RecordedCommand } from "../../ts/plan/recorded.ts";

function command(
  op: AnyOp,
  inputs: readonly (Shape | undefined)[],
  attributes: RecordedCommand["attributes"],
  output?: Shape,
): RecordedCommand {
  const operand = (shape: Shape | undefined) => shape && dense(1, 0, shape, "float32");
  return { op, attributes, inputs: inputs.map(operand), output: operand(output), perStep: [], layer: "" };
}

const square = { stride: [2, 2], padding: [1, 1, 1, 1], dilation: [1, 1] };
const heads = { heads: 2, scale: 1, causal: false };

/** Each op that adds up products: a command, and how many there are. */
const products: [RecordedCommand, number][] = [
  // 3 matrices of 4 x 6, sums of 5.
  [
    command(
      ops.matmul,
      [
        [3, 4, 5],
        [5, 6],
      ],
      { transposeA: false, transposeB: false },
      [3, 4, 6],
    ),
    3 * 4 * 6 * 5,
  ],
  [
    command(
      ops.matmul,
      [
        [5, 4],
        [6, 5],
      ],
      { transposeA: true, transposeB: true },
      [4, 6],
    ),
    4 * 6 * 5,
  ],
  // 2 images of 4 x 4 x 7, sums over 3 x 3 x 5.
  [
    command(
      ops.conv2d,
      [
        [2, 8, 8, 5],
        [3, 3, 5, 7],
      ],
      square,
      [2, 4, 4, 7],
    ),
    2 * 16 * 7 * 45,
  ],
  // The same products, each going to where the input came from, and to the weight.
  [
    command(
      ops.convTranspose2d,
      [
        [2, 4, 4, 7],
        [3, 3, 5, 7],
      ],
      { ...square, size: [8, 8] },
      [2, 8, 8, 5],
    ),
    2 * 16 * 7 * 45,
  ],
  [
    command(
      ops.conv2dWeightGradient,
      [
        [2, 8, 8, 5],
        [2, 4, 4, 7],
      ],
      { ...square, kernel: [3, 3] },
      [3, 3, 5, 7],
    ),
    2 * 16 * 7 * 45,
  ],
  // 2 heads of 3 channels, values of 4: 5 x 9 scores, each a sum of 3, and each weighing 4 values.
  [
    command(
      ops.attention,
      [
        [1, 5, 6],
        [1, 9, 6],
        [1, 9, 8],
      ],
      heads,
      [1, 5, 8],
    ),
    2 * 45 * (3 + 4),
  ],
  [
    command(
      ops.attentionGradient,
      [
        [1, 5, 6],
        [1, 9, 6],
        [1, 9, 8],
        [1, 5, 8],
      ],
      heads,
      [30 + 54 + 72],
    ),
    2 * 45 * (3 * 3 + 2 * 4),
  ],
];

describe("what commands cost", () => {
  it("counts the products of every op that has them", () => {
    for (const [given, count] of products) {
      expect(multiplyAddsOf(given), given.op.name).to.equal(count);
      expect(flopsOf(given), given.op.name).to.equal(2 * count);
    }
    const tested = products.map(([{ op }]) => op.name);
    const all = opList.filter((op) => op.multiplyAdds).map(({ name }) => name);
    expect(new Set(all)).to.deep.equal(new Set(tested));
  });

  it("takes one for each element of the largest operand otherwise, and none where values are moved", () => {
    expect(flopsOf(command(ops.add, [[3, 4], [4]], {}, [3, 4]))).to.equal(12);
    expect(flopsOf(command(ops.sum, [[3, 4]], { axes: [0], keepDims: false }, [4]))).to.equal(12);
    expect(flopsOf(command(ops.permute, [[3, 4]], { axes: [1, 0] }, [4, 3]))).to.equal(0);
    expect(multiplyAddsOf(command(ops.add, [[3, 4], [4]], {}, [3, 4]))).to.equal(0);
    // Adam writes what it is given first.
    expect(flopsOf(command(ops.adam, [[7], [7], [7], [7]], {}))).to.equal(7);
  });

  it("counts bytes of all operands", () => {
    expect(bytesMoved([command(ops.add, [[3, 4], undefined, [4]], {}, [3, 4])])).to.deep.equal([4 * (12 + 4 + 12)]);
  });

  it("counts what stays in the caches from one command to the next once", () => {
    const add = command(ops.add, [[3, 4], [4]], {}, [3, 4]);
    const elsewhere = { ...add, inputs: [add.output, dense(2, 0, [1, 4], "float32")] };
    const joined = { ...elsewhere, joined: true };
    expect(bytesMoved([add, elsewhere])).to.deep.equal([4 * 28, 4 * 28]);
    expect(bytesMoved([add, joined, joined, elsewhere])).to.deep.equal([4 * 28, 4 * 4, 0, 4 * 28]);
  });

  it("runs the commands of loops so many times", () => {
    const [a, b] = [command(ops.add, [[1], [1]], {}, [1]), command(ops.mul, [[1], [1]], {}, [1])];
    const list = (...commands: RecordedCommand[]) => ({ commands, actions: [] });
    const loop = (times: number, ...body: Parameters<typeof runsOfCommands>[0]) => ({
      times,
      body,
      index: { value: 0 },
      first: 0,
    });
    const runs = [...runsOfCommands([list(a), loop(3, list(b), loop(4, list(a)))])];
    expect(runs).to.deep.equal([
      [a, 1],
      [b, 3],
      [a, 12],
    ]);
  });
});
