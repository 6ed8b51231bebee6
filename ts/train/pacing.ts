// Keeps the device busy without running ahead of it: at most two steps are in flight.

import type { Executor } from "../device/executor.ts";

/** Lets the caller enqueue step k + 1 while step k runs, and waits before step k + 2. */
export class Pacer {
  private readonly executor: Executor;
  private earlier: Promise<void> | undefined;

  constructor(executor: Executor) {
    this.executor = executor;
  }

  /** Call after enqueuing a step: resolves when the step before it is done. */
  async turn(): Promise<void> {
    const before = this.earlier;
    this.earlier = this.executor.synchronize();
    // An error of this step surfaces at the next turn or at finish; until then it must not count as unhandled.
    this.earlier.catch(() => undefined);
    await before;
  }

  /** Resolves when everything enqueued is done. */
  async finish(): Promise<void> {
    await this.earlier;
    this.earlier = undefined;
  }
}
