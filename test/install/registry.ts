// A registry on this machine that serves the package's dependencies as they are installed here, and nothing else.

import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Server } from "node:http";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { basename, dirname, join } from "node:path";
import { promisify } from "node:util";
import { packageRoot } from "../../ts/device/native/addon.ts";

/** A running registry. */
export interface Registry {
  readonly url: string;
  close(): Promise<void>;
}

interface Manifest {
  readonly name: string;
  readonly version: string;
}

/** Folders of the dependencies that users of the package install, by name and version; the lock file lists them. */
function installedDependencies(root: string): Map<string, Map<string, string>> {
  const lock = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")) as {
    packages: Record<string, { dev?: boolean; devOptional?: boolean; optional?: boolean }>;
  };
  const found = new Map<string, Map<string, string>>();
  for (const [path, { dev, devOptional, optional }] of Object.entries(lock.packages)) {
    if (path === "" || dev || devOptional || optional) continue;
    const folder = join(root, path);
    const { name, version } = readManifest(folder);
    found.set(name, (found.get(name) ?? new Map<string, string>()).set(version, folder));
  }
  return found;
}

function readManifest(folder: string): Manifest {
  return JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as Manifest;
}

/** The files of a package in one folder, which is what installers expect, without what is installed within it. */
async function pack(folder: string): Promise<Buffer> {
  const name = basename(folder);
  const args = ["-czf", "-", "-C", dirname(folder), `--exclude=${name}/node_modules`, name];
  return (await promisify(execFile)("tar", args, { encoding: "buffer", maxBuffer: 1 << 28 })).stdout;
}

/** Starts the registry on a free port. */
export async function startRegistry(): Promise<Registry> {
  const dependencies = installedDependencies(packageRoot());
  const packed = new Map<string, Promise<Buffer>>();
  const packOnce = (folder: string): Promise<Buffer> => {
    if (!packed.has(folder)) packed.set(folder, pack(folder));
    return packed.get(folder)!;
  };

  const describe = async (name: string, versions: Map<string, string>): Promise<object> => {
    const entries = [...versions].map(async ([version, folder]) => {
      const integrity = `sha512-${createHash("sha512")
        .update(await packOnce(folder))
        .digest("base64")}`;
      const dist = { tarball: `${url}/${name}/-/${version}.tgz`, integrity };
      return [version, { ...readManifest(folder), dist }] as const;
    });
    const latest = [...versions.keys()].at(-1);
    return { name, "dist-tags": { latest }, versions: Object.fromEntries(await Promise.all(entries)) };
  };

  const answer = async (path: string): Promise<Buffer | undefined> => {
    const [, name, version] = /^\/((?:@[^/]+\/)?[^/]+)(?:\/-\/(.+)\.tgz)?$/.exec(decodeURIComponent(path)) ?? [];
    const versions = dependencies.get(name);
    if (versions === undefined) return undefined;
    if (version === undefined) return Buffer.from(JSON.stringify(await describe(name, versions)));
    const folder = versions.get(version);
    return folder === undefined ? undefined : packOnce(folder);
  };

  const server = createServer((request, response) => {
    answer(request.url ?? "").then(
      (body) => response.writeHead(body === undefined ? 404 : 200).end(body),
      (error: unknown) => response.writeHead(500).end(String(error)),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { url, close: () => stop(server) };
}

function stop(server: Server): Promise<void> {
  server.closeAllConnections();
  return new Promise((resolve) => server.close(() => resolve()));
}
