// What the measuring process says to those that it measures, and hears from them: a line of JSON each.

import type { Task } from "./tasks.ts";
import type { Cost } from "./workloads/workload.ts";

/** What a measured process is started with. */
export interface Job {
  readonly task: Task;
  readonly device: "cuda" | "cpu" | "ts";
  readonly threads: number;
  /** Seconds to warm up, which is one run at least. */
  readonly warmSeconds: number;
}

/** "Run for so many seconds": at least once, at most `most` times. Without it, that is after the last one, the process ends. */
export interface Round {
  readonly seconds: number;
  readonly most: number;
}

/** The first answer: it is set up and warm. */
export interface Ready {
  readonly version: string;
  readonly variant: string;
  readonly threads: number;
  /** Of a call; only langevin counts. */
  readonly cost?: Cost;
}

/** The answer to a round. */
export interface RoundTimes {
  /** Seconds of a call, one number for each run. */
  readonly times: readonly number[];
  /** Seconds from the first run to the end of the last. */
  readonly elapsed: number;
  /** CPU seconds of the process meanwhile. */
  readonly own: number;
  /** CPU seconds of the whole machine meanwhile; null where the system does not tell. */
  readonly machine: number | null;
}

/** The last answer. */
export interface Ended {
  /** Bytes that were resident at most, above those after building the model; null where the system does not tell. */
  readonly memory: number | null;
}
