// The sizes of the paper's models (Peebles and Xie 2023, table 1), as facts.

/** How large a DiT is; `DiT.preset` has the paper's sizes. */
export interface DiTSize {
  /** Side of a patch in pixels; divides the image's height and width. */
  readonly patchSize: number;
  /** Channels of a patch's vector; divisible by 4 and by `heads`. */
  readonly width: number;
  /** Number of blocks. */
  readonly depth: number;
  /** Heads of each attention. */
  readonly heads: number;
}

const sizes = {
  s: { width: 384, depth: 12, heads: 6 },
  b: { width: 768, depth: 12, heads: 12 },
  l: { width: 1024, depth: 24, heads: 16 },
  xl: { width: 1152, depth: 28, heads: 16 },
} as const;

/** Names of the paper's models. */
export type DiTPreset = `dit-${keyof typeof sizes}/${2 | 4 | 8}`;

/** Sizes by the model's name. */
export const presets: Readonly<Record<DiTPreset, DiTSize>> = Object.fromEntries(
  Object.entries(sizes).flatMap(([name, size]) =>
    [2, 4, 8].map((patchSize) => [`dit-${name}/${patchSize}`, { patchSize, ...size }]),
  ),
) as Record<DiTPreset, DiTSize>;
