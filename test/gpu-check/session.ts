// What the parts of gpu-check share: the devices that are compared, how much of each part is run, and what was found so far.

import type { Executor } from "../../ts/device/executor.ts";
import type { CudaExecutor } from "../../ts/device/native/cuda-executor.ts";
import { DeviceError } from "../../ts/errors/index.ts";
import { showTime } from "./table.ts";

/** A result that is not what it should be. */
export class WrongAnswer extends Error {}

/** Ends a part, and where the check is not to keep going all of it; what went wrong is noted in the session. */
export class Ended extends Error {}

/** The op that an error names because it has no CUDA kernel; undefined for any other error. */
export function missingKernelIn(problem: string): string | undefined {
  return /(\w+): this op has no CUDA kernel yet/.exec(problem)?.[1];
}

/** The most that this GPU does, as the program of native/test/gpu measures it. */
export interface Ceilings {
  readonly device: string;
  readonly multiprocessors: number;
  /** 10^9 bytes in a second, read and written, of a copy in memory. */
  readonly copyGbps: number;
  /** 10^12 multiplications and additions in a second: by fma, and of products on tensor cores; 0 where the GPU has none. */
  readonly float32Tflops: number;
  readonly tf32Tflops: number;
  readonly bf16Tflops: number;
  /** Microseconds from one empty kernel to the next in a graph. */
  readonly launchUs: number;
}

/** A line of the table at the end. */
export interface Row {
  readonly workload: string;
  /** Seconds below which the GPU cannot come; undefined where its ceilings are not known. */
  readonly limit: number | undefined;
  /** Seconds of a call. */
  readonly ours: number;
  /** Largest difference from device cpu, relative to the largest value; undefined where only the time was taken. */
  readonly error: number | undefined;
}

/** Where a session tells what it finds. */
export interface Report {
  say(text: string): void;
  /** Notes what is begun, so that a run that hangs or is killed tells where. */
  begin(what: string): void;
}

/** What a session is given. */
export interface Setup {
  readonly cuda: CudaExecutor;
  readonly cpu: Executor;
  /** Decides the shapes and values that are drawn. */
  readonly seed: number;
  /** Whether kernels run on the host, for tests of this program: then everything is small. */
  readonly reduced: boolean;
  /** Milliseconds since the epoch (`Date.now`) at which nothing is begun any more, and programs are stopped. */
  readonly deadline: number;
  /** Whether to go on behind what is wrong. */
  readonly keepGoing: boolean;
  readonly report: Report;
}

/** One run of gpu-check. */
export class Session {
  readonly cuda: CudaExecutor;
  readonly cpu: Executor;
  readonly seed: number;
  readonly reduced: boolean;
  readonly deadline: number;
  ceilings: Ceilings | undefined;
  readonly rows: Row[] = [];
  /** What was not done, and why. */
  readonly leftOut: string[] = [];
  /** What went wrong. */
  readonly wrong: string[] = [];
  /** Whether an error has broken the process's CUDA context: then only other processes can use the GPU. */
  contextIsBroken = false;
  readonly #keepGoing: boolean;
  readonly #report: Report;

  constructor({ cuda, cpu, seed, reduced, deadline, keepGoing, report }: Setup) {
    this.cuda = cuda;
    this.cpu = cpu;
    this.seed = seed;
    this.reduced = reduced;
    this.deadline = deadline;
    this.#keepGoing = keepGoing;
    this.#report = report;
  }

  say(text: string): void {
    this.#report.say(text);
  }

  leaveOut(what: string, why: string): void {
    this.leftOut.push(`${what} (${why})`);
    this.say(`not run: ${what} (${why})`);
  }

  /** Adds a line to the table, and tells it at once. */
  addRow(row: Row): void {
    this.rows.push(row);
    const limit = row.limit && `limit ${showTime(row.limit)}, ${(row.ours / row.limit).toPrecision(3)}x`;
    const error = row.error === undefined ? undefined : `error ${row.error.toExponential(1)}`;
    this.say([`${row.workload}: ${showTime(row.ours)}`, limit, error].filter(Boolean).join("; "));
  }

  /**
   * Does one thing, such as the cases of an op or a timing, unless the time is over. An error of any kind is noted; then the check
   * goes on behind it, or throws Ended.
   */
  async attempt(what: string, run: () => Promise<void> | void): Promise<void> {
    if (Date.now() > this.deadline) return this.leaveOut(what, "the time is over");
    this.#report.begin(what);
    try {
      await run();
    } catch (error) {
      if (error instanceof Ended) throw error;
      const missing = missingKernelIn(messageOf(error));
      if (missing !== undefined) return this.leaveOut(what, `${missing} has no CUDA kernel`);
      // A smaller GPU has no room for everything.
      if (error instanceof DeviceError && error.problem.includes("out of memory"))
        return this.leaveOut(what, error.message);
      this.#note(what, error);
      if (!this.#keepGoing || this.contextIsBroken) throw new Ended(what, { cause: error });
    }
  }

  #note(what: string, error: unknown): void {
    const isOurs = error instanceof WrongAnswer || error instanceof DeviceError;
    const problem = isOurs || !(error instanceof Error) ? messageOf(error) : (error.stack ?? error.message);
    this.contextIsBroken ||= /CUDA context is broken/.test(problem);
    this.wrong.push(error instanceof WrongAnswer ? problem : `${what}: ${problem}`);
    this.say(`WRONG: ${this.wrong.at(-1)!}`);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** One thing that gpu-check does. */
export interface Part {
  /** As --only and --skip take it. */
  readonly name: string;
  readonly title: string;
  /** Whether other processes do it, which a broken CUDA context of this one does not concern. */
  readonly isElsewhere?: boolean;
  run(session: Session): Promise<void>;
}
