// Memory of the `ts` executor: ArrayBuffers by number, and freed ones kept for the next request of the same size.

import { DeviceError } from "../../errors/index.ts";
import type { DType } from "../../ops/index.ts";
import type { BufferId, ElementArray, MemoryStats } from "../executor.ts";

/** Freed memory beyond this many bytes goes back to the garbage collector. */
const keptBytes = 2 ** 28;

/** A buffer and its elements in each dtype; the typed arrays share its memory. */
class Buffer {
  readonly bytes: Uint8Array;
  readonly float32: Float32Array;
  readonly int32: Int32Array;
  readonly float64: Float64Array;

  constructor(size: number) {
    const memory = new ArrayBuffer(size);
    this.bytes = new Uint8Array(memory);
    this.float32 = new Float32Array(memory);
    this.int32 = new Int32Array(memory);
    this.float64 = new Float64Array(memory);
  }
}

/** The buffers of one executor. */
export class BufferTable {
  readonly #live = new Map<BufferId, Buffer>();
  readonly #free = new Map<number, Buffer[]>();
  #lastId = 0;
  #liveBytes = 0;
  #freeBytes = 0;

  allocate(bytes: number): BufferId {
    if (!Number.isSafeInteger(bytes) || bytes < 0)
      throw new DeviceError({ op: "allocate", problem: `${bytes} is no number of bytes.` });
    const size = Math.max(8, Math.ceil(bytes / 8) * 8);
    const buffer = this.#takeFree(size) ?? this.#create(size);
    this.#live.set(++this.#lastId, buffer);
    this.#liveBytes += size;
    return this.#lastId;
  }

  release(id: BufferId): void {
    const buffer = this.#get("release", id);
    const size = buffer.bytes.length;
    this.#live.delete(id);
    this.#liveBytes -= size;
    if (this.#freeBytes + size > keptBytes) return;
    this.#freeBytes += size;
    const list = this.#free.get(size);
    if (list) list.push(buffer);
    else this.#free.set(size, [buffer]);
  }

  /** All elements of a buffer, seen as `dtype`. */
  elements(op: string, id: BufferId, dtype: DType): ElementArray {
    return this.#get(op, id)[dtype];
  }

  /** The memory that an array is written to or read from; `op` is what an error names. */
  range(op: string, id: BufferId, byteOffset: number, { byteLength }: ElementArray): Uint8Array {
    const { bytes } = this.#get(op, id);
    if (!Number.isInteger(byteOffset) || byteOffset < 0 || byteOffset + byteLength > bytes.length)
      throw new DeviceError({
        op,
        problem: `bytes ${byteOffset} to ${byteOffset + byteLength} lie outside buffer ${id} of ${bytes.length} bytes.`,
      });
    return bytes.subarray(byteOffset, byteOffset + byteLength);
  }

  stats(): MemoryStats {
    return {
      liveBuffers: this.#live.size,
      liveBytes: this.#liveBytes,
      reservedBytes: this.#liveBytes + this.#freeBytes,
    };
  }

  #get(op: string, id: BufferId): Buffer {
    const buffer = this.#live.get(id);
    if (!buffer) throw new DeviceError({ op, problem: `buffer ${id} does not exist.` });
    return buffer;
  }

  #takeFree(size: number): Buffer | undefined {
    const buffer = this.#free.get(size)?.pop();
    if (buffer) this.#freeBytes -= size;
    return buffer;
  }

  #create(size: number): Buffer {
    try {
      return new Buffer(size);
    } catch {
      this.#free.clear();
      this.#freeBytes = 0;
    }
    try {
      return new Buffer(size);
    } catch (cause) {
      const problem = `no memory for ${size} bytes, with ${this.#liveBytes} bytes in use.`;
      throw new DeviceError({ op: "allocate", problem, cause });
    }
  }
}

/** An array's bytes; they share its memory. */
export function bytesOfArray({ buffer, byteOffset, byteLength }: ElementArray): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
