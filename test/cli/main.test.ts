// The command line: what reaches the programs, and what a mistake is answered with.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import { main } from "../../ts/cli/main.ts";
import { ArgumentError } from "../../ts/errors/index.ts";
import { rejection } from "../failure.ts";

const manifest = JSON.parse(readFileSync(join(import.meta.dirname, "..", "..", "package.json"), "utf8")) as {
  version: string;
};

/** Runs a command line; programs are not started but noted, and end with `programCode`. */
async function run(line: string, programCode = 0) {
  const started: { name: string; args: readonly string[] }[] = [];
  let [out, errors] = ["", ""];
  const code = await main(
    line.split(" ").filter((word) => word !== ""),
    {
      start: async (name, args) => {
        started.push({ name, args });
        return programCode;
      },
      build: async ({ cuda, arch }) => {
        started.push({ name: "build", args: [cuda, arch] });
        return programCode;
      },
      doctor: async (json) => {
        started.push({ name: "doctor", args: json ? ["--json"] : [] });
        return programCode;
      },
      writeOut: (text) => (out += text),
      writeError: (text) => (errors += text),
    },
  );
  return { code, started, out, errors };
}

describe("langevin", () => {
  it("prints its version and help", async () => {
    expect(await run("--version")).to.deep.include({ code: 0, out: `${manifest.version}\n`, errors: "" });
    const help = await run("--help");
    expect(help).to.deep.include({ code: 0, errors: "" });
    expect(help.out).to.include("tutorial").and.to.include("demo");
    expect((await run("tutorial --help")).out).to.include("--iterations <count>");
  });

  it("starts the tutorial's programs without options", async () => {
    for (const part of ["a", "b", "c"])
      expect((await run(`tutorial ${part}`)).started).to.deep.equal([{ name: `tutorial-${part}`, args: [] }]);
  });

  it("hands options on", async () => {
    const { started } = await run("tutorial c --iterations 50 --lr 1e-3 --seed 0 --out runs/c --device ts");
    const args = ["--iterations=50", "--lr=1e-3", "--seed=0", "--out=runs/c", "--device=ts"];
    expect(started).to.deep.equal([{ name: "tutorial-c", args }]);
    expect((await run("demo --sample-only --seed=9")).started).to.deep.equal([
      { name: "demo", args: ["--seed=9", "--sample-only"] },
    ]);
  });

  it("starts examples", async () => {
    for (const name of ["class-conditional", "compare-schedulers", "editing", "load-pipeline"])
      expect((await run(`example ${name}`)).started).to.deep.equal([{ name, args: [] }]);
    expect((await run("example load-pipeline --model cats --out runs/cats")).started).to.deep.equal([
      { name: "load-pipeline", args: ["--out=runs/cats", "--model=cats"] },
    ]);
    expect((await run("example class-conditional --sample-only")).started[0].args).to.deep.equal(["--sample-only"]);
  });

  it("compiles the addon again and ends with what came of it", async () => {
    expect(await run("build", 1)).to.deep.include({ code: 1, started: [{ name: "build", args: ["auto", "auto"] }] });
    for (const wish of ["on", "off"])
      expect((await run(`build --cuda ${wish}`)).started).to.deep.equal([{ name: "build", args: [wish, "auto"] }]);
    for (const arch of ["all", "80", "75,80,120"])
      expect((await run(`build --arch ${arch}`)).started).to.deep.equal([{ name: "build", args: ["auto", arch] }]);
  });

  it("asks the doctor, and ends with what it finds", async () => {
    expect(await run("doctor", 1)).to.deep.include({ code: 1, started: [{ name: "doctor", args: [] }] });
    expect((await run("doctor --json")).started).to.deep.equal([{ name: "doctor", args: ["--json"] }]);
  });

  it("ends with the program's exit code", async () => {
    expect((await run("demo", 3)).code).to.equal(3);
    expect((await run("demo", 0)).code).to.equal(0);
  });

  const mistakes: [string, RegExp][] = [
    ["", /Usage: langevin/],
    ["train", /unknown command 'train'/],
    ["tutorial", /missing required argument 'part'/],
    ["tutorial d", /'d' is invalid for argument 'part'. Allowed choices are a, b, c/],
    ["tutorial a b", /too many arguments/],
    ["tutorial a --sample-only", /unknown option '--sample-only'/],
    ["demo --iterations", /option '--iterations <count>' argument missing/],
    ["demo --iterations 0", /argument '0' is invalid. Expected an integer of at least 1/],
    ["demo --iterations -5", /argument '-5' is invalid. Expected an integer of at least 1/],
    ["demo --iterations 1.5", /argument '1.5' is invalid. Expected an integer of at least 1/],
    ["demo --iterations 1e3", /argument '1e3' is invalid. Expected an integer of at least 1/],
    ["demo --iterations 99999999999999999999", /Expected an integer of at least 1/],
    ["demo --lr 0", /argument '0' is invalid. Expected a number above 0/],
    ["demo --lr fast", /argument 'fast' is invalid. Expected a number above 0/],
    ["demo --lr Infinity", /argument 'Infinity' is invalid. Expected a number above 0/],
    ["demo --lr=", /argument '' is invalid. Expected a number above 0/],
    ["demo --seed -1", /argument '-1' is invalid. Expected an integer from 0 to 2\^53 - 1/],
    ["demo --seed 9007199254740992", /Expected an integer from 0 to 2\^53 - 1/],
    ["demo --out=", /argument '' is invalid. Expected the path of a folder/],
    ["demo --device gpu", /argument 'gpu' is invalid. Expected cuda, cpu or ts/],
    ["build --cuda yes", /argument 'yes' is invalid. Allowed choices are on, off/],
    ["build --arch turing", /argument 'turing' is invalid. Expected "all", or compute capabilities such as "80,90"/],
    ["build --cuda", /option '--cuda <wish>' argument missing/],
    ["demo --model cats", /unknown option '--model'/],
    ["example cats", /'cats' is invalid for argument 'name'. Allowed choices are class-conditional/],
    ["example editing --model=", /argument '' is invalid. Expected the path of a folder/],
    ["demo --sed 1", /unknown option '--sed'\n\(Did you mean --seed\?\)/],
  ];
  for (const [line, message] of mistakes)
    it(`refuses "langevin ${line}" and starts nothing`, async () => {
      const { code, started, errors, out } = await run(line);
      expect({ code, started, out }).to.deep.equal({ code: 2, started: [], out: "" });
      expect(errors).to.match(message);
    });

  it("prints the library's errors without a stack and lets others through", async () => {
    const [build, doctor] = [async (): Promise<number> => 0, async (): Promise<number> => 0];
    const surroundings = { build, doctor, writeOut: () => undefined, writeError: (text: string) => (errors += text) };
    let errors = "";
    const refuse = async (): Promise<number> => {
      throw new ArgumentError({ op: "langevin", problem: "it is missing.", advice: "Reinstall." });
    };
    expect(await main(["demo"], { ...surroundings, start: refuse })).to.equal(1);
    expect(errors).to.equal("langevin: it is missing. Reinstall.\n");
    const broken = async (): Promise<number> => {
      throw new TypeError("a bug");
    };
    expect(await rejection(main(["demo"], { ...surroundings, start: broken }))).to.be.instanceOf(TypeError);
  });
});
