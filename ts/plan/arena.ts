// Places for buffers in one block of memory, such that those in use at the same time do not overlap.

/** What needs a place: its size in bytes, and from when to when, both ends included. */
export interface Tenant {
  readonly bytes: number;
  readonly start: number;
  readonly end: number;
}

/** Where each tenant lies in bytes, and the size of the whole. */
export interface Arrangement {
  readonly offsets: readonly number[];
  readonly bytes: number;
}

/** Multiple of bytes at which everything begins: whole cache lines, and what wide loads of a GPU want. */
export const arenaAlignment = 256;

/** The largest ones choose first; each takes the lowest gap that is free while it lives (greedy by size: Pisarchyk and Lee 2020). */
export function arrange(tenants: readonly Tenant[]): Arrangement {
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

/** In bytes: what a GPU writes in a third of a microsecond, when to begin takes it two. */
const smallSizes = [2 ** 20, 2 ** 16];

/** What may be spent on letting commands run side by side: this many bytes, or this share of all. */
const spare = { bytes: 2 ** 26, share: 1 / 8 };

/**
 * The same for commands that run side by side where nothing keeps them from it. One that writes where another one has just read
 * would wait for that, so places of small tenants are not used again, unless that took much memory.
 */
export function arrangeSideBySide(tenants: readonly Tenant[]): Arrangement {
  const tight = arrange(tenants);
  const most = Math.max(spare.bytes, (1 + spare.share) * tight.bytes);
  for (const small of smallSizes) {
    const loose = arrange(tenants.map((tenant) => (tenant.bytes > small ? tenant : { ...tenant, end: Infinity })));
    if (loose.bytes <= most) return loose;
  }
  return tight;
}

function aligned(bytes: number): number {
  return Math.max(1, Math.ceil(bytes / arenaAlignment)) * arenaAlignment;
}
