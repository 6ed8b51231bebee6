// What `langevin build` runs: builds the native addon, shows the compilers' words, and fails where there is none.
// `node scripts/build.mjs [auto|on|off [auto|all|80,90]]` says whether CUDA is wanted, and for which GPUs.

import { buildAddon, say, shownPath } from "./build-addon.mjs";
import { Interrupted } from "./compile.mjs";

try {
  const { built, record } = await buildAddon({ cuda: process.argv[2], arch: process.argv[3], show: true });
  for (const { log } of record.attempts) if (log) say(`the log is ${shownPath(log)}`);
  if (!built) {
    if (record.addon !== null) say(`the addon of ${record.addon.date} stays in place.`);
    process.exitCode = 1;
  }
} catch (error) {
  if (error instanceof Interrupted) process.kill(process.pid, error.signal);
  say(`the native addon was not compiled: ${error instanceof Error ? error.message : String(error)}.`);
  process.exitCode = 1;
}
