// Run folders: what the files hold, and that others are left alone.

import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { ArgumentError } from "../../ts/errors/index.ts";
import { readPng } from "../../ts/io/png.ts";
import { RunFolder } from "../../ts/train/run-folder.ts";
import { failure, rejection } from "../failure.ts";

describe("RunFolder", () => {
  let parent: string;
  beforeEach(async () => (parent = await mkdtemp(join(tmpdir(), "langevin-run-"))));
  afterEach(() => rm(parent, { recursive: true }));

  it("is made where it is missing, and used where it is there", async () => {
    const path = join(parent, "runs", "demo");
    const folder = await RunFolder.create(path);
    expect(folder.path).to.equal(path);
    await folder.write("note.txt", "hello");
    await RunFolder.create(path);
    expect(await readFile(join(path, "note.txt"), "utf8")).to.equal("hello");
  });

  it("holds losses, the summary and pictures", async () => {
    const folder = await RunFolder.create(parent);
    const csv = await folder.writeLosses([
      { iteration: 1, loss: 0.5 },
      { iteration: 2, loss: 1e-7 },
      { iteration: 3, loss: NaN },
    ]);
    expect(csv).to.equal(join(parent, "loss.csv"));
    expect(await readFile(csv, "utf8")).to.equal("iteration,loss\n1,0.5\n2,1e-7\n3,NaN\n");

    const summary = await folder.writeSummary({
      program: "b",
      sampleMse: { mean: 0.25, max: Infinity, n: 64 },
      loss: NaN,
    });
    expect(JSON.parse(await readFile(summary, "utf8"))).to.deep.equal({
      program: "b",
      sampleMse: { mean: 0.25, max: "Infinity", n: 64 },
      loss: "NaN",
    });

    const picture = { data: Float32Array.of(0, 1), height: 1, width: 2, channels: 1 };
    expect(await readPng(await folder.writePicture("target.png", picture))).to.deep.equal(picture);
  });

  it("replaces its own files and leaves others alone", async () => {
    await writeFile(join(parent, "mine.txt"), "precious");
    const folder = await RunFolder.create(parent);
    for (const loss of [1, 2]) await folder.writeLosses([{ iteration: 1, loss }]);
    expect(await readFile(join(parent, "loss.csv"), "utf8")).to.equal("iteration,loss\n1,2\n");
    expect(await readFile(join(parent, "mine.txt"), "utf8")).to.equal("precious");
    expect(await readdir(parent)).to.deep.equal(["loss.csv", "mine.txt"]);
  });

  it("takes plain file names only", async () => {
    const folder = await RunFolder.create(parent);
    for (const name of ["", ".", "..", "../x", "a/b", "/tmp/x"]) {
      const error = failure(() => folder.file(name));
      expect(error).to.be.instanceOf(ArgumentError);
      expect(error.message).to.equal(`RunFolder.file: "${name}" is not a plain file name.`);
    }
  });

  it("says so when a file is in the way", async () => {
    await writeFile(join(parent, "taken"), "a file");
    const error = await rejection(RunFolder.create(join(parent, "taken")));
    expect(error).to.be.instanceOf(ArgumentError);
    expect(error.message).to.match(/taken cannot be made a folder \(EEXIST.*Choose another place\.$/);
    expect(await readFile(join(parent, "taken"), "utf8")).to.equal("a file");
  });
});
