// Measures a task: all libraries in turn, round by round, so that what else the machine does hits all of them alike.

import type { Launch } from "./competitor.ts";
import { Competitor } from "./competitor.ts";
import type { Job, Ready, RoundTimes } from "./protocol.ts";
import type { Task } from "./tasks.ts";
import type { Cost } from "./workloads/workload.ts";

/** How long is measured. */
export interface Effort {
  /** Runs of each library at least. */
  readonly repeats: number;
  /** Seconds of each library at least. */
  readonly seconds: number;
}

/** A result as `--json` prints it: times in the metric's unit. */
export interface Measurement {
  readonly peer: string;
  readonly version: string;
  readonly workload: string;
  readonly variant: string;
  readonly device: string;
  readonly precision: "float32";
  readonly threads: number;
  readonly metric: string;
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly n: number;
  /** Cores that other processes kept busy meanwhile; null where the system does not tell. */
  readonly foreign: number | null;
  /** Resident MB at most, above those after building the model; null where the system does not tell. */
  readonly memory_mb: number | null;
}

/** What came of a task. */
export interface Outcome {
  readonly task: Task;
  readonly measurements: readonly Measurement[];
  /** Of a call, as langevin counts it. */
  readonly cost: Cost | undefined;
  /** Why some libraries were not measured. */
  readonly absent: readonly string[];
}

/** Seconds that one library runs before it is the next one's turn. */
const turn = 0.25;
/** No more runs than this tell anything new. */
const mostRuns = 1000;

/** Sets up all libraries on a task, and has them run in turn. One that fails is left out, with its reason. */
export async function measure(
  job: Omit<Job, "warmSeconds">,
  launches: readonly Launch[],
  effort: Effort,
): Promise<Outcome> {
  const absent: string[] = [];
  const entrants: Entrant[] = [];
  // One after the other: what builds its model or warms up would disturb others.
  for (const launch of launches) {
    const competitor = new Competitor(launch, { ...job, warmSeconds: Math.min(0.5, effort.seconds) });
    try {
      entrants.push(new Entrant(competitor, await competitor.ready()));
    } catch (error) {
      absent.push(`${launch.peer} on ${job.task.workload} ${job.task.metric}: ${(error as Error).message}`);
    }
  }
  try {
    while (entrants.some((entrant) => !entrant.satisfies(effort)))
      for (const entrant of entrants) if (!entrant.satisfies(effort)) await entrant.takeTurn(effort);
    const measurements: Measurement[] = [];
    for (const entrant of entrants) measurements.push(await entrant.finish(job));
    return { task: job.task, measurements, cost: entrants.find(({ ready }) => ready.cost)?.ready.cost, absent };
  } finally {
    for (const { competitor } of entrants) competitor.stop();
  }
}

/** A library on a task, with its rounds so far. */
class Entrant {
  readonly competitor: Competitor;
  readonly ready: Ready;
  private readonly rounds: RoundTimes[] = [];

  constructor(competitor: Competitor, ready: Ready) {
    this.competitor = competitor;
    this.ready = ready;
  }

  satisfies({ repeats, seconds }: Effort): boolean {
    const runs = this.rounds.flatMap(({ times }) => times).length;
    return runs >= mostRuns || (runs >= repeats && this.total("elapsed") >= seconds);
  }

  async takeTurn({ seconds }: Effort): Promise<void> {
    this.rounds.push(await this.competitor.run({ seconds: Math.min(turn, seconds), most: mostRuns }));
  }

  async finish({ task, device }: Omit<Job, "warmSeconds">): Promise<Measurement> {
    const { memory } = await this.competitor.end();
    const { version, variant, threads } = this.ready;
    const peer = this.competitor.peer;
    return {
      peer,
      version,
      workload: task.workload,
      variant,
      device: peer === "langevin" || device === "cuda" ? device : "cpu",
      precision: "float32",
      threads,
      metric: task.metric,
      ...statistics(
        this.rounds.flatMap(({ times }) => times),
        task.metric.startsWith("ms") ? 1000 : 1,
      ),
      foreign: this.foreign(),
      memory_mb: memory === null ? null : round(memory / 1e6),
    };
  }

  /** Cores that others kept busy during the rounds. */
  private foreign(): number | null {
    if (this.rounds.some(({ machine }) => machine === null)) return null;
    return Math.max(0, Number(((this.total("machine") - this.total("own")) / this.total("elapsed")).toFixed(2)));
  }

  private total(what: "elapsed" | "own" | "machine"): number {
    return this.rounds.reduce((sum, each) => sum + (each[what] ?? 0), 0);
  }
}

/** Median, least and greatest of times in seconds, each times `scale`. */
export function statistics(times: readonly number[], scale = 1): Pick<Measurement, "median" | "min" | "max" | "n"> {
  const sorted = times.toSorted((a, b) => a - b);
  const n = sorted.length;
  const median = (sorted[(n - 1) >> 1] + sorted[n >> 1]) / 2;
  return { median: round(scale * median), min: round(scale * sorted[0]), max: round(scale * sorted[n - 1]), n };
}

/** Five digits, more than any of these numbers has. */
const round = (x: number): number => Number(x.toPrecision(5));
