// Cases of models and what they are made of: sinusoidal embeddings.

import type { Tensor } from "langevin";
import { timestepEmbedding } from "langevin";
import type { Tolerance } from "./compare.ts";
import { expectClose } from "./compare.ts";
import type { Case, DataSet } from "./data-set.ts";
import type { Setting } from "./suite.ts";

interface EmbeddingCase {
  readonly params: {
    readonly dim: number;
    readonly flip_sin_to_cos: boolean;
    readonly downscale_freq_shift: number;
    readonly max_period: number;
  };
  readonly inputs: { readonly timesteps: string };
  readonly output: string;
  readonly tolerance: Pick<Tolerance, "atol">;
}

/** Sines and cosines of timesteps. */
export async function runTimestepEmbeddingCase(data: DataSet, given: Case, setting: Setting): Promise<boolean> {
  const { params, inputs, output, tolerance } = given as unknown as EmbeddingCase;
  const embed = setting.planned((t: Tensor) =>
    timestepEmbedding(t, params.dim, {
      flipSinToCos: params.flip_sin_to_cos,
      freqShift: params.downscale_freq_shift,
      maxPeriod: params.max_period,
    }),
  );
  const got = await setting.numbers(embed(setting.tensor(data.read(inputs.timesteps))));
  expectClose("embedding", got, data.read(output), { rtol: 0, ...tolerance });
  return true;
}
