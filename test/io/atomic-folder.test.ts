// Atomic folders: a write that fails leaves what was there, and nothing else.

import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { ArgumentError } from "../../ts/errors/index.ts";
import { writeFolderAtomically } from "../../ts/io/atomic-folder.ts";
import { rejection } from "../failure.ts";

describe("writeFolderAtomically", () => {
  let parent: string;
  let path: string;
  beforeEach(async () => {
    parent = await mkdtemp(join(tmpdir(), "langevin-atomic-"));
    path = join(parent, "made");
  });
  afterEach(() => rm(parent, { recursive: true }));

  const write = async (
    text: string,
    { objection = (): string | undefined => undefined, meanwhile = async (): Promise<void> => undefined } = {},
  ): Promise<void> =>
    writeFolderAtomically(path, {
      op: "test",
      objection,
      fill: async (folder) => {
        await mkdir(join(folder, "sub"));
        await writeFile(join(folder, "sub", "new.txt"), text);
        await meanwhile();
      },
    });
  const contents = async (): Promise<string[]> => (await readdir(parent, { recursive: true })).sort();
  const whole = ["made", "made/sub", "made/sub/new.txt"];

  it("makes a folder, and those above it", async () => {
    path = join(parent, "a", "made");
    await write("x");
    expect(await readFile(join(path, "sub", "new.txt"), "utf8")).to.equal("x");
    expect(await readdir(join(parent, "a"))).to.deep.equal(["made"]);
  });

  it("replaces one with all that is in it, once it is full", async () => {
    await mkdir(path);
    await writeFile(join(path, "old.txt"), "old");
    await write("new", {
      meanwhile: async () => expect(await readFile(join(path, "old.txt"), "utf8")).to.equal("old") as never,
    });
    expect(await contents()).to.deep.equal(whole);
  });

  it("replaces an empty one without asking, and asks about others with the names in it", async () => {
    const objection = (): string => expect.fail("asked");
    await mkdir(path);
    await write("x", { objection });
    let asked: readonly string[] = [];
    const error = await rejection(
      writeFolderAtomically(path, {
        op: "test",
        fill: () => expect.fail("filled"),
        objection: (names) => {
          asked = names;
          return "is precious";
        },
      }),
    );
    expect(error).to.be.instanceOf(ArgumentError);
    expect(error.message).to.match(
      /^test: .*made exists and is precious\. Choose another folder, or say overwrite: true/,
    );
    expect([...asked].sort()).to.deep.equal(["sub/", "sub/new.txt"]);
    expect(await contents()).to.deep.equal(whole);
  });

  it("writes to where a symbolic link points", async () => {
    await mkdir(join(parent, "far"));
    await symlink("far", path);
    await write("x");
    expect(await readFile(join(parent, "far", "sub", "new.txt"), "utf8")).to.equal("x");
    expect((await readdir(parent)).sort()).to.deep.equal(["far", "made"]);
  });

  it("leaves the old one, and nothing else, when filling fails half-way", async () => {
    await write("old");
    const meanwhile = (): Promise<void> => Promise.reject(new Error("out of ideas"));
    expect((await rejection(write("new", { meanwhile }))).message).to.equal("out of ideas");
    expect(await contents()).to.deep.equal(whole);
    expect(await readFile(join(path, "sub", "new.txt"), "utf8")).to.equal("old");
  });

  it("leaves what came in its place meanwhile", async () => {
    const meanwhile = (): Promise<void> => writeFile(path, "came first");
    expect((await rejection(write("new", { meanwhile }))).message).to.match(/made exists and is not a folder\.$/);
    expect(await readFile(path, "utf8")).to.equal("came first");
    expect(await contents()).to.deep.equal(["made"]);
  });

  it("puts the old one back when the new one cannot take its place", async () => {
    await write("old");
    const meanwhile = async (): Promise<void> => {
      // The new folder is gone when it is to be renamed.
      for (const name of await readdir(parent))
        if (name.endsWith(".new")) await rm(join(parent, name), { recursive: true });
    };
    expect((await rejection(write("new", { meanwhile }))).message).to.match(
      /^test: .*made cannot be written \(ENOENT.*What was there before is as it was\.$/,
    );
    expect(await readFile(join(path, "sub", "new.txt"), "utf8")).to.equal("old");
    expect(await contents()).to.deep.equal(whole);
  });

  it("refuses a file in its place or above it, and what is no path", async () => {
    await writeFile(path, "a file");
    expect((await rejection(write("x"))).message).to.match(/made exists and is not a folder\.$/);
    path = join(path, "below");
    expect((await rejection(write("x"))).message).to.match(/cannot be written \(E(NOTDIR|EXIST)/);
    path = "";
    expect((await rejection(write("x"))).message).to.equal('test: the folder is "", expected a path.');
    expect(await contents()).to.deep.equal(["made"]);
  });
});
