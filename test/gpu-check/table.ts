// gpu-check's table: workload, limit, our time, the multiple of the limit, and the error.

import { markdownTable } from "../../bench/report.ts";
import type { Row } from "./session.ts";

/** Seconds, with three digits, in a unit that fits. */
export const showTime = (seconds: number): string =>
  Math.abs(seconds) < 1e-3
    ? `${(1e6 * seconds).toPrecision(3)} us`
    : Math.abs(seconds) < 1
      ? `${(1e3 * seconds).toPrecision(3)} ms`
      : `${seconds.toPrecision(3)} s`;

/** The table at the end. */
export function tableOf(rows: readonly Row[]): string {
  const cells = rows.map(({ workload, limit, ours, error }) => [
    workload,
    limit === undefined ? "" : showTime(limit),
    showTime(ours),
    limit === undefined ? "" : `${(ours / limit).toPrecision(3)}x`,
    error === undefined ? "" : error.toExponential(1),
  ]);
  return markdownTable([["workload", "limit", "ours", "multiple", "error"], ...cells], [1, 2, 3, 4]);
}
