// Rules of the fused steps of diffusion and of samplers.

import { ExportError } from "../../../errors/index.ts";
import type { OnnxGraph, OnnxValue } from "../graph.ts";
import type { Rules } from "../rule.ts";
import type { Size } from "../size.ts";
import { Formula, aligned } from "./element-wise.ts";

/** Column `column` of a schedule's table at the timesteps t, one number for each image, of a shape that broadcasts. */
function coefficient(graph: OnnxGraph, table: OnnxValue, t: OnnxValue, column: number, rank: number): OnnxValue {
  const [batch] = t.shape;
  const ofColumn = graph.picked(graph.ours(table), 1, column, { dtype: "float32", shape: [table.shape[0]] });
  const ofImages = graph.node("Gather", [ofColumn, t], { axis: 0 }, { dtype: "float32", shape: [batch] });
  return graph.reshape(ofImages, perImage(batch, rank));
}

const perImage = (batch: Size, rank: number): Size[] => [batch, ...new Array<number>(rank - 1).fill(1)];

/** Rules of noising and of reverse steps. */
export const diffusionRules: Rules = {
  addNoise: (graph, { inputs, shape }) => {
    const [x0, noise, t, table] = inputs.map((input) => graph.ours(input!));
    const f = new Formula(graph, shape);
    const [signalScale, noiseScale] = [0, 1].map((column) => coefficient(graph, table, t, column, shape.length));
    return f.add(f.mul(x0, signalScale), f.mul(noise, noiseScale));
  },

  linearCombination: (graph, { inputs: [coefficients, ...terms], shape }) => {
    const { operands, order } = aligned(graph, terms as readonly OnnxValue[], shape.length);
    const f = new Formula(graph, shape, order);
    const products = operands.map((x, k) => {
      const coefficient = graph.picked(coefficients!, 0, k, { dtype: "float32", shape: [] });
      return f.mul(coefficient, x);
    });
    return products.reduce((sum, product) => f.add(sum, product));
  },

  ddpmStep: (graph, { inputs: [, , , , given], inputs, shape }) => {
    if (!given)
      throw new ExportError({
        op: "ddpmStep",
        problem: "this reverse step draws its noise, and no other runtime draws the same.",
        advice: "Pass the noise as { z }, an input of the function.",
      });
    const [x, epsilon, t, table, z] = inputs.map((input) => graph.ours(input!));
    const f = new Formula(graph, shape);
    const scales = [0, 1, 2].map((column) => coefficient(graph, table, t, column, shape.length));
    const mean = f.mul(scales[0], f.sub(x, f.mul(scales[1], epsilon)));
    const timesteps = graph.reshape(t, perImage(t.shape[0], shape.length));
    const isLast = graph.node("Equal", [timesteps, graph.scalar("int32", 0)], {}, { ...timesteps, dtype: "bool" });
    return f.where(isLast, mean, f.add(mean, f.mul(scales[2], z)));
  },
};
