// The host's part of a plan: it walks through the program ahead of the device and computes the numbers for each run.

import type { RecordedNode } from "./recorded.ts";
import { isLoop } from "./recorded.ts";

/**
 * Walks `steps` times through a program, as the device will, and returns the numbers of all runs of lists in their order.
 * It ends early after `most` runs of lists.
 */
export function walk(nodes: readonly RecordedNode[], steps: number, most = Infinity): Float64Array {
  const numbers: number[] = [];
  let runs = 0;
  const visit = (parts: readonly RecordedNode[]): void => {
    for (const node of parts) {
      if (runs >= most) return;
      if (isLoop(node)) {
        for (let i = 0; i < node.times && runs < most; i++) {
          node.index.value = node.first + i;
          visit(node.body);
        }
      } else {
        for (const action of node.actions) for (const number of action.run()) numbers.push(number);
        runs++;
      }
    }
  };
  for (let step = 0; step < steps && runs < most; step++) visit(nodes);
  return Float64Array.from(numbers);
}

/** How often lists run in one step, all together. */
export function runsOf(nodes: readonly RecordedNode[]): number {
  return nodes.reduce((runs, node) => runs + (isLoop(node) ? node.times * runsOf(node.body) : 1), 0);
}
