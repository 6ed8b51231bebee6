// The examples run from the first to the last line, shortened, and leave what they say.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect } from "chai";
import { defaultDevice, digits, readPng } from "langevin";
import { labelledGrid } from "../examples/labelled-grid.ts";
import { readDigits } from "../examples/nearest-digits.ts";
import { inkOf, textWidth } from "../examples/pixel-font.ts";
import { packageRoot } from "../ts/device/native/addon.ts";

const root = packageRoot();
const tsx = pathToFileURL(createRequire(join(root, "package.json")).resolve("tsx")).href;

describe("examples", function () {
  this.timeout(300_000);
  let folder = "";
  before(function () {
    if (defaultDevice() === "ts") this.skip(); // they would take minutes
    folder = mkdtempSync(join(tmpdir(), "langevin-examples-"));
  });
  after(() => {
    if (folder) rmSync(folder, { recursive: true });
  });

  /** Runs an example in the temporary folder. */
  function start(name: string, ...args: string[]) {
    const program = join(root, "examples", `${name}.ts`);
    const env = { ...process.env, TSX_TSCONFIG_PATH: join(root, "tsconfig.json") };
    return spawnSync(process.execPath, ["--import", tsx, program, ...args], { cwd: folder, encoding: "utf8", env });
  }

  /** The same, to its good end; what it printed. */
  function run(name: string, ...args: string[]): string {
    const { status, stdout, stderr } = start(name, ...args);
    expect({ status, stderr }).to.deep.equal({ status: 0, stderr: "" });
    return stdout;
  }

  const read = (path: string): string => readFileSync(join(folder, path), "utf8");
  async function sizeOf(path: string): Promise<number[]> {
    const { width, height } = await readPng(join(folder, path));
    return [width, height];
  }

  it("class-conditional trains, draws and measures", async () => {
    const table = /guidance 0 +(\d.*%) +\d.*\nguidance 1 .*\nguidance 3 .*\nguidance 7 .*\nby hand +95\.5% +2\.29\n/;
    expect(run("class-conditional", "--iterations=12")).to.match(table);
    const summary = JSON.parse(read("runs/digits/summary.json")) as { results: { guidance: number; right: number }[] };
    expect(summary.results.map(({ guidance }) => guidance)).to.deep.equal([0, 1, 3, 7]);
    expect(read("runs/digits/loss.csv").trim().split("\n")).to.have.length(13);
    expect(await sizeOf("runs/digits/guidance.png")).to.deep.equal([922, 342]);
  });

  it("load-pipeline trains where there is no model, and draws", async () => {
    expect(run("load-pipeline", "--iterations=2", "--out=drawn")).to.match(/635681 parameters, 11 classes/);
    expect(await sizeOf("drawn/samples.png")).to.deep.equal([4 * 66 - 2, 4 * 66 - 2]);
    expect(await sizeOf("drawn/strip.png")).to.deep.equal([6 * 66 - 2, 4 * 66 - 2]);
    expect(readFileSync(join(folder, "drawn/preview.png")).equals(readFileSync(join(folder, "drawn/samples.png")))).to
      .be.true;
  });

  it("class-conditional --sample-only says what is missing", () => {
    const { status, stderr } = start("class-conditional", "--sample-only", "--out=nothing");
    const problem = `${join("nothing", "model")} does not exist: run without --sample-only first.\n`;
    expect({ status, stderr }).to.deep.equal({ status: 1, stderr: problem });
  });

  it("compare-schedulers draws with twelve, and those without noise come nearer to one end", async () => {
    const lines = run("compare-schedulers", "--model=runs/digits/model").split("\n").slice(3);
    const distances = Object.fromEntries(
      lines.slice(0, 12).map((line) => [line.slice(0, 16).trim(), line.slice(16).trim().split(/ +/).map(Number)]),
    );
    expect(Object.keys(distances)).to.have.length(12);
    for (const [name, [after5, , , after50]] of Object.entries(distances))
      if (["DDPM", "Euler ancestral"].includes(name)) expect(after50, name).to.be.NaN;
      else expect(after50, name).to.be.within(0, after5 / 2);
    expect(await sizeOf("runs/schedulers/schedulers.png")).to.deep.equal([1058, 558]);
  });

  it("editing draws", async () => {
    run("editing", "--model=runs/digits/model");
    expect(await sizeOf("runs/editing/editing.png")).to.deep.equal([854, 372]);
  });
});

describe("words in pictures", () => {
  /** A text as lines of # and . */
  function picture(text: string): string[] {
    const rows = Array.from({ length: 7 }, () => new Array<string>(textWidth(text)).fill("."));
    for (const [row, column] of inkOf(text)) rows[row][column] = "#";
    return rows.map((row) => row.join(""));
  }

  it("are written in capitals", () => {
    const expected = [
      "#.....#####",
      "#.......#..",
      "#.......#..",
      "#.......#..",
      "#.......#..",
      "#.......#..",
      "#####...#..",
    ];
    expect(picture("lt")).to.deep.equal(expected);
  });

  it("are refused where the font lacks a letter", () => {
    expect(() => picture("é")).to.throw(RangeError, 'The font has no "É", which is in "é".');
  });

  it("stand beside the rows and above the columns of a table", () => {
    const cell = { data: new Uint8Array(20 * 20).fill(77), width: 20, height: 20, channels: 1 };
    const table = labelledGrid({ rows: ["I", "I"], columns: ["-"], cells: [[cell], [cell]] });
    const count = (grey: number): number => table.data.filter((value) => value === grey).length;
    expect(count(77)).to.equal(2 * 20 * 20);
    expect(count(0)).to.equal(4 * (2 * Array.from(inkOf("I")).length + 5)); // each pixel of the font is 2x2
    expect(count(77) + count(0) + count(255)).to.equal(table.width * table.height);
  });
});

describe("readDigits", () => {
  it("knows the digits that it is given", () => {
    const known = digits().subset(0, 50);
    expect(readDigits({ images: known.images, labels: known.labels! }, known)).to.deep.equal({ right: 1, distance: 0 });
    const wrong = known.labels!.map((label, k) => (k < 10 ? (label + 1) % 10 : label));
    expect(readDigits({ images: known.images, labels: wrong }, known).right).to.equal(0.8);
  });
});
