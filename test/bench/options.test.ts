// The command line of the benchmark, the list of its tasks, and its statistics.

import { availableParallelism } from "node:os";
import { CommanderError } from "commander";
import { expect } from "chai";
import { statistics } from "../../bench/measure.ts";
import { parseOptions } from "../../bench/options.ts";
import { tasksOf, usualUNet } from "../../bench/tasks.ts";

describe("bench: options", () => {
  const parse = (...args: string[]) => parseOptions(args);

  it("has defaults that measure everything once, on all processors", () => {
    expect(parse()).to.deep.equal({
      only: ["W1", "W2", "W3", "W4", "W5"],
      device: undefined,
      threads: [availableParallelism()],
      peers: false,
      floor: false,
      json: false,
      save: false,
      growth: false,
      repeats: 7,
      seconds: 3,
      sizes: { batch: undefined, ...usualUNet },
    });
  });

  it("reads lists, numbers and flags", () => {
    const options = parse(
      "--only=W1,W4",
      "--threads=1,2",
      "--batch=4",
      "--size=16",
      "--mults=1,2",
      "--base=32",
      "--json",
    );
    expect(options.only).to.deep.equal(["W1", "W4"]);
    expect(options.threads).to.deep.equal([1, 2]);
    expect(options.sizes).to.deep.equal({ batch: 4, size: 16, base: 32, mults: [1, 2] });
    expect(options.json).to.be.true;
  });

  it("takes all for one thread, twice as many and so on, up to all processors", () => {
    const { threads } = parse("--threads=all");
    expect(threads[0]).to.equal(1);
    expect(threads.at(-1)).to.equal(availableParallelism());
    expect(threads).to.deep.equal([...new Set(threads)].toSorted((a, b) => a - b));
  });

  for (const [args, problem] of [
    [["--only=W1,W9"], "W9 is no workload. Known are W1, W2, W3, W4, W5."],
    [["--threads=0"], "Expected an integer of at least 1."],
    [["--threads=1,x"], "Expected an integer of at least 1."],
    [["--seconds=-1"], "Expected a number of at least 0."],
    [["--seconds="], "Expected a number of at least 0."],
    [["--mults=1,,2"], "Expected an integer of at least 1."],
    [["--device=tpu"], "Allowed choices are cuda, cpu, ts."],
    [["--fast"], "unknown option '--fast'"],
  ] as const)
    it(`refuses ${args.join(" ")}`, () => {
      let told = "";
      expect(() => parseOptions(args, (text) => void (told += text))).to.throw(CommanderError);
      expect(told).to.include(problem);
    });
});

describe("bench: tasks", () => {
  it("are those of the groups, each but once", () => {
    const tasks = tasksOf(["W1", "W2", "W3", "W4", "W5"], usualUNet);
    const names = tasks.map(({ workload, metric }) => `${workload} ${metric}`);
    expect(new Set(names)).to.have.property("size", tasks.length);
    expect(tasksOf(["W2", "W4"], usualUNet).map(({ workload }) => workload)).to.deep.equal([
      "W2-b1",
      "W2-b64",
      "W4-train-b16",
      "W4-fwd-b1",
      "W4-fwd-b16",
    ]);
  });

  it("have the sizes that were asked for in W4", () => {
    const sizes = { batch: 3, size: 16, base: 32, mults: [1, 2] };
    const tasks = tasksOf(["W4"], sizes);
    expect(tasks.map(({ workload }) => workload)).to.deep.equal(["W4-train-b3", "W4-fwd-b3"]);
    for (const task of tasks) expect(task).to.include(sizes);
  });
});

describe("bench: statistics", () => {
  it("takes the middle time, or the mean of the two in the middle", () => {
    expect(statistics([3, 1, 2])).to.deep.equal({ median: 2, min: 1, max: 3, n: 3 });
    expect(statistics([4, 1, 3, 2])).to.deep.equal({ median: 2.5, min: 1, max: 4, n: 4 });
    expect(statistics([7])).to.deep.equal({ median: 7, min: 7, max: 7, n: 1 });
  });

  it("sorts numbers as numbers, leaves what it is given alone, and scales", () => {
    const times = [0.01, 0.002, 0.1];
    expect(statistics(times, 1000)).to.deep.equal({ median: 10, min: 2, max: 100, n: 3 });
    expect(times).to.deep.equal([0.01, 0.002, 0.1]);
  });
});
