// The options of the example programs: defaults, what is given, and mistakes, which end a process of their own.

import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect } from "chai";
import { exampleOptions } from "../../examples/options.ts";

const file = join(import.meta.dirname, "..", "..", "examples", "options.ts");
const defaults = { iterations: 10_000, lr: 1e-4, seed: 0, out: "runs/x" };

/** Runs a program that prints its options. */
function program(args: string[], over: object = defaults) {
  const source = `import { exampleOptions } from ${JSON.stringify(file)};
    console.log(JSON.stringify(exampleOptions(${JSON.stringify(over)}, ${JSON.stringify(args)})));`;
  const run = spawnSync(process.execPath, ["--import", "tsx", "--input-type=module", "-e", source], {
    encoding: "utf8",
  });
  return { status: run.status, out: run.stdout, errors: run.stderr };
}

describe("exampleOptions", () => {
  it("gives the defaults where nothing is given", () => {
    expect(exampleOptions(defaults, [])).to.deep.equal({ ...defaults, device: undefined, sampleOnly: false });
  });

  it("gives numbers as numbers", () => {
    const args = ["--iterations=50", "--lr", "1e-3", "--seed=7", "--out", "here", "--device=ts", "--sample-only"];
    const expected = { iterations: 50, lr: 1e-3, seed: 7, out: "here", device: "ts", sampleOnly: true };
    expect(exampleOptions(defaults, args)).to.deep.equal(expected);
  });

  it("notes options that change nothing", () => {
    const { status, out, errors } = program(["--iterations=50"], { seed: 0, out: "x" });
    expect(status).to.equal(0);
    expect(JSON.parse(out)).to.deep.equal({ seed: 0, out: "x", sampleOnly: false });
    expect(errors).to.equal("Note: this program does not train, so --iterations changes nothing.\n");
    expect(program(["--model=cats"], defaults).errors).to.equal(
      "Note: this program does not load a model, so --model changes nothing.\n",
    );
  });

  it("gives the model's folder to programs that load one", () => {
    expect(exampleOptions({ ...defaults, model: "cats" }, []).model).to.equal("cats");
    expect(exampleOptions({ ...defaults, model: "cats" }, ["--model", "dogs"]).model).to.equal("dogs");
  });

  const mistakes: [string[], RegExp][] = [
    [["--iterations=0"], /^--iterations is "0", expected an integer of at least 1\.\n$/],
    [["--lr=-1"], /^--lr is "-1", expected a number above 0\.\n$/],
    [["--seed=x"], /^--seed is "x", expected an integer of at least 0\.\n$/],
    [["--device=gpu"], /^--device is "gpu", expected cuda, cpu or ts\.\n$/],
    [["--sed=1"], /^Unknown option '--sed'/],
    [["stray"], /^Unexpected argument 'stray'/],
  ];
  for (const [args, message] of mistakes)
    it(`refuses ${args.join(" ")} in plain words`, () => {
      const { status, out, errors } = program(args);
      expect({ status, out }).to.deep.equal({ status: 2, out: "" });
      expect(errors).to.match(message).and.not.to.include("    at ");
    });
});

describe("useDevice", () => {
  it("ends in plain words where the device does not work", () => {
    const source = `import { useDevice } from ${JSON.stringify(file)}; useDevice("cuda");`;
    const args = ["--import", "tsx", "--input-type=module", "-e", source];
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
    expect({ status, stdout }).to.deep.equal({ status: 2, stdout: "" });
    expect(stderr).to.match(/^device "cuda": .*\n$/);
  });
});
