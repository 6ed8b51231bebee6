// What the machine is and how busy it is: processor, load, CPU time of all processes and of this one, peak memory.

import { readFileSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, loadavg, release, totalmem, type as systemType } from "node:os";

/** Ticks of /proc/stat in a second. */
const ticksPerSecond = 100;

/** Seconds of CPU time that all processes have used since the machine started; undefined where Linux does not tell. */
export function machineCpuSeconds(): number | undefined {
  const line = read("/proc/stat")?.split("\n")[0];
  if (!line?.startsWith("cpu ")) return undefined;
  // user nice system idle iowait irq softirq steal: what is stolen is somebody else's, too.
  const [user, nice, system, , , irq, softirq, steal] = line.trim().split(/\s+/).slice(1).map(Number);
  return (user + nice + system + irq + softirq + steal) / ticksPerSecond;
}

/** Seconds of CPU time that this process has used, in all of its threads. */
export function ownCpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

/** Counts peak memory from now on, where the system can; resident bytes now. */
export function beginPeakMemory(): number {
  try {
    writeFileSync("/proc/self/clear_refs", "5"); // resets VmHWM, see proc(5)
  } catch {
    // Then the peak is that of the whole process.
  }
  return process.memoryUsage.rss();
}

/** The most bytes that were resident since `beginPeakMemory`. */
export function peakMemory(): number {
  const kibibytes = /^VmHWM:\s+(\d+) kB$/m.exec(read("/proc/self/status") ?? "")?.[1];
  return 1024 * Number(kibibytes ?? process.resourceUsage().maxRSS);
}

/** The machine in a few words, and its load in the last minute. */
export function describeMachine(): string {
  const [first] = cpus();
  const memory = (totalmem() / 2 ** 30).toFixed(0);
  const load = loadavg()[0].toFixed(2);
  return [
    `${availableParallelism()} of ${cpus().length} cores of ${first?.model.trim() ?? "an unknown processor"}${vectorUnits()}`,
    `${memory} GiB of memory, ${systemType()} ${release()}, Node ${process.versions.node}; load ${load} at the start`,
  ].join(", ");
}

/** The widest vector instructions, where Linux tells. */
function vectorUnits(): string {
  const flags = /^flags\s*:(.*)$/m.exec(read("/proc/cpuinfo") ?? "")?.[1].split(" ") ?? [];
  if (flags.includes("avx512f")) return " (AVX-512)";
  return flags.includes("avx2") ? " (AVX2)" : "";
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined; // not Linux
  }
}
