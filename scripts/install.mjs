// The install script of the package: builds the native addon where that is possible. It never fails the installation,
// because of what only makes it faster.

import { buildAddon, say } from "./build-addon.mjs";
import { Interrupted } from "./compile.mjs";

try {
  const { built, record } = await buildAddon();
  if (!built && record.addon === null)
    say("no native addon was compiled: everything works, but slower. What is missing: npx langevin doctor");
} catch (error) {
  if (error instanceof Interrupted) process.kill(process.pid, error.signal);
  else say(`the native addon was not compiled: ${error instanceof Error ? error.message : String(error)}.`);
}
