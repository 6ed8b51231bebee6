// What training leaves behind, as text of its bits, and training runs that are looked at report by report.

import type { Module, Tensor, TrainProgress } from "langevin";
import { scope } from "langevin";
import { bits } from "../plan/bits.ts";

/** What of an optimizer is looked at. */
export interface Stateful {
  stateDict(): { readonly tensors: Readonly<Record<string, Tensor>>; readonly numbers: { readonly step: number } };
}

/** All that training changes: weights, and the optimizer's tensors and numbers. Blocks until it is computed. */
export function stateOf(model: Module, optimizer: Stateful): string[] {
  return scope(() => {
    const { tensors, numbers } = optimizer.stateDict();
    return [...model.parameters().map(bits), ...Object.values(tensors).map(bits), JSON.stringify(numbers)];
  });
}

/** Steps that an optimizer has taken. */
export function stepsOf(optimizer: Stateful): number {
  return scope(() => optimizer.stateDict().numbers.step);
}

/** All reports of a run. */
export async function collect(run: AsyncIterable<TrainProgress>): Promise<TrainProgress[]> {
  const reports: TrainProgress[] = [];
  for await (const report of run) reports.push(report);
  return reports;
}
