// Reference-counted device memory: what tensors, views and the tape share.

import type { BufferId, Executor } from "../device/executor.ts";

/** One buffer of an executor, or a part of another storage that it was moved into. Let go of by the last holder. */
export class Storage {
  readonly executor: Executor;
  readonly bytes: number;
  private readonly own: BufferId;
  private outer: { readonly storage: Storage; readonly byteOffset: number } | undefined;
  private holders = 1;

  constructor(executor: Executor, bytes: number) {
    this.executor = executor;
    this.bytes = bytes;
    this.own = executor.allocate(bytes);
  }

  get buffer(): BufferId {
    return this.outer ? this.outer.storage.buffer : this.own;
  }

  /** Where in the buffer the storage begins. */
  get byteOffset(): number {
    return this.outer?.byteOffset ?? 0;
  }

  /** Continues at `byteOffset` of a storage with a buffer of its own; all views come along. Values are not copied. */
  moveInto(storage: Storage, byteOffset: number): void {
    if (this.outer) this.outer.storage.release();
    else this.executor.release(this.own);
    this.outer = { storage: storage.retain(), byteOffset };
  }

  /** Whether more than one holder can see what is written here. */
  get shared(): boolean {
    return this.holders > 1;
  }

  retain(): this {
    this.holders++;
    return this;
  }

  release(): void {
    if (--this.holders > 0) return;
    if (this.outer) this.outer.storage.release();
    else this.executor.release(this.own);
  }
}

/** Counts in-place writes to a parameter; views and kept copies of it share the counter. */
export interface Version {
  count: number;
}
