// The command `langevin doctor`: prints what works here and what does not, for people or as JSON.

import { gatherFacts } from "./doctor-facts.ts";
import { report } from "./doctor-report.ts";

/** Prints the facts; the exit code is 1 only where the device that was asked for does not work. */
export function doctor(json: boolean, write: (text: string) => void): number {
  const facts = gatherFacts();
  write(json ? `${JSON.stringify(facts, null, 2)}\n` : report(facts));
  return facts.defaultDevice === null ? 1 : 0;
}
