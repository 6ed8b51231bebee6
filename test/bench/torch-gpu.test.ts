// bench/peers/torch_gpu.py without a GPU: which rows it measures and in which order, and that whatever becomes of one of them,
// the others are measured, saved and named. A program without torch stands for the process that measures.

import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { packageRoot } from "../../ts/device/native/addon.ts";
import { cifarUNet, timedTasks } from "../gpu-check/timings.ts";

const peers = join(packageRoot(), "bench", "peers");

/** Answers by what its argument says of a workload: numbers, an error, its own end or nothing at all. */
const standIn = `
import json, os, sys, time
fates = json.loads(sys.argv[1])
answer = lambda line: print(json.dumps(line), flush=True)
answer({"torch": "stand-in"})
for line in sys.stdin:
    fate = fates.get(json.loads(line)["task"]["workload"], "measured")
    if fate == "dies":
        os._exit(7)
    if fate == "hangs":
        time.sleep(60)
    answer({"error": "RuntimeError: no"} if fate == "fails" else {"median": 1.5})
`;

/** Starts the program with the stand-in. */
const withStandIn = `
import sys
import torch_gpu
fates, grace, *options = sys.argv[1:]
start = torch_gpu.Worker
torch_gpu.GRACE = float(grace)
torch_gpu.Worker = lambda command, log: start([sys.executable, "stand_in.py", fates], log)
sys.argv = ["torch_gpu.py", *options]
sys.exit(torch_gpu.main())
`;

type Fates = Record<string, "fails" | "dies" | "hangs">;

interface Line {
  readonly workload?: string;
  readonly way?: string;
  readonly error?: string;
  readonly median?: number;
}

const linesOf = (text: string): Line[] =>
  text.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line) as Line); // prettier-ignore

describe("bench: torch_gpu.py", function () {
  this.timeout(60_000);
  if (spawnSync("python3", ["--version"]).status !== 0) {
    it.skip("skipped: there is no python3 here");
    return;
  }
  let folder = "";
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "langevin-torch-gpu-"));
    for (const file of readdirSync(peers).filter((name) => /^torch_\w+\.py$/.test(name)))
      cpSync(join(peers, file), join(folder, file));
  });
  afterEach(() => {
    rmSync(folder, { recursive: true });
  });

  const python = (...args: string[]) => spawnSync("python3", args, { cwd: folder, encoding: "utf8" });
  const list = (...options: string[]) => python("torch_gpu.py", "--list", ...options).stdout.trim().split("\n"); // prettier-ignore

  function evaluate(expression: string): unknown {
    const { status, stdout, stderr } = python(
      "-c",
      `import json, torch_gpu_rows as r; print(json.dumps(${expression}))`,
    );
    expect(status, stderr).to.equal(0);
    return JSON.parse(stdout);
  }

  function measure(fates: Fates, options: string[], grace = 30) {
    writeFileSync(join(folder, "stand_in.py"), standIn);
    return python("-c", withStandIn, JSON.stringify(fates), `${grace}`, ...options);
  }

  it("measures the goals first, in bf16, and last what is compiled", () => {
    const names = list();
    const goals = ["W1", "W2-b1", "W2-b132", "W2-b1024", "cifar10-train-b128", "cifar10-sample-b64"];
    const quick = (precision: string) =>
      goals.flatMap((goal) => [`${goal} ${precision} eager`, `${goal} ${precision} graph`]);
    expect(names.slice(0, 36)).to.deep.equal(["bf16", "tf32", "float32"].flatMap(quick));
    const compiled = names.findIndex((name) => name.includes("compile"));
    expect(names.slice(compiled, compiled + 6)).to.deep.equal(goals.map((goal) => `${goal} bf16 compile`));
    expect(names.slice(compiled).filter((name) => !/ compile(d-graph)?$/.test(name))).to.deep.equal([]);
    expect(new Set(names).size).to.equal(names.length);
  });

  it("measures what gpu-check times, in the same sizes", () => {
    const tasks = evaluate("r.TASKS") as { workload: string }[];
    const sampling = { workload: "cifar10-sample-b64", metric: "s_total_1000_steps", kind: "unet-sample", batch: 64 };
    for (const task of [...timedTasks, { ...sampling, ...cifarUNet }])
      expect(tasks.find(({ workload }) => workload === task.workload)).to.deep.equal(task);
  });

  it("takes workloads by name and by group, some ways and some precisions", () => {
    expect(list("--only", "W2-b132", "--ways", "graph")).to.deep.equal([
      "W2-b132 bf16 graph",
      "W2-b132 tf32 graph",
      "W2-b132 float32 graph",
    ]);
    expect(list("--only=W3,cifar10", "--ways=eager", "--precisions=float32")).to.deep.equal([
      "cifar10-train-b128 float32 eager",
      "cifar10-sample-b64 float32 eager",
      "cifar10-fwd-b64 float32 eager",
      "W3 float32 eager",
    ]);
    const { status, stderr } = python("torch_gpu.py", "--only", "W1,W9");
    expect(status).to.equal(2);
    expect(stderr).to.match(/argument --only: W9: expected some of .*W2-b132/);
  });

  it("times short steps many at a time, cuts a long loop to 100 steps, and repeats long runs three times", () => {
    const loops = [[1e-4, 1], [1e-6, 1], [0.5, 1], [2, 1], [5e-4, 1000], [5e-3, 1000], [0.02, 1000]]; // prettier-ignore
    expect(evaluate(`[r.repetition(*loop, 2) for loop in ${JSON.stringify(loops)}]`)).to.deep.equal([
      [1000, 20],
      [1000, 2000],
      [1, 4],
      [1, 3],
      [1000, 4],
      [100, 4],
      [100, 3],
    ]);
  });

  it("goes on after a row that fails and after a process that dies, and says what became of them", () => {
    const options = ["--only=W1,W2,W3", "--ways=eager", "--precisions=bf16,float32", "--save=saved"];
    const { status, stdout, stderr } = measure({ "W2-b1": "fails", "W2-b132": "dies" }, options);
    expect(status, stderr).to.equal(1);
    const lines = linesOf(stdout).filter(({ workload }) => workload);
    const goals = [
      ["W1", undefined],
      ["W2-b1", "RuntimeError: no"],
      ["W2-b132", "its process ended with status 7"],
      ["W2-b1024", undefined],
    ];
    expect(lines.map(({ workload, error }) => [workload, error])).to.deep.equal([
      ...goals,
      ...goals,
      ["W2-b64", undefined],
      ["W2-b64", undefined],
      ["W3", undefined],
    ]);
    expect(linesOf(readFileSync(join(folder, "saved"), "utf8"))).to.deep.equal(linesOf(stdout));
    expect(stdout).to.match(/\n\| W1 \| ms_per_train_step \| bf16 \| 1\.5 \|\n/);
    expect(stdout).to.match(/\n\| W2-b1 \| s_total_1000_steps \| bf16 \| failed \|\n/);
    expect(stdout).to.match(/\nW2-b132 float32 eager failed: its process ended with status 7\n/);
  });

  it("stops a row that does not end, and names those that had not begun", () => {
    const options = ["--only=W1,W2-b1", "--precisions=bf16", "--ways=eager", "--minutes=0.05"];
    const { status, stdout } = measure({ W1: "hangs" }, options, 0.5);
    expect(status).to.equal(1);
    expect(linesOf(stdout).at(-1)?.error).to.match(/^stopped after \d+ s without an answer$/);
    expect(stdout).to.match(/\nNot begun within 0\.05 minutes: W2-b1 bf16 eager\.\n$/);
  });

  it("adds to a file what another call has saved there", () => {
    for (const way of ["eager", "graph"])
      measure({}, ["--only=W1", "--precisions=bf16", `--ways=${way}`, "--save=saved"]);
    const lines = linesOf(readFileSync(join(folder, "saved"), "utf8"));
    expect(lines.map(({ way }) => way)).to.deep.equal([undefined, "eager", undefined, "graph"]);
  });

  it("says what is missing, and ends with 3", () => {
    const refusals = {
      "raise ImportError('not here')": /^torch_gpu: .*python\S* cannot import torch \(not here\)\.\n$/,
      "__version__ = '1.13'": /^torch_gpu: PyTorch 1\.13 is too old, expected 2\.0 or newer\.\n$/,
      "import os; os._exit(9)":
        /^torch_gpu: the process with PyTorch did not begin \(its process ended with status 9\)\.\n$/,
    };
    for (const [torch, said] of Object.entries(refusals)) {
      writeFileSync(join(folder, "torch.py"), torch);
      const { status, stdout } = python("torch_gpu.py");
      expect(stdout).to.match(said);
      expect(status).to.equal(3);
    }
  });
});
