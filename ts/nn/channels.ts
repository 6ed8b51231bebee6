// Channels in the types of layers: what a layer takes and gives on the last axis, and whether layers in a row fit.
//
// A layer says so by its members: `inChannels` and `outChannels` (or `inFeatures` and `outFeatures`), literal types where
// the numbers are literals; `keepsChannels: true` if it gives as many as it takes, whatever their number; `chain`, if it
// runs one layer after the other. Where a number is not known when the program is written, it is `number`: that fits
// everything here and is checked when the program runs.

/** Channels that a layer takes. */
export type Takes<Layer> = Layer extends { readonly inChannels: infer N extends number }
  ? N
  : Layer extends { readonly inFeatures: infer N extends number }
    ? N
    : Layer extends { readonly chain: readonly [infer First, ...infer Rest] }
      ? First extends { readonly keepsChannels: true }
        ? Takes<{ readonly chain: Rest }>
        : Takes<First>
      : number;

/** Channels that a layer gives when it is given `Given`. */
export type Gives<Layer, Given extends number> = Layer extends { readonly outChannels: infer N extends number }
  ? N
  : Layer extends { readonly outFeatures: infer N extends number }
    ? N
    : Layer extends { readonly keepsChannels: true }
      ? Given
      : Layer extends { readonly chain: readonly [infer First, ...infer Rest] }
        ? Gives<{ readonly chain: Rest }, Gives<First, Given>>
        : Layer extends { readonly chain: readonly [] }
          ? Given
          : number;

/** For each of the layers in a row `unknown`, which everything fits, or the text of what does not. */
export type Verdicts<Layers extends readonly unknown[], Given extends number = number> = Layers extends readonly [
  infer First,
  ...infer Rest,
]
  ? [Verdict<Takes<First>, Given>, ...Verdicts<Rest, Gives<First, Given>>]
  : unknown[];

type Verdict<Taken extends number, Given extends number> = [Taken & Given] extends [never]
  ? `takes ${Taken} channels, but the layers before it give ${Given}`
  : unknown;
