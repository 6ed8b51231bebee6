// Atomic files: a write that fails leaves the old content and no debris.

import type { ChildProcessByStdio } from "node:child_process";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { expect } from "chai";
import { ArgumentError } from "../../ts/errors/index.ts";
import { writeFileAtomically } from "../../ts/io/atomic-file.ts";
import { rejection } from "../failure.ts";

const root = join(import.meta.dirname, "..", "..");

describe("writeFileAtomically", () => {
  let folder: string;
  beforeEach(async () => (folder = await mkdtemp(join(tmpdir(), "langevin-atomic-"))));
  afterEach(() => rm(folder, { recursive: true }));

  it("writes all pieces, and replaces what was there", async () => {
    const path = join(folder, "file");
    await writeFileAtomically(path, ["a longer text than the next"]);
    await writeFileAtomically(path, ["é", Uint8Array.of(0, 255), ""]);
    expect(await readFile(path)).to.deep.equal(Buffer.from([0xc3, 0xa9, 0, 255]));
    expect(await readdir(folder)).to.deep.equal(["file"]);
  });

  it("leaves the old file when the content fails half-way", async () => {
    const path = join(folder, "file");
    await writeFile(path, "old");
    async function* pieces(): AsyncGenerator<string> {
      yield "new and ";
      throw new Error("out of ideas");
    }
    expect((await rejection(writeFileAtomically(path, pieces()))).message).to.equal("out of ideas");
    expect(await readFile(path, "utf8")).to.equal("old");
    expect(await readdir(folder)).to.deep.equal(["file"]);
  });

  it("shows the old file until the new one is whole", async () => {
    const path = join(folder, "file");
    await writeFile(path, "old");
    const seen: string[] = [];
    async function* pieces(): AsyncGenerator<string> {
      yield "ne";
      seen.push(await readFile(path, "utf8"));
      yield "w";
      seen.push(await readFile(path, "utf8"));
    }
    await writeFileAtomically(path, pieces());
    expect(seen).to.deep.equal(["old", "old"]);
    expect(await readFile(path, "utf8")).to.equal("new");
  });

  it("lets two writers of one file finish, one after the other", async () => {
    const path = join(folder, "file");
    const texts = ["a", "b", "c", "d"].map((letter) => letter.repeat(100_000));
    await Promise.all(texts.map((text) => writeFileAtomically(path, [text])));
    expect(texts).to.include(await readFile(path, "utf8"));
    expect(await readdir(folder)).to.deep.equal(["file"]);
  });

  it("writes to where a symbolic link points", async () => {
    await mkdir(join(folder, "far"));
    await writeFile(join(folder, "far", "target"), "old");
    await symlink(join("far", "target"), join(folder, "link"));
    await writeFileAtomically(join(folder, "link"), ["new"]);
    expect(await readFile(join(folder, "far", "target"), "utf8")).to.equal("new");
    expect(await readdir(folder)).to.deep.equal(["far", "link"]);
    expect(await readdir(join(folder, "far"))).to.deep.equal(["target"]);
  });

  it("refuses a folder's name and removes what it began", async () => {
    await mkdir(join(folder, "taken"));
    const error = await rejection(writeFileAtomically(join(folder, "taken"), ["text"]));
    expect(error)
      .to.be.instanceOf(ArgumentError)
      .with.property("message")
      .match(/taken is a folder\. Give the name/);
    expect(await readdir(folder)).to.deep.equal(["taken"]);
    expect((await stat(join(folder, "taken"))).isDirectory()).to.be.true;
  });

  it("names the folder that is missing", async () => {
    const path = join(folder, "none", "file");
    const error = await rejection(writeFileAtomically(path, ["text"]));
    expect(error).to.be.instanceOf(ArgumentError);
    expect(error.message).to.equal(`writeFile: the folder of ${path} does not exist. Make it first.`);
  });

  it("says what else is wrong, and removes what it began", async () => {
    const error = await rejection(writeFileAtomically(join(folder, "x".repeat(300)), ["text"]));
    expect(error)
      .to.be.instanceOf(ArgumentError)
      .with.property("message")
      .match(/x cannot be written \(ENAMETOOLONG/);
    expect(await readdir(folder)).to.deep.equal([]);
  });

  /** A shell in which "$@" is a program that writes 64 MiB over `path`, says when it has begun, and says what went wrong. */
  function shell(path: string, script: string): ChildProcessByStdio<null, Readable, null> {
    const program = `
      import { writeFileAtomically } from ${JSON.stringify(join(root, "ts/io/atomic-file.ts"))};
      function* pieces() {
        for (let i = 0; i < 64; i++) {
          if (i === 1) console.log("begun");
          yield new Uint8Array(2 ** 20);
        }
      }
      await writeFileAtomically(process.argv[1], pieces()).catch((error) => console.log(error.message));
    `;
    const node = [process.execPath, "--import", "tsx", "--input-type=module", "-e", program, path];
    return spawn("bash", ["-c", script, "bash", ...node], { cwd: root, stdio: ["ignore", "pipe", "inherit"] });
  }

  it("leaves the old file when the process is killed in the middle", async () => {
    const path = join(folder, "file");
    await writeFile(path, "old");
    const child = shell(path, 'exec "$@"');
    child.stdout.once("data", () => child.kill("SIGKILL"));
    const [, signal] = (await once(child, "exit")) as [null, string];
    expect(signal).to.equal("SIGKILL");
    expect(await readFile(path, "utf8")).to.equal("old");
  });

  it("leaves the old file, and no other, when the new one may not be so large", async () => {
    const path = join(folder, "file");
    await writeFile(path, "old");
    const said = await text(shell(path, 'ulimit -f 8192; exec "$@"').stdout); // 8 MiB
    expect(said).to.match(/writeFile: .*file cannot be written \(EFBIG/);
    expect(await readFile(path, "utf8")).to.equal("old");
    expect(await readdir(folder)).to.deep.equal(["file"]);
  });

  it("leaves the old file, and no other, when the disk is full", async function () {
    const path = join(folder, "file");
    const mount = `mount -t tmpfs -o size=8m tmpfs ${folder}`;
    if (spawnSync("unshare", ["-rm", "bash", "-c", mount], { stdio: "ignore" }).status !== 0) this.skip();
    const script = `${mount}; echo old > ${path}; "$@"; cat ${path}; ls -A ${folder}`;
    const said = await text(shell(path, `exec unshare -rm bash -c '${script}' bash "$@"`).stdout);
    expect(said).to.equal(
      `begun\nwriteFile: there is no space left for ${path}. Free some, or write elsewhere; the file is as it was before.\n` +
        "old\nfile\n",
    );
  });
});
