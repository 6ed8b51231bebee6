// Places for buffers in one block of memory, such that those in use at the same time do not overlap.

/** What needs a place: its size in bytes, and from when to when, both ends included. */
export interface Tenant {
  readonly bytes: number;
  readonly start: number;
  readonly end: number;
}

/** Multiple of bytes at which everything begins: whole cache lines, and what wide loads of a GPU want. */
export const arenaAlignment = 256;

/**
 * The offset of each tenant in bytes, and the size of the whole. The largest ones choose first; each takes the lowest gap
 * that is free while it lives (greedy by size: Pisarchyk and Lee 2020).
 */
export function arrange(tenants: readonly Tenant[]): { readonly offsets: number[]; readonly bytes: number } {
  const offsets = new Array<number>(tenants.length).fill(0);
  const order = tenants.map((_, i) => i).sort((a, b) => tenants[b].bytes - tenants[a].bytes || a - b);
  /** Those that have a place, by their offset. */
  const placed: number[] = [];
  let bytes = 0;
  for (const i of order) {
    const { start, end } = tenants[i];
    const size = aligned(tenants[i].bytes);
    let offset = 0;
    for (const other of placed) {
      const neighbour = tenants[other];
      if (neighbour.end < start || neighbour.start > end) continue;
      if (offsets[other] >= offset + size) break;
      offset = Math.max(offset, offsets[other] + aligned(neighbour.bytes));
    }
    offsets[i] = offset;
    bytes = Math.max(bytes, offset + size);
    const at = placed.findIndex((other) => offsets[other] > offset);
    placed.splice(at < 0 ? placed.length : at, 0, i);
  }
  return { offsets, bytes };
}

function aligned(bytes: number): number {
  return Math.max(1, Math.ceil(bytes / arenaAlignment)) * arenaAlignment;
}
