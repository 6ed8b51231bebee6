// How the cost of W4 grows with the batch, with the side of the images and with the channels: a table and a chart.

import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Panel } from "../examples/log-log-chart.ts";
import { chartsAsSvg } from "../examples/log-log-chart.ts";
import type { Launch } from "./competitor.ts";
import type { Effort, Measurement, Outcome } from "./measure.ts";
import { measure } from "./measure.ts";
import type { Job } from "./protocol.ts";
import { markdownTable } from "./report.ts";
import type { Sizes } from "./tasks.ts";
import { unetForward, unetTraining } from "./tasks.ts";

/** A size that is varied while the others stay. */
export interface Sweep {
  readonly name: string;
  readonly label: string;
  readonly values: readonly number[];
  readonly at: (value: number) => Required<Sizes>;
}

/** Batch while other sizes vary. */
const usualBatch = 4;

/** The sizes from small to large around those that were asked for. */
export function sweepsOf({ batch = usualBatch, ...unet }: Sizes): Sweep[] {
  const { size, base } = unet;
  return [
    { name: "batch", label: "images in a batch", values: [1, 2, 4, 8, 16], at: (value) => ({ ...unet, batch: value }) },
    {
      name: "side",
      label: "side of the images in pixels",
      values: [size / 2, size, 2 * size],
      at: (value) => ({ ...unet, batch, size: value }),
    },
    {
      name: "channels",
      label: "channels at full size",
      values: [base / 2, base, 2 * base],
      at: (value) => ({ ...unet, batch, base: value }),
    },
  ];
}

/** Where a value of a sweep was measured. */
export interface Point {
  readonly sweep: Sweep;
  readonly value: number;
  readonly outcome: Outcome;
}

/** Measures the sweeps; `told` hears of each result as it comes. */
export async function measureGrowth(
  sizes: Sizes,
  job: Omit<Job, "task" | "warmSeconds">,
  launches: readonly Launch[],
  effort: Effort,
  told: (outcome: Outcome) => void,
): Promise<Point[]> {
  const points: Point[] = [];
  for (const sweep of sweepsOf(sizes))
    for (const value of sweep.values) {
      const { batch, ...unet } = sweep.at(value);
      for (const task of [unetForward(unet, batch), unetTraining(unet, batch)]) {
        const outcome = await measure({ ...job, task }, launches, effort);
        told(outcome);
        points.push({ sweep, value, outcome });
      }
    }
  return points;
}

const metrics = { ms_fwd: "forward", ms_per_train_step: "training step" } as const;

const shown = (x: number): string => `${Number(x.toPrecision(3))}`;

const nameOf = ({ peer, metric }: Measurement): string => `${peer}: ${metrics[metric as keyof typeof metrics]}`;

/** A row for each value: medians in milliseconds, and how much memory they took. */
export function growthTable(points: readonly Point[]): string {
  const names = [...new Set(points.flatMap(({ outcome }) => outcome.measurements.map(nameOf)))];
  const rows = [...groupBy(points)].map(([key, measurements]) => [
    key,
    ...names.map((name) => {
      const found = measurements.find((measurement) => nameOf(measurement) === name);
      return found ? `${shown(found.median)} ms, ${found.memory_mb === null ? "?" : shown(found.memory_mb)} MB` : "";
    }),
  ]);
  return markdownTable(
    [["size", ...names], ...rows],
    names.map((_, i) => i + 1),
  );
}

function groupBy(points: readonly Point[]): Map<string, Measurement[]> {
  const groups = new Map<string, Measurement[]>();
  for (const { sweep, value, outcome } of points) {
    const key = `${sweep.name} ${value}`;
    groups.set(key, [...(groups.get(key) ?? []), ...outcome.measurements]);
  }
  return groups;
}

/** A chart for each sweep, with logarithmic axes: cost that is a power of the size is a line. */
export function growthChart(points: readonly Point[]): string {
  const sweeps = [...new Set(points.map(({ sweep }) => sweep))];
  return chartsAsSvg(
    sweeps.map((sweep) =>
      panelOf(
        sweep,
        points.filter((point) => point.sweep === sweep),
      ),
    ),
  );
}

function panelOf({ name, label }: Sweep, points: readonly Point[]): Panel {
  const lines = new Map<string, { x: number; y: number }[]>();
  for (const { value, outcome } of points)
    for (const measurement of outcome.measurements)
      lines.set(nameOf(measurement), [...(lines.get(nameOf(measurement)) ?? []), { x: value, y: measurement.median }]);
  return {
    title: `Cost against ${name}`,
    xLabel: label,
    yLabel: "milliseconds (median)",
    lines: [...lines].map(([line, places]) => ({ label: line, points: places })),
    orders: [],
  };
}

/** Where the chart is written. */
const chartPath = join(import.meta.dirname, "..", "docs", "pictures", "growth.svg");

/** Writes the chart; its path. */
export async function writeGrowthChart(points: readonly Point[]): Promise<string> {
  await mkdir(dirname(chartPath), { recursive: true });
  await writeFile(chartPath, growthChart(points));
  return chartPath;
}
