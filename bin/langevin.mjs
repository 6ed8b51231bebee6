#!/usr/bin/env node
// Starts the command line: the compiled one of a package, or in a clone the TypeScript sources through tsx.

import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const compiled = new URL("../dist/ts/cli/main.js", import.meta.url);
const sources = new URL("../ts/cli/main.ts", import.meta.url);

async function load() {
  if (existsSync(compiled)) return import(compiled.href);
  if (!existsSync(sources))
    return refuse("This installation of langevin is incomplete: neither dist/ nor ts/ is there.");
  const tsx = await import("tsx/esm/api").catch(() =>
    refuse("langevin runs from its sources here, which takes its development dependencies. Run: npm ci"),
  );
  // Named explicitly, since tsx would look for it in the current folder.
  tsx.register({ tsconfig: fileURLToPath(new URL("../tsconfig.json", import.meta.url)) });
  return import(sources.href);
}

function refuse(problem) {
  console.error(problem);
  process.exit(1);
}

const { main } = await load();
process.exitCode = await main(process.argv.slice(2));
