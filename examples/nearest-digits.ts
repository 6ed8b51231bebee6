// What samples are like: how far they are from the nearest handwritten digits, and which digit these are.

import type { ImageSet } from "langevin";

/** The one of several pictures that is most like a given one: its number, and its Euclidean distance. */
interface Neighbour {
  readonly index: number;
  readonly distance: number;
}

/** The nearest neighbour of each picture among `others`; all flat, `size` numbers each. */
function nearestNeighbours(pictures: ArrayLike<number>, others: ArrayLike<number>, size: number): readonly Neighbour[] {
  return Array.from({ length: pictures.length / size }, (_, k) => {
    let [index, nearest] = [-1, Infinity];
    for (let other = 0; other < others.length / size; other++) {
      let square = 0;
      for (let i = 0; i < size && square < nearest; i++)
        square += (pictures[k * size + i] - others[other * size + i]) ** 2;
      if (square < nearest) [index, nearest] = [other, square];
    }
    return { index, distance: Math.sqrt(nearest) };
  });
}

function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return (sorted[Math.floor((sorted.length - 1) / 2)] + sorted[Math.ceil((sorted.length - 1) / 2)]) / 2;
}

/** Median distances to the nearest training picture: copies would show as a ratio near 0, noise as one far above 1. */
export function novelty(samples: ArrayLike<number>, training: Float32Array, heldOut: Float32Array, size: number) {
  const [ofSamples, ofHeldOut] = [samples, heldOut].map((set) =>
    median(nearestNeighbours(set, training, size).map(({ distance }) => distance)),
  );
  return { samples: ofSamples, heldOut: ofHeldOut, ratio: ofSamples / ofHeldOut };
}

/** Pictures, one after the other, and the digit that each is, or was meant to be. */
export interface LabelledPictures {
  images: ArrayLike<number>;
  labels: ArrayLike<number>;
}

/** Reads pictures by their nearest neighbours among known digits. */
export function readDigits({ images, labels }: LabelledPictures, known: ImageSet) {
  const neighbours = nearestNeighbours(images, known.images, images.length / labels.length);
  return {
    /** Share of the pictures whose neighbour is the digit that they are meant to be. */
    right: neighbours.filter(({ index }, k) => known.labels![index] === labels[k]).length / labels.length,
    /** Median distance to the neighbours. */
    distance: median(neighbours.map(({ distance }) => distance)),
  };
}
