// Pipelines to folders of diffusers and back: every layout that is read, what is written, and that nothing is lost on the way.

import { spawnSync } from "node:child_process";
import { mkdir, readFile, readdir, rename, rm, symlink, writeFile } from "node:fs/promises";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { expect } from "chai";
import {
  ArgumentError,
  DDIMScheduler,
  DDPMScheduler,
  DPMSolverMultistepScheduler,
  FormatError,
  LifetimeError,
  PNDMScheduler,
  Pipeline,
  UNet2D,
  manualSeed,
  rand,
  readSafetensors,
  schedulerFromConfig,
  toFloat32,
  torchState,
  writeSafetensors,
} from "langevin";
import type { RawTensor, Tensor } from "langevin";
import { isFloatKey } from "../../ts/diffusion/schedulers/options.ts";
import { formatPythonJson, parsePythonJson } from "../../ts/io/python-json.ts";
import { rejection } from "../failure.ts";
import { cpuIsBuilt, liveMemory, referencedMemory, useDevice } from "../tensor/devices.ts";
import {
  copyGolden,
  editJson,
  editTensors,
  files,
  flatten,
  goldenFolder,
  pipelines,
  temporaryFolder,
} from "./folders.ts";

const root = resolve(import.meta.dirname, "../..");

function bits(x: Tensor): Int32Array {
  return new Int32Array(Float32Array.from([x.toArray()].flat(9) as number[]).buffer);
}

/** Two pictures of few steps, to tell pipelines apart by. */
async function pictures(pipeline: Pipeline): Promise<Int32Array> {
  const label = pipeline.model.class_embedding ? 3 : undefined;
  return bits(await pipeline.sample({ n: 2, steps: 2, seed: 5, label, allowResidualSignal: true }));
}

/** All of a folder's files by name. */
async function contents(folder: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile()) found[path.slice(folder.length + 1)] = await readFile(path, "base64");
  }
  return found;
}

const small = { sampleSize: 8, blockOutChannels: [8, 16], layersPerBlock: 1, normNumGroups: 4, downBlockTypes: ["DownBlock2D", "AttnDownBlock2D"], upBlockTypes: ["AttnUpBlock2D", "UpBlock2D"] } as const; // prettier-ignore

describe("Pipeline in folders", () => {
  useDevice(cpuIsBuilt ? "cpu" : "ts");
  const path = temporaryFolder();

  for (const name of pipelines)
    describe(`of diffusers: ${name}`, () => {
      it("is written as it was read: names, shapes, types and bits of tensors, keys and values of configs", async () => {
        const loaded = await Pipeline.load(goldenFolder(name));
        await loaded.save(path("saved"));
        for (const file of [files.index, files.model, files.scheduler]) {
          const [before, after] = [readFileSync(join(goldenFolder(name), file), "utf8"), readFileSync(path(`saved/${file}`), "utf8")]; // prettier-ignore
          // The golden index was written without the line's end that diffusers writes.
          expect(after, file).to.equal(file === files.index ? `${before}\n` : before);
        }
        const before = await readSafetensors(join(goldenFolder(name), files.weights));
        const after = await readSafetensors(path(`saved/${files.weights}`));
        const now = (tensor: string): string =>
          name === "legacy_names" // diffusers, too, writes the names of today
            ? tensor.replace(/\.(query|key|value|proj_attn)\./, (_, old: string) => `.${{ query: "to_q", key: "to_k", value: "to_v" }[old] ?? "to_out.0"}.`) // prettier-ignore
            : tensor;
        expect(after.metadata).to.deep.equal(before.metadata);
        expect([...after.tensors].sort()).to.deep.equal(
          [...before.tensors].map(([key, raw]) => [now(key), raw]).sort(),
        );
        expect((await readdir(path("saved"), { recursive: true })).sort()).to.deep.equal(
          ["scheduler", "unet", ...Object.values(files)].sort(),
        );
      });

      it("draws the same pictures, bit for bit, once it was saved and loaded", async () => {
        const loaded = await Pipeline.load(goldenFolder(name));
        const expected = await pictures(loaded);
        await loaded.save(path("saved"));
        const again = await Pipeline.load(path("saved"));
        expect(await pictures(again)).to.deep.equal(expected);
        expect(again.model.training).to.equal(false);
      });
    });

  for (const name of ["ddim", "ddpm", "dpmsolver", "edm", "euler", "flowmatch", "pndm", "unipc"])
    it(`writes the scheduler_config.json of ${name} as diffusers does`, () => {
      const file = resolve(import.meta.dirname, `../golden/schedulers/configs/${name}/scheduler_config.json`);
      const text = readFileSync(file, "utf8");
      const config = parsePythonJson(text, { op: "test", file }) as Record<string, unknown>;
      expect(formatPythonJson(schedulerFromConfig(config).config(), isFloatKey)).to.equal(text);
    });

  describe("reads", () => {
    it("the first layout of diffusers, with model_index.json and without, and keys that schedulers had then", async () => {
      const expected = await pictures(await Pipeline.load(goldenFolder("legacy_names")));
      const folder = await copyGolden("legacy_names", path("old"));
      await flatten(folder);
      await editJson(join(folder, "scheduler_config.json"), () => ({ tensor_format: "pt", timestep_values: null }));
      expect(await pictures(await Pipeline.load(folder))).to.deep.equal(expected);
      await rm(join(folder, files.index));
      const loaded = await Pipeline.load(folder);
      expect(await pictures(loaded)).to.deep.equal(expected);
      await loaded.save(path("new"));
      expect(JSON.parse(await readFile(path(`new/${files.index}`), "utf8"))).to.deep.equal({
        _class_name: "DDPMPipeline",
        _diffusers_version: "0.40.0",
        scheduler: ["diffusers", "DDPMScheduler"],
        unet: ["diffusers", "UNet2DModel"],
      });
    });

    it("shards, as their index lists them", async () => {
      const expected = await pictures(await Pipeline.load(goldenFolder("class_cond")));
      const folder = await copyGolden("class_cond", path("sharded"));
      await shard(folder);
      expect((await readdir(join(folder, "unet"))).length).to.equal(5);
      expect(await pictures(await Pipeline.load(folder))).to.deep.equal(expected);
    });

    const halves = (data: Uint16Array): Uint16Array<ArrayBuffer> =>
      Uint16Array.from(data, (_, i) => (i * 7919) % 0x3c00);
    for (const dtype of ["F16", "BF16"] as const)
      it(`${dtype} weights as float32, exactly`, async () => {
        const folder = await copyGolden("legacy_names", path("half"));
        const file = join(folder, files.weights);
        await editTensors(file, (tensors) => {
          for (const [name, { shape, data }] of tensors)
            tensors.set(name, { dtype, shape, data: halves(new Uint16Array(data.length)) });
        });
        const { tensors } = await readSafetensors(file);
        const state = await torchState((await Pipeline.load(folder)).model);
        expect(state["conv_in.weight"].data).to.deep.equal(toFloat32(tensors.get("conv_in.weight")!));
        expect(state["mid_block.attentions.0.to_q.weight"].data).to.deep.equal(
          toFloat32(tensors.get("mid_block.attentions.0.query.weight")!),
        );
      });

    it("another variant of the weights, where it is named", async () => {
      const folder = await copyGolden("legacy_names", path("variant"));
      await rename(join(folder, files.weights), join(folder, "unet/diffusion_pytorch_model.fp16.safetensors"));
      const error = await rejection(Pipeline.load(folder));
      expect(error.message).to.match(/has no unet\/diffusion_pytorch_model\.safetensors.*variant: "fp16"/);
      expect((await Pipeline.load(folder, { variant: "fp16" })).model).to.be.instanceOf(UNet2D);
      expect(await rejection(Pipeline.load(folder, { variant: "../x" }))).to.be.instanceOf(ArgumentError);
    });

    it("float64 weights into a float64 model, and rounds them for others", async () => {
      const folder = await copyGolden("legacy_names", path("wide"));
      await editTensors(join(folder, files.weights), (tensors) => {
        for (const [name, { shape, data }] of tensors)
          tensors.set(name, { dtype: "F64", shape, data: Float64Array.from(data as Float32Array, (value) => value + 1e-12) }); // prettier-ignore
      });
      const weight = async (dtype: "float32" | "float64"): Promise<number> =>
        (await (await Pipeline.load(folder, { dtype, device: "ts" })).model.conv_in.weight.data())[0];
      const wide = await weight("float64");
      expect(await weight("float32"))
        .to.equal(Math.fround(wide))
        .and.not.to.equal(wide);
      const pipeline = await Pipeline.load(folder, { dtype: "float64", device: "ts" });
      expect((await pipeline.sample({ steps: 5 })).dtype).to.equal("float64");
    });

    it("a DDIMPipeline with any scheduler as one with DDIM, as diffusers does", async () => {
      const folder = await copyGolden("tiny", path("ddim"));
      await editJson(join(folder, files.index), () => ({ _class_name: "DDIMPipeline" }));
      const { scheduler } = await Pipeline.load(folder);
      expect(scheduler).to.be.instanceOf(DDIMScheduler);
      expect(scheduler.options).to.include({ clipSample: true, numTrainTimesteps: 1000, setAlphaToOne: true });
    });

    it("a folder that is a link, and weights that are NaN", async () => {
      const folder = await copyGolden("legacy_names", path("nan"));
      await editTensors(join(folder, files.weights), (tensors) => {
        (tensors.get("conv_out.bias")!.data as Float32Array)[0] = NaN;
      });
      await symlink(folder, path("link"));
      const pipeline = await Pipeline.load(path("link"));
      const error = await rejection(pipeline.sample({ steps: 5, checkFinite: true }));
      expect(error.message).to.match(/conv_out/);
    });

    it("without drawing random numbers", async () => {
      const next = (): Int32Array => bits(rand([4]));
      manualSeed(3);
      const expected = [next(), bits(new UNet2D(small).conv_in.weight)];
      manualSeed(3);
      const first = next();
      await Pipeline.load(goldenFolder("tiny"));
      expect([first, bits(new UNet2D(small).conv_in.weight)]).to.deep.equal(expected);
    });
  });

  describe("saves", () => {
    const model = (): UNet2D => new UNet2D(small);

    it("a new model and scheduler, as diffusers would", async () => {
      for (const [scheduler, name] of [
        [new DDPMScheduler({ numTrainTimesteps: 20, betaEnd: 0.5 }), "DDPMPipeline"],
        [new DDIMScheduler(), "DDIMPipeline"],
        [new PNDMScheduler({ skipPrkSteps: true }), "PNDMPipeline"],
        [new DPMSolverMultistepScheduler({ lambdaMinClipped: -Infinity }), "DDPMPipeline"],
      ] as const) {
        const pipeline = new Pipeline({ model: model(), scheduler });
        await pipeline.save(path("new"));
        const index = JSON.parse(await readFile(path(`new/${files.index}`), "utf8")) as object;
        expect(index).to.deep.equal({
          _class_name: name,
          _diffusers_version: "0.40.0",
          scheduler: ["diffusers", scheduler.name],
          unet: ["diffusers", "UNet2DModel"],
        });
        expect(await readFile(path(`new/${files.model}`), "utf8")).to.match(/"_diffusers_version": "0\.40\.0",[^]*"dropout": 0\.0,[^]*"norm_eps": 1e-05,/); // prettier-ignore
        expect(await pictures(await Pipeline.load(path("new")))).to.deep.equal(await pictures(pipeline));
      }
      expect(await readFile(path(`new/${files.scheduler}`), "utf8")).to.contain('"lambda_min_clipped": -Infinity,');
    });

    it("over an empty folder and over a pipeline of any layout, with nothing left of the old one", async () => {
      await mkdir(path("made"));
      const pipeline = new Pipeline({ model: model(), scheduler: new DDPMScheduler() });
      await pipeline.save(path("made"));
      const expected = await contents(path("made"));
      await copyGolden("tiny", path("sharded"));
      await shard(path("sharded"));
      await copyGolden("tiny", path("flat"));
      await flatten(path("flat"));
      for (const name of ["made", "sharded", "flat"]) {
        await pipeline.save(path(name));
        expect(await contents(path(name)), name).to.deep.equal(expected);
      }
      expect((await readdir(path())).sort()).to.deep.equal(["flat", "made", "sharded"]);
    });

    it("over nothing else, unless it is told to", async () => {
      const pipeline = new Pipeline({ model: model(), scheduler: new DDPMScheduler() });
      await mkdir(path("notes"));
      await writeFile(path("notes/todo.txt"), "precious");
      await copyGolden("tiny", path("mixed"));
      await writeFile(path("mixed/unet/README.md"), "precious");
      await mkdir(path("half/unet"), { recursive: true });
      for (const [name, problem] of [
        ["notes", "holds todo.txt, which is no part of a pipeline"],
        ["mixed", "holds unet/README.md, which is no part of a pipeline"],
        ["half", "holds no model_index.json, so that it is no pipeline's"],
      ] as const) {
        const before = await contents(path(name));
        const error = await rejection(pipeline.save(path(name)));
        expect(error).to.be.instanceOf(ArgumentError);
        expect(error.message).to.equal(
          `Pipeline.save: ${path(name)} exists and ${problem}. Choose another folder, or say overwrite: true, which removes it with all that is in it.`,
        );
        expect(await contents(path(name))).to.deep.equal(before);
        await pipeline.save(path(name), { overwrite: true });
        expect(Object.keys(await contents(path(name)))).to.have.members(Object.values(files));
      }
      await writeFile(path("file"), "precious");
      expect((await rejection(pipeline.save(path("file"), { overwrite: true }))).message).to.contain("is not a folder");
      expect(await readFile(path("file"), "utf8")).to.equal("precious");
    });

    it("nothing, and leaves the old folder, when the model cannot be read any more", async () => {
      const [good, gone] = [model(), model()].map(
        (net) => new Pipeline({ model: net, scheduler: new DDPMScheduler() }),
      );
      await good.save(path("made"));
      const before = await contents(path("made"));
      gone.dispose();
      expect(await rejection(gone.save(path("made")))).to.be.instanceOf(LifetimeError);
      expect(await contents(path("made"))).to.deep.equal(before);
      expect(await readdir(path())).to.deep.equal(["made"]);
    });

    it("nothing, and leaves the old folder, when a file may not be so large", async () => {
      await copyGolden("legacy_names", path("made"));
      const before = await contents(path("made"));
      const program = `
        import { Pipeline } from "langevin";
        const pipeline = await Pipeline.load(${JSON.stringify(goldenFolder("tiny"))}, { device: "ts" });
        await pipeline.save(process.argv[1]).catch((error) => console.log(error.message));
      `;
      const node = [process.execPath, "--import", "tsx", "--input-type=module", "-e", program, path("made")];
      const { stdout } = spawnSync("bash", ["-c", 'ulimit -f 500; exec "$@"', "bash", ...node], { cwd: root, encoding: "utf8" }); // prettier-ignore
      expect(stdout).to.match(/diffusion_pytorch_model\.safetensors cannot be written \(EFBIG/);
      expect(await contents(path("made"))).to.deep.equal(before);
      expect(await readdir(path())).to.deep.equal(["made"]);
    });
  });

  it("is made of a UNet2D and a scheduler", async () => {
    const make = (parts: object) => async (): Promise<Pipeline> => new Pipeline(parts as never);
    expect((await rejection(make({})())).message).to.equal("Pipeline: model is undefined, expected a UNet2D.");
    expect((await rejection(make({ model: new UNet2D(small), scheduler: "DDIM" })())).message).to.equal(
      'Pipeline: scheduler is "DDIM", expected a Scheduler.',
    );
  });

  it("leaves nothing behind when it was disposed of, or could not be loaded", async () => {
    const folder = await copyGolden("legacy_names", path("bad"));
    await editTensors(join(folder, files.weights), (tensors) => tensors.delete("conv_out.bias"));
    const before = await referencedMemory();
    (await Pipeline.load(goldenFolder("tiny"))).dispose();
    expect(await liveMemory()).to.deep.equal(before);
    expect(await rejection(Pipeline.load(folder))).to.be.instanceOf(FormatError);
    expect(await liveMemory()).to.deep.equal(before);
  });

  it("says how to convert a pickle, and does not read it", async () => {
    const folder = await copyGolden("tiny", path("pickle"));
    await rename(join(folder, files.weights), join(folder, "unet/diffusion_pytorch_model.bin"));
    const error = await rejection(Pipeline.load(folder));
    expect(error).to.be.instanceOf(FormatError);
    expect(error.message).to.match(
      /^Pipeline\.load: .*unet\/diffusion_pytorch_model\.bin is a pickle, a program that reading it would execute, .* It is not read\. Where its origin is trusted, convert it in Python: from diffusers import DiffusionPipeline; .*save_pretrained/,
    );
  });
});

/** Splits the weights of a folder into three files and an index. */
async function shard(folder: string): Promise<void> {
  const file = join(folder, files.weights);
  const { tensors, metadata } = await readSafetensors(file);
  const parts: [string, RawTensor][][] = [[], [], []];
  [...tensors].forEach((entry, i) => parts[i % 3].push(entry));
  const weight_map: Record<string, string> = {};
  for (const [i, part] of parts.entries()) {
    const name = `diffusion_pytorch_model-0000${i + 1}-of-00003.safetensors`;
    await writeSafetensors(join(folder, "unet", name), part, metadata);
    for (const [tensor] of part) weight_map[tensor] = name;
  }
  await writeFile(`${file}.index.json`, JSON.stringify({ metadata: { total_size: 1 }, weight_map }));
  await rm(file);
}
