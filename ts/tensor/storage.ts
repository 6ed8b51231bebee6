// Reference-counted device memory: what tensors, views and the tape share.

import type { BufferId, Executor } from "../device/executor.ts";

/** One buffer of an executor; goes back to it when the last holder lets go. */
export class Storage {
  readonly executor: Executor;
  readonly buffer: BufferId;
  private holders = 1;

  constructor(executor: Executor, bytes: number) {
    this.executor = executor;
    this.buffer = executor.allocate(bytes);
  }

  retain(): this {
    this.holders++;
    return this;
  }

  release(): void {
    if (--this.holders === 0) this.executor.release(this.buffer);
  }
}

/** Counts in-place writes to a parameter; views and kept copies of it share the counter. */
export interface Version {
  count: number;
}
