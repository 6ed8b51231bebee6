// The line that tells how far a run is: rewritten in place on a terminal, printed now and then elsewhere.

/** Where progress goes: what this needs of `process.stdout`. */
export interface ProgressStream {
  /** Whether it is a terminal, whose line may be written over. */
  readonly isTTY?: boolean;
  /** Characters in a line of the terminal. */
  readonly columns?: number;
  /** Writes text. */
  write(text: string): unknown;
}

/** How a progress line behaves; the defaults suit programs, the rest is for tests. */
export interface ProgressOptions {
  /** Number of iterations of the whole run. */
  readonly total: number;
  /** Default `process.stdout`. */
  readonly stream?: ProgressStream;
  /** The time in milliseconds, default `performance.now`. */
  readonly now?: () => number;
  /** Least milliseconds between two lines, default 100 on a terminal and 5,000 elsewhere. */
  readonly interval?: number;
}

/** The speed shown is that of the last seconds, so that it follows a machine that gets busy. */
const speedWindow = 5_000;
/** Speeds measured over less say little, above all those of the first steps. */
const leastSpeedWindow = 500;
const eraseToEnd = "\x1b[K";

/** Shows `iteration 1234/10000  loss 0.04123  81.3 it/s  ETA 1:47`; call `update` as often as you like. */
export class Progress {
  readonly #total: number;
  readonly #stream: ProgressStream;
  readonly #now: () => number;
  readonly #interval: number;
  readonly #begin: number;
  /** Since the beginning of the speed window, oldest first: when which iteration was done. */
  readonly #marks: { readonly time: number; readonly iteration: number }[];
  #iteration = 0;
  #loss: number | undefined;
  #lastShown: number | undefined;
  #finished = false;

  constructor(options: ProgressOptions) {
    this.#total = options.total;
    this.#stream = options.stream ?? process.stdout;
    this.#now = options.now ?? (() => performance.now());
    this.#interval = options.interval ?? (this.#stream.isTTY ? 100 : 5_000);
    this.#begin = this.#now();
    this.#marks = [{ time: this.#begin, iteration: 0 }];
  }

  /** Tells that `iteration` iterations are done, the last one with this loss. */
  update(iteration: number, loss?: number): void {
    this.#iteration = iteration;
    this.#loss = loss;
    const time = this.#now();
    if (this.#lastShown !== undefined && time - this.#lastShown < this.#interval) return;
    this.#lastShown = time;
    const speed = this.#recentSpeed(time);
    const eta = speed > 0 ? [showSpeed(speed), `ETA ${showDuration((this.#total - iteration) / speed)}`] : [];
    this.#show([...this.#state(), ...eta]);
  }

  /** Prints the last line, whether the run is complete or stopped early; further calls do nothing. */
  finish(): void {
    if (this.#finished) return;
    this.#finished = true;
    const seconds = (this.#now() - this.#begin) / 1000;
    const speed = seconds > 0 && this.#iteration > 0 ? [showSpeed(this.#iteration / seconds)] : [];
    this.#show([...this.#state(), ...speed, `took ${showDuration(seconds)}`]);
    if (this.#stream.isTTY) this.#stream.write("\n");
  }

  #state(): string[] {
    const iteration = String(this.#iteration).padStart(String(this.#total).length);
    const loss = this.#loss === undefined ? [] : [`loss ${this.#loss.toPrecision(4)}`];
    return [`iteration ${iteration}/${this.#total}`, ...loss];
  }

  /** Iterations a second since the beginning of the speed window; 0 while nothing is known. */
  #recentSpeed(time: number): number {
    this.#marks.push({ time, iteration: this.#iteration });
    while (this.#marks.length > 2 && this.#marks[1].time <= time - speedWindow) this.#marks.shift();
    const { time: since, iteration } = this.#marks[0];
    return time - since >= leastSpeedWindow ? ((this.#iteration - iteration) * 1000) / (time - since) : 0;
  }

  #show(parts: readonly string[]): void {
    const line = parts.join("  ");
    // A line that wraps could not be rewritten.
    if (this.#stream.isTTY) this.#stream.write(`\r${line.slice(0, (this.#stream.columns || 80) - 1)}${eraseToEnd}`);
    else this.#stream.write(`${line}\n`);
  }
}

/** `81.3 it/s`, or for what takes longer than two seconds `12.5 s/it`. */
function showSpeed(perSecond: number): string {
  return perSecond >= 0.5 ? `${threeDigits(perSecond)} it/s` : `${threeDigits(1 / perSecond)} s/it`;
}

function threeDigits(value: number): string {
  return value >= 99.95 ? String(Math.round(value)) : value.toPrecision(3);
}

/** Minutes and seconds, with hours before them where there are any: `1:47`, `2:05:00`. */
export function showDuration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const twoDigits = (n: number): string => String(n).padStart(2, "0");
  return h > 0 ? `${h}:${twoDigits(m)}:${twoDigits(s)}` : `${m}:${twoDigits(s)}`;
}
