// Whether samples are new: how far they are from the nearest training picture, beside pictures that were held out.

/** Euclidean distance of each picture to its nearest neighbour among `others`; all flat, `size` numbers each. */
function nearestDistances(pictures: ArrayLike<number>, others: ArrayLike<number>, size: number): number[] {
  return Array.from({ length: pictures.length / size }, (_, k) => {
    let nearest = Infinity;
    for (let other = 0; other < others.length; other += size) {
      let square = 0;
      for (let i = 0; i < size && square < nearest; i++) square += (pictures[k * size + i] - others[other + i]) ** 2;
      nearest = Math.min(nearest, square);
    }
    return Math.sqrt(nearest);
  });
}

function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return (sorted[Math.floor((sorted.length - 1) / 2)] + sorted[Math.ceil((sorted.length - 1) / 2)]) / 2;
}

/** Median distances to the nearest training picture: copies would show as a ratio near 0, noise as one far above 1. */
export function novelty(samples: ArrayLike<number>, training: Float32Array, heldOut: Float32Array, size: number) {
  const [ofSamples, ofHeldOut] = [samples, heldOut].map((set) => median(nearestDistances(set, training, size)));
  return { samples: ofSamples, heldOut: ofHeldOut, ratio: ofSamples / ofHeldOut };
}
