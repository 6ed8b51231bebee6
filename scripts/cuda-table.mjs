// The table of what CUDA kernels take of a multiprocessor (docs/cuda-kernels.md): made of what the compiler says, read again, and
// compared.

import { basename } from "node:path";
import { targets } from "./cuda-compile.mjs";

/** What a multiprocessor has (CUDA C++ programming guide, "compute capabilities"); shared memory in bytes. */
const multiprocessors = {
  75: { warps: 32, blocks: 16, registers: 65536, shared: 65536, reserved: 0 },
  80: { warps: 64, blocks: 32, registers: 65536, shared: 167936, reserved: 1024 },
  90: { warps: 64, blocks: 32, registers: 65536, shared: 233472, reserved: 1024 },
};
/** Registers are dealt to warps in units of so many. */
const registerUnit = 256;
const warp = 32;

/**
 * Warps that a multiprocessor holds, by registers and static shared memory: dynamic shared memory is only known when a kernel is
 * launched. Undefined for kernels that do not tell how many threads a block has.
 */
export function residentWarps({ threads, registers, shared }, target) {
  if (threads === 0) return undefined;
  const most = multiprocessors[target];
  const warps = Math.ceil(threads / warp);
  const ofWarp = Math.ceil((registers * warp) / registerUnit) * registerUnit;
  const byRegisters = Math.floor(Math.floor(most.registers / ofWarp) / warps);
  const byShared = shared + most.reserved === 0 ? Infinity : Math.floor(most.shared / (shared + most.reserved));
  return Math.min(most.blocks, byRegisters, byShared, Math.floor(most.warps / warps)) * warps;
}

/** The kernel's name without template arguments. */
const templateOf = (name) => name.replace(/<.*$/, "");

/** Kernels whose threads work together have a row for each instance; those of the others share one, with the worst of each. */
const rowName = ({ name, barriers }) => (barriers > 0 ? shortened(name) : templateOf(name));

/** Template arguments without the words that only a compiler needs. */
function shortened(name) {
  return name
    .replace(/\(Arithmetic\)0/g, "float32")
    .replace(/\(Arithmetic\)1/g, "tf32")
    .replace(/\(Arithmetic\)2/g, "bf16")
    .replace(/\(\w+(?:::\w+)*\)(\d+)/g, "$1")
    .replaceAll("|", "/");
}

/** One row for each kernel (or family of instances) of a file: what its worst instance takes for each target. */
export function rowsOf(results) {
  const rows = new Map();
  for (const { source, target, kernels } of results)
    for (const kernel of kernels) {
      const key = `${basename(source)} ${rowName(kernel)}`;
      const row = rows.get(key) ?? { file: basename(source), kernel: rowName(kernel), instances: 0, targets: {} };
      rows.set(key, row);
      if (target === targets[0]) row.instances++;
      const worst = (row.targets[target] ??= { registers: 0, warps: Infinity, shared: 0, stack: 0, spills: 0 });
      worst.registers = Math.max(worst.registers, kernel.registers);
      worst.warps = Math.min(worst.warps, residentWarps(kernel, target) ?? Infinity);
      for (const name of ["shared", "stack", "spills"]) worst[name] = Math.max(worst[name], kernel[name]);
    }
  return [...rows.values()].sort((a, b) => (a.file + a.kernel < b.file + b.kernel ? -1 : 1));
}

const each = (row, name) => targets.map((target) => row.targets[target]?.[name] ?? "-").join(" / ");
const showWarps = (row) =>
  targets.map((target) => (Number.isFinite(row.targets[target]?.warps) ? row.targets[target].warps : "-")).join(" / ");

/** The page. */
export function pageOf(rows, release) {
  const columns = `of sm_${targets.join(" / ")}`;
  const cells = rows.map((row) => [
    row.file,
    `\`${row.kernel}\``,
    String(row.instances),
    each(row, "registers"),
    showWarps(row),
    each(row, "shared"),
    each(row, "spills"),
  ]);
  const head = ["file", "kernel", "instances", "registers", "warps", "shared", "spills"];
  const widths = head.map((title, i) => Math.max(title.length, ...cells.map((row) => row[i].length)));
  const line = (row) => `| ${row.map((cell, i) => cell.padEnd(widths[i])).join(" | ")} |`;
  return `# What CUDA kernels take

Written by \`npm run cuda:resources\` with nvcc ${release}; \`test/device/cuda-resources.test.ts\` holds kernels to it. Numbers are those
${columns}: registers of a thread, warps that a multiprocessor holds at once (by registers and static shared memory; it has room
for 32, 64 and 64), bytes of static shared memory of a block, and bytes that were spilled from registers. Instances of a kernel whose threads do
not work together share a row, which has the worst of each.

${[line(head), `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`, ...cells.map(line)].join("\n")}
`;
}

/** The rows of a page, as `pageOf` wrote it, and the release of nvcc. */
export function readPage(text) {
  const numbers = (cell) => cell.split(" / ").map((given) => (given === "-" ? Infinity : Number(given)));
  const rows = text
    .split("\n")
    .filter((line) => /^\| \S+\.cu/.test(line))
    .map((line) =>
      line
        .split("|")
        .slice(1, -1)
        .map((cell) => cell.trim()),
    )
    .map(([file, kernel, instances, ...columns]) => {
      const [registers, warps, shared, spills] = columns.map(numbers);
      const entries = targets.map((target, i) => [
        target,
        { registers: registers[i], warps: warps[i], shared: shared[i], spills: spills[i] },
      ]);
      return { file, kernel: kernel.slice(1, -1), instances: Number(instances), targets: Object.fromEntries(entries) };
    });
  return { rows, release: /with nvcc (\d+\.\d+)/.exec(text)?.[1] };
}

/** So many registers more or less are no change: patches of the compiler move that many. */
export const registerTolerance = 4;

/** What is wrong with kernels as they are, beside the page: spills, lost occupancy, rows that are missing or out of date. */
export function problemsOf(rows, page) {
  const problems = [];
  const known = new Map(page.map((row) => [`${row.file} ${row.kernel}`, row]));
  for (const row of rows) {
    const name = `${row.file} ${row.kernel}`;
    const before = known.get(name);
    known.delete(name);
    for (const target of targets) {
      const now = row.targets[target];
      if (!now) continue; // tensor cores' kernels begin with sm_80
      if (now.spills > 0) problems.push(`${name} spills ${now.spills} bytes on sm_${target}`);
      if (!before) continue;
      const then = before.targets[target];
      if (now.warps < then.warps)
        problems.push(`${name} has ${now.warps} warps on sm_${target}, expected ${then.warps}`);
      if (Math.abs(now.registers - then.registers) > registerTolerance || now.warps > then.warps)
        problems.push(
          `${name} takes ${now.registers} registers (${now.warps} warps) on sm_${target}, the page says ${then.registers} (${then.warps})`,
        );
    }
    if (!before) problems.push(`${name} is not on the page`);
  }
  for (const name of known.keys()) problems.push(`${name} is on the page, but there is no such kernel`);
  return problems;
}

/** What a kernel's PTX must have from a target on: what its speed rests on, and nothing else would notice. */
const expectations = [
  { kernel: /^multiply<\(Arithmetic\)2/, from: 80, has: ["mma", "ldmatrix", "copyAsync"] },
  // ldmatrix transposes halves of words alone: tf32 reads some layouts without it.
  { kernel: /^multiply<\(Arithmetic\)1/, from: 80, has: ["mma", "copyAsync"] },
  { kernel: /^multiply</, from: 80, has: ["copyAsync"] },
  { kernel: /^(attend|lookOut|differentiate)<\(Precision\)[12]/, from: 80, has: ["mma", "ldmatrix", "loads16"] },
  { kernel: /^persistent::runSteps<\(persistent::Products\)[1-9]/, from: 80, has: ["mma", "copyAsync", "loads16"] },
  { kernel: /^mapElements</, from: 75, has: ["loads16 or stores16"] },
  { kernel: /^runChain$/, from: 75, has: ["loads16", "stores16"] },
];

/** Kernels that lack instructions which they should have, and how many were looked at. */
export function missingInstructions(results) {
  const problems = [];
  let looked = 0;
  for (const { kernel: pattern, from, has } of expectations)
    for (const { source, target, kernels } of results.filter((result) => result.target >= from))
      for (const kernel of kernels.filter(({ name }) => pattern.test(name))) {
        looked++;
        for (const wanted of has)
          if (!wanted.split(" or ").some((name) => kernel[name] > 0))
            problems.push(`${basename(source)} ${shortened(kernel.name)} has no ${wanted} on sm_${target}`);
      }
  return { problems, looked };
}
