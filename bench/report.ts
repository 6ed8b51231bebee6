// Results as text: lines of JSON, or a table with ratios, multiples of the machine's limits, and remarks.

import type { Limits } from "./floor/limits.ts";
import { floorOf } from "./floor/limits.ts";
import type { Measurement, Outcome } from "./measure.ts";

/** A result with what is only known beside others. */
export interface Line extends Measurement {
  /** Median of this over langevin's: above 1 is slower. Undefined where langevin was not measured. */
  readonly ratio?: number;
  /** Median over the least time that the machine's limits allow. Undefined where they were not measured. */
  readonly floors?: number;
}

/** Above so many cores of other processes a time says little. */
const busy = 0.15;

const threeDigits = (x: number): number => Number(x.toPrecision(3));

/** The results of a task side by side. */
export function linesOf({ measurements, cost }: Outcome, limits: ReadonlyMap<number, Limits> | undefined): Line[] {
  const ours = measurements.find(({ peer }) => peer === "langevin");
  return measurements.map((line) => {
    const limit = limits?.get(line.threads);
    const least = cost && limit && floorOf(cost, limit) * (line.metric.startsWith("ms") ? 1000 : 1);
    return {
      ...line,
      ...(ours && { ratio: threeDigits(line.median / ours.median) }),
      ...(least && { floors: threeDigits(line.median / least) }),
    };
  });
}

const number = (x: number): string => `${Number(x.toPrecision(4))}`;

/** A Markdown table of results, a row each. */
export function tableOf(lines: readonly Line[]): string {
  const [withRatios, withFloors] = [
    lines.some(({ peer }) => peer !== "langevin"),
    lines.some(({ floors }) => floors !== undefined),
  ];
  const header = ["workload", "metric", "threads", "library", "median", "min", "max", "n", "memory MB", "foreign"];
  const rows = lines.map((line) => [
    line.workload,
    line.metric,
    `${line.threads}`,
    `${line.peer} (${line.variant})`,
    number(line.median),
    number(line.min),
    number(line.max),
    `${line.n}`,
    line.memory_mb === null ? "" : line.memory_mb.toFixed(1),
    line.foreign === null ? "" : line.foreign.toFixed(2) + (line.foreign > busy ? " !" : ""),
    ...(withRatios ? [line.peer === "langevin" || line.ratio === undefined ? "" : `${line.ratio}x`] : []),
    ...(withFloors ? [line.floors === undefined ? "" : `${line.floors}x`] : []),
  ]);
  const extra = [...(withRatios ? ["to langevin"] : []), ...(withFloors ? ["to the limit"] : [])];
  return markdownTable([[...header, ...extra], ...rows], [2, 4, 5, 6, 7, 8, 9, 10, 11]);
}

/** Rows as a Markdown table, the first of which is its head; some columns aligned to the right. */
export function markdownTable(rows: readonly (readonly string[])[], right: readonly number[]): string {
  const widths = rows[0].map((_, i) => Math.max(3, ...rows.map((row) => row[i].length)));
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  const padded = rows.map((row) =>
    line(row.map((cell, i) => (right.includes(i) ? cell.padStart(widths[i]) : cell.padEnd(widths[i])))),
  );
  const rule = line(widths.map((width, i) => (right.includes(i) ? `${"-".repeat(width - 1)}:` : "-".repeat(width))));
  return [padded[0], rule, ...padded.slice(1)].join("\n");
}

/** What a reader of the table needs to know. */
export function remarksOn(lines: readonly Line[], limits: ReadonlyMap<number, Limits> | undefined): string[] {
  const disturbed = lines.filter(({ foreign }) => foreign !== null && foreign > busy);
  const [noisy, spinning] = [
    disturbed.length,
    disturbed.some(({ peer, threads }) => peer.startsWith("torch") && threads > 1),
  ];
  return [
    ...(noisy > 0
      ? [
          `! The machine was busy: during ${noisy} of ${lines.length} measurements others kept more than ${busy} cores busy ("foreign"). Look at the least times and at ratios, and repeat this on a quiet machine.`,
        ]
      : []),
    ...(spinning
      ? [
          "PyTorch was among these with more than one thread. Its threads wait for each other spinning, so that a core which others use costs it many times what it costs those that sleep: do not quote these ratios. Those with --threads 1 are fair as long as a core is free.",
        ]
      : []),
    ...[...(limits ?? [])].map(([threads, { gflops, memory }]) => {
      const bandwidths = memory.map(({ bytes, gbps }) => `${gbps} GB/s in ${(bytes / 2 ** 20).toFixed(0)} MiB`);
      return `Limits of ${threads} thread${threads > 1 ? "s" : ""}: ${gflops} GFLOP/s, ${bandwidths.join(", ")}.`;
    }),
  ];
}
