// What samples of a class are worth: whether they are the digit that was asked for, and how much they differ.

import type { ImageSet } from "langevin";
import { nearestNeighbours } from "./nearest-digits.ts";

/** Pictures, one after the other, and the class that each is, or was meant to be. */
export interface LabelledPictures {
  readonly images: ArrayLike<number>;
  readonly labels: ArrayLike<number>;
}

/** The share of pictures whose nearest neighbour among handwritten digits is of their class. */
export function shareRecognised({ images, labels }: LabelledPictures, known: ImageSet): number {
  const neighbours = nearestNeighbours(images, known.images, images.length / labels.length);
  const recognised = neighbours.filter(({ index }, k) => known.labels![index] === labels[k]);
  return recognised.length / labels.length;
}

/** The root mean square distance of pictures to the mean of their class: 0 where all of a class are the same. */
export function variety({ images, labels }: LabelledPictures): number {
  const size = images.length / labels.length;
  const all = Array.from(labels, (label, k) => ({ label, pixels: Array.from({ length: size }, (_, i) => images[k * size + i]) })); // prettier-ignore
  let squares = 0;
  for (const label of new Set(Array.from(labels))) {
    const ofClass = all.filter((picture) => picture.label === label);
    for (let i = 0; i < size; i++) {
      const mean = ofClass.reduce((sum, { pixels }) => sum + pixels[i], 0) / ofClass.length;
      squares += ofClass.reduce((sum, { pixels }) => sum + (pixels[i] - mean) ** 2, 0);
    }
  }
  return Math.sqrt(squares / labels.length);
}
