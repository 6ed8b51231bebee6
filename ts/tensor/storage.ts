// Reference-counted device memory: what tensors, views and the tape share.

import type { BufferId, Executor } from "../device/executor.ts";
import type { Recording } from "./recording.ts";
import { currentRecording, refuseInRecording } from "./recording.ts";

/** One buffer of an executor, or a part of another storage that it was moved into. Let go of by the last holder. */
export class Storage {
  readonly executor: Executor;
  readonly bytes: number;
  /** The recording that the memory belongs to; such memory does not exist outside of it. */
  readonly recording: Recording | undefined;
  private readonly own: BufferId;
  private outer: { readonly storage: Storage; readonly byteOffset: number } | undefined;
  private holders = 1;

  constructor(executor: Executor, bytes: number) {
    this.executor = executor;
    this.bytes = bytes;
    this.recording = currentRecording();
    this.own = this.recording ? this.recording.allocate(executor, bytes) : executor.allocate(bytes);
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
    refuseInRecording("capture", "parameters were packed", "Make optimizers before capturing.");
    if (this.outer) this.outer.storage.release();
    else this.executor.release(this.own);
    this.outer = { storage: storage.retain(), byteOffset };
  }

  /** Whether the last holder let go. */
  get freed(): boolean {
    return this.holders === 0;
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
    else if (!this.recording) this.executor.release(this.own);
  }
}
