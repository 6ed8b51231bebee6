// Sealed folders: what lies in them is read, and nothing else, whatever names and links say.

import { spawnSync } from "node:child_process";
import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { ArgumentError, FormatError } from "../../ts/errors/index.ts";
import { SealedFolder } from "../../ts/io/sealed-folder.ts";
import { rejection } from "../failure.ts";

describe("SealedFolder", () => {
  let parent: string;
  let path: string;
  let folder: SealedFolder;
  beforeEach(async () => {
    parent = await realpath(await mkdtemp(join(tmpdir(), "langevin-sealed-")));
    path = join(parent, "given");
    await mkdir(join(path, "sub"), { recursive: true });
    await writeFile(join(path, "sub", "a.txt"), "hello é");
    await writeFile(join(parent, "secret.txt"), "secret");
    folder = await SealedFolder.open("test", path);
  });
  afterEach(() => rm(parent, { recursive: true }));

  it("reads files by their names", async () => {
    expect(await folder.has("sub/a.txt")).to.equal(true);
    expect(await folder.has("sub/b.txt")).to.equal(false);
    expect(await folder.text("sub/a.txt", 100)).to.equal("hello é");
    expect(await folder.file("sub/a.txt")).to.equal(join(path, "sub", "a.txt"));
  });

  it("follows links within, and is opened by a link", async () => {
    await symlink(join("sub", "a.txt"), join(path, "link.txt"));
    expect(await folder.text("link.txt", 100)).to.equal("hello é");
    await symlink(path, join(parent, "other"));
    expect(await (await SealedFolder.open("test", join(parent, "other"))).text("link.txt", 100)).to.equal("hello é");
  });

  for (const name of [
    "",
    ".",
    "..",
    "../secret.txt",
    "sub/../../secret.txt",
    "/etc/passwd",
    "sub//a.txt",
    "sub/",
    "sub\\a.txt",
    "C:\\x",
    "C:x",
    "a\0b",
  ])
    // prettier-ignore
    it(`refuses ${JSON.stringify(name)} as a name`, async () => {
      for (const ask of [folder.has(name), folder.file(name), folder.text(name, 100)]) {
        const error = await rejection(ask);
        expect(error).to.be.instanceOf(FormatError);
        expect(error.message).to.contain("is not the name of a file in");
      }
    });

  it("refuses links that lead out: of files, of folders, through folders with the same beginning", async () => {
    await mkdir(join(parent, "given-too"));
    await writeFile(join(parent, "given-too", "x.txt"), "secret");
    await symlink(join(parent, "secret.txt"), join(path, "file.txt"));
    await symlink(parent, join(path, "up"));
    await symlink(join("..", "given-too", "x.txt"), join(path, "near.txt"));
    for (const name of ["file.txt", "up/secret.txt", "near.txt"]) {
      const error = await rejection(folder.text(name, 100));
      expect(error).to.be.instanceOf(FormatError);
      expect(error.message).to.equal(`test: ${join(path, name)} is a link that leads out of the folder.`);
    }
  });

  it("refuses what is missing, no file, too large or no text", async () => {
    await symlink("nowhere", join(path, "dangling"));
    await writeFile(join(path, "latin"), Uint8Array.of(0xe9));
    expect(await folder.has("dangling")).to.equal(true);
    for (const [name, problem] of [
      ["none", "does not exist."],
      ["dangling", "does not exist."],
      ["sub", "is not a file."],
      ["sub/a.txt", "has 8 bytes, and at most 7 are expected of such a file."],
      ["latin", "is not UTF-8."],
    ] as const)
      expect((await rejection(folder.text(name, 7))).message).to.equal(`test: ${join(path, name)} ${problem}`);
  });

  it("does not wait for a pipe", async function () {
    if (spawnSync("mkfifo", [join(path, "pipe")]).status !== 0) this.skip();
    expect((await rejection(folder.text("pipe", 100))).message).to.match(/pipe is not a file\.$/);
  });

  it("follows the links of the Hugging Face Hub's cache to its blobs, and no others", async () => {
    const model = join(parent, "models--a--b");
    const snapshot = join(model, "snapshots", "0123");
    await mkdir(snapshot, { recursive: true });
    await mkdir(join(model, "blobs"));
    await writeFile(join(model, "blobs", "77"), "a blob");
    await writeFile(join(model, "other"), "secret");
    await symlink("../../blobs/77", join(snapshot, "config.json"));
    await symlink("../../other", join(snapshot, "other.json"));
    const cached = await SealedFolder.open("test", snapshot);
    expect(await cached.text("config.json", 100)).to.equal("a blob");
    expect((await rejection(cached.text("other.json", 100))).message).to.contain("leads out");
  });

  it("does not take a link for the cache's blobs", async () => {
    const snapshot = join(parent, "models--a--b", "snapshots", "0123");
    await mkdir(snapshot, { recursive: true });
    await symlink(parent, join(parent, "models--a--b", "blobs"));
    await symlink("../../blobs/secret.txt", join(snapshot, "config.json"));
    const cached = await SealedFolder.open("test", snapshot);
    expect((await rejection(cached.text("config.json", 100))).message).to.contain("leads out");
  });

  it("is opened where there is a folder", async () => {
    for (const [given, problem] of [
      [join(parent, "none"), /none cannot be read \(ENOENT/],
      [join(parent, "secret.txt"), /secret\.txt is not a folder\.$/],
      [7, /the folder is 7, expected a path\.$/],
    ] as const) {
      const error = await rejection(SealedFolder.open("test", given as string));
      expect(error).to.be.instanceOf(ArgumentError);
      expect(error.message).to.match(problem);
    }
  });
});
