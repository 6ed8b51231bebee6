// npm run convergence [-- --out FILE]: measures how fast each sampler's error falls with its steps, and draws it.

import { mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { chartsAsSvg } from "./log-log-chart.ts";
import { exampleOptions } from "./options.ts";
import type { Measurement, Study } from "./sampler-studies.ts";
import { measure, measuredOrder, panels } from "./sampler-studies.ts";

const { out } = exampleOptions({ seed: 0, out: "docs/pictures/sampler-convergence.svg" });

function report({ name, order }: Study, measurements: readonly Measurement[]): void {
  const errors = measurements.map(({ error }) => error.toExponential(1)).join("  ");
  console.log(`  ${name.padEnd(26)} order ${order}, measured ${measuredOrder(measurements).toFixed(2)}: ${errors}`);
}

const drawn = Object.entries(panels).map(([title, studies]) => {
  console.log(title);
  const lines = studies.map((study) => {
    const measurements = measure(study);
    report(study, measurements);
    return { label: study.name, points: measurements.map(({ calls, error }) => ({ x: calls, y: error })) };
  });
  return { title, lines, orders: [...new Set(studies.map(({ order }) => order))] };
});
await mkdir(dirname(out), { recursive: true });
await writeFile(out, chartsAsSvg({ xLabel: "calls of the network", yLabel: "error", panels: drawn }));
console.log(out);
