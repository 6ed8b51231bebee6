// The table and the chart of how cost grows.

import { expect } from "chai";
import type { Point } from "../../bench/growth.ts";
import { growthChart, growthTable, sweepsOf } from "../../bench/growth.ts";
import { statistics } from "../../bench/measure.ts";
import { unetForward, unetTraining, usualUNet } from "../../bench/tasks.ts";

/** As if a forward took as many milliseconds as the size that varies, and a training step four times as many. */
function points(): Point[] {
  const sweeps = sweepsOf(usualUNet);
  return sweeps.flatMap((sweep) =>
    sweep.values.flatMap((value) => {
      const { batch, ...unet } = sweep.at(value);
      return [unetForward(unet, batch), unetTraining(unet, batch)].map((task, i) => {
        const { workload, metric } = task;
        const fixed = { version: "1", variant: "plan", device: "cpu", precision: "float32", threads: 2 } as const;
        const times = statistics([value * 4 ** i]);
        const measurement = { peer: "langevin", workload, metric, ...fixed, ...times, foreign: 0, memory_mb: 7 };
        return { sweep, value, outcome: { task, measurements: [measurement], cost: undefined, absent: [] } };
      });
    }),
  );
}

describe("bench: growth", () => {
  it("varies one size at a time around those that were asked for", () => {
    const sizes = sweepsOf({ size: 16, base: 32, mults: [1, 2], batch: 2 }).map(({ values, at }) => values.map(at));
    expect(sizes[0].map(({ batch }) => batch)).to.deep.equal([1, 2, 4, 8, 16]);
    expect(sizes[1].map(({ size }) => size)).to.deep.equal([8, 16, 32]);
    expect(sizes[2].map(({ base }) => base)).to.deep.equal([16, 32, 64]);
    for (const { mults } of sizes.flat()) expect(mults).to.deep.equal([1, 2]);
    for (const { batch } of [...sizes[1], ...sizes[2]]) expect(batch).to.equal(2);
  });

  it("has a row for each size, with time and memory of both", () => {
    const rows = growthTable(points()).split("\n");
    expect(rows).to.have.length(2 + 5 + 3 + 3);
    expect(rows[0]).to.match(/^\| size +\| +langevin: forward \| +langevin: training step \|$/);
    expect(rows[3]).to.match(/^\| batch 2 +\| +2 ms, 7 MB \| +8 ms, 7 MB \|$/);
  });

  it("draws a panel for each size that varies", () => {
    const chart = growthChart(points());
    for (const title of ["batch", "side", "channels"]) expect(chart).to.include(`Cost against ${title}`);
    expect(chart.match(/<polyline/g)).to.have.length(6);
  });
});
