// Dropout.

import type { NoiseKey } from "../noise.ts";
import { NoiseStream, uniform } from "../noise.ts";
import type { Kernel } from "../view.ts";
import { imagesOf } from "../view.ts";

export const dropout: Kernel<NoiseKey & { readonly p: number }> = (y, [x], { p, ...key }) => {
  const stream = new NoiseStream(key);
  const [to, from] = [imagesOf(y), imagesOf(x!)];
  const scale = 1 / (1 - p);
  for (let image = 0; image < to.count; image++)
    for (let row = 0, e = 0; row < to.rows; row++) {
      const target = y.offset + image * to.stride + row * to.pitch;
      const source = x!.offset + image * from.stride + row * from.pitch;
      for (let col = 0; col < to.cols; col++, e++) {
        if ((e & 3) === 0) stream.drawWords(image, e >>> 2);
        y.data[target + col] = uniform(stream.words[e & 3]) >= p ? x!.data[source + col] * scale : 0;
      }
    }
};
