// The fused steps of diffusion: q_sample, and the reverse step of DDPM with its noise.

import type { NoiseKey } from "../noise.ts";
import { NoiseStream } from "../noise.ts";
import type { Kernel, View } from "../view.ts";
import { imagesOf } from "../view.ts";

/** The coefficient of the timestep that image n has; NaN where the timestep is not in the table. */
function coefficient(table: View, t: View, n: number, column: number): number {
  const timestep = t.data[t.offset + n];
  return timestep >= 0 && timestep < table.rows ? table.data[table.offset + timestep * table.pitch + column] : NaN;
}

export const addNoise: Kernel<object> = (y, [x0, noise, t, table]) => {
  const [target, inputs, draws] = [imagesOf(y), imagesOf(x0!), imagesOf(noise!)];
  for (let n = 0; n < target.count; n++) {
    const signal = coefficient(table!, t!, n, 0);
    const sigma = coefficient(table!, t!, n, 1);
    for (let row = 0; row < target.rows; row++) {
      const to = y.offset + n * target.stride + row * target.pitch;
      const from = x0!.offset + n * inputs.stride + row * inputs.pitch;
      const z = noise!.offset + n * draws.stride + row * draws.pitch;
      for (let i = 0; i < target.cols; i++) y.data[to + i] = signal * x0!.data[from + i] + sigma * noise!.data[z + i];
    }
  }
};

export const ddpmStep: Kernel<NoiseKey> = (y, [x, epsilon, t, table, z], key) => {
  const [target, inputs, predictions] = [imagesOf(y), imagesOf(x!), imagesOf(epsilon!)];
  const draw = z ? givenNoise(z) : drawnNoise(y, key);
  for (let n = 0; n < target.count; n++) {
    const meanScale = coefficient(table!, t!, n, 0);
    const epsilonScale = coefficient(table!, t!, n, 1);
    // The last step adds nothing, even where the table or z holds no finite number.
    const noisy = t!.data[t!.offset + n] !== 0;
    const sigma = coefficient(table!, t!, n, 2);
    for (let row = 0; row < target.rows; row++) {
      const to = y.offset + n * target.stride + row * target.pitch;
      const from = x!.offset + n * inputs.stride + row * inputs.pitch;
      const predicted = epsilon!.offset + n * predictions.stride + row * predictions.pitch;
      const { data, start } = noisy ? draw(n, row) : none;
      for (let i = 0; i < target.cols; i++) {
        const mean = meanScale * (x!.data[from + i] - epsilonScale * epsilon!.data[predicted + i]);
        y.data[to + i] = noisy ? mean + sigma * data[start + i] : mean;
      }
    }
  }
};

/** Noise of one row of one image: adjacent values from `start` on. */
type NoiseRows = (image: number, row: number) => { readonly data: View["data"]; readonly start: number };

const none = { data: new Float32Array(0), start: 0 };

function givenNoise(z: View): NoiseRows {
  const { stride, pitch } = imagesOf(z);
  return (image, row) => ({ data: z.data, start: z.offset + image * stride + row * pitch });
}

/** Draws as randn does, an image at a time. */
function drawnNoise(y: View, key: NoiseKey): NoiseRows {
  const { rows, cols } = imagesOf(y);
  const stream = new NoiseStream(key);
  const data = new Float32Array(Math.ceil((rows * cols) / 4) * 4);
  return (image, row) => {
    if (row === 0)
      for (let e = 0; e < data.length; e += 4) {
        stream.drawNormals(image, e / 4);
        data.set(stream.normals, e);
      }
    return { data, start: row * cols };
  };
}
