// npm run convergence [-- --out FILE]: measures how fast each sampler's error falls with its steps, and draws it.

import { mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { chartsAsSvg } from "./log-log-chart.ts";
import { exampleOptions } from "./options.ts";
import type { Measurement, Study } from "./sampler-studies.ts";
import { measure, measuredOrder, panels } from "./sampler-studies.ts";

const { out } = exampleOptions({ seed: 0, out: "docs/pictures/sampler-convergence.svg" });

function report({ name, order }: Study, measurements: readonly Measurement[]): void {
  const list = measurements.map(({ error }) => error.toExponential(1)).join("  ");
  console.log(`  ${name.padEnd(26)} order ${order}, measured ${measuredOrder(measurements).toFixed(2)}: ${list}`);
}

/** What the error of a study is, in words. */
const errors = { path: "distance from the exact solution (RMS)", moments: "error of mean and deviation" } as const;

const drawn = Object.entries(panels).map(([title, studies]) => {
  console.log(title);
  const lines = studies.map((study) => {
    const measurements = measure(study);
    report(study, measurements);
    return { label: study.name, points: measurements.map(({ calls, error }) => ({ x: calls, y: error })) };
  });
  const orders = [...new Set(studies.map(({ order }) => order))];
  return { title, lines, orders, xLabel: "calls of the network", yLabel: errors[studies[0].of] };
});
await mkdir(dirname(out), { recursive: true });
await writeFile(out, chartsAsSvg(drawn));
console.log(out);
