// Folders from strangers: whatever is wrong with one is a named error, before it costs memory, and nothing outside is read.

import { mkdir, readFile, rename, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import { ArgumentError, FormatError, Pipeline, readSafetensors } from "langevin";
import { rejection } from "../failure.ts";
import { liveMemory, referencedMemory, useDevice } from "../tensor/devices.ts";
import { copyGolden, editJson, editTensors, files, temporaryFolder } from "./folders.ts";

const { index, model, scheduler, weights } = files;

/** A folder that must be refused: what is done to a good one, and what the error says after the name of the folder. */
type Trick = readonly [name: string, play: (folder: string) => Promise<unknown>, problem: RegExp];

const inIndex = (change: object) => (folder: string) => editJson(join(folder, index), () => change);
const inModel = (change: object) => (folder: string) => editJson(join(folder, model), () => change);
const inScheduler = (change: object) => (folder: string) => editJson(join(folder, scheduler), () => change);
const text = (file: string, content: string | Uint8Array) => (folder: string) => writeFile(join(folder, file), content);
const tensors = (change: Parameters<typeof editTensors>[1]) => (folder: string) =>
  editTensors(join(folder, weights), change);

/** Puts an index of shards in the place of the weights, by which all lie in `file`. */
const shards =
  (file: unknown, isThere = true) =>
  async (folder: string): Promise<void> => {
    const { tensors: all } = await readSafetensors(join(folder, weights));
    await rename(join(folder, weights), join(folder, "unet/shard.safetensors"));
    if (!isThere) await rm(join(folder, "unet/shard.safetensors"));
    const weight_map = Object.fromEntries([...all.keys()].map((name) => [name, file]));
    await writeFile(join(folder, `${weights}.index.json`), JSON.stringify({ weight_map }));
  };

/** Puts a link to a good file outside in the place of `file`. */
const linkOut =
  (file: string) =>
  async (folder: string): Promise<void> => {
    await rename(join(folder, file), join(folder, "..", "outside"));
    await symlink(join(folder, "..", "outside"), join(folder, file));
  };

const missing: readonly Trick[] = [
  ["no model's config", (folder) => rm(join(folder, model)), / has neither unet\/config\.json nor config\.json\. A folder is expected that/],
  ["no scheduler's config", (folder) => rm(join(folder, scheduler)), / has neither scheduler\/scheduler_config\.json nor scheduler_config\.json\./],
  ["no weights", (folder) => rm(join(folder, weights)), / has no unet\/diffusion_pytorch_model\.safetensors, and no index of shards of it\./],
  ["a folder for a config", async (folder) => { await rm(join(folder, model)); await mkdir(join(folder, model)); }, /unet\/config\.json is not a file\.$/],
  ["a missing shard", shards("shard.safetensors", false), /unet\/shard\.safetensors does not exist\.$/],
]; // prettier-ignore

const classes: readonly Trick[] = [
  ["an unknown pipeline", inIndex({ _class_name: "StableDiffusionPipeline" }), /model_index\.json: _class_name is "StableDiffusionPipeline"\. Supported are DDPMPipeline, DDIMPipeline, PNDMPipeline\.$/],
  ["a pipeline's name of JavaScript", inIndex({ _class_name: "constructor" }), /_class_name is "constructor"\. Supported/],
  ["no pipeline's name", inIndex({ _class_name: undefined }), /_class_name is undefined\. Supported/],
  ["a list for the pipeline's name", inIndex({ _class_name: ["custom", "DDPMPipeline"] }), /_class_name is an array of 2\. Supported/],
  ["an unknown model", inIndex({ unet: ["diffusers", "UNet2DConditionModel"] }), /the class of unet is "UNet2DConditionModel"\. Supported are UNet2DModel\.$/],
  ["a model of another class in its config", inModel({ _class_name: "AutoencoderKL" }), /unet\/config\.json: _class_name is "AutoencoderKL", expected "UNet2DModel"\./],
  ["an unknown scheduler", inIndex({ scheduler: ["diffusers", "MyScheduler"] }), /the class of scheduler is "MyScheduler"\. Supported are DDPMScheduler, DDIMScheduler, DDIMInverseScheduler, PNDMScheduler, .*FlowMatchHeunDiscreteScheduler\.$/],
  ["a scheduler's name of JavaScript", inIndex({ scheduler: ["diffusers", "toString"] }), /the class of scheduler is "toString"\./],
  ["an unknown scheduler in its config", async (folder) => { await inScheduler({ _class_name: "__proto__" })(folder); await rm(join(folder, index)); }, /scheduler_config\.json: _class_name is "__proto__"\. Expected DDPMScheduler/],
  ["code in the folder for a class", inIndex({ unet: ["unet", "MyUNet"] }), /unet is \["unet","MyUNet"\], expected \["diffusers", a class\]\.$/],
  ["a path for a library", inIndex({ scheduler: ["../../evil", "DDPMScheduler"] }), /scheduler is \["\.\.\/\.\.\/evil","DDPMScheduler"\], expected/],
  ["a component that leads out", inIndex({ "../unet": ["diffusers", "UNet2DModel"] }), /model_index\.json: "\.\.\/unet" is no component of a DDPMPipeline\. It has unet, scheduler\.$/],
  ["a component with an absolute name", inIndex({ "/etc": ["diffusers", "UNet2DModel"] }), /"\/etc" is no component/],
  ["a component with backslashes", inIndex({ "..\\unet": ["diffusers", "UNet2DModel"] }), /is no component/],
  ["a component that JavaScript has", inIndex({ constructor: ["diffusers", "UNet2DModel"] }), /"constructor" is no component/],
  ["another component", inIndex({ vae: ["diffusers", "AutoencoderKL"] }), /"vae" is no component of a DDPMPipeline/],
  ["a text for a component", inIndex({ unet: "diffusers.UNet2DModel" }), /unet is "diffusers\.UNet2DModel", expected/],
]; // prettier-ignore

const links: readonly Trick[] = [
  ...[index, model, scheduler, weights].map((file): Trick => [`a link to elsewhere for ${file}`, linkOut(file), new RegExp(`${file} is a link that leads out of the folder\\.$`)]),
  ["a link to a file of the system", async (folder) => { await rm(join(folder, model)); await symlink("/etc/passwd", join(folder, model)); }, /unet\/config\.json is a link that leads out of the folder\.$/],
  ["a link to elsewhere for a folder", linkOut("unet"), /unet\/config\.json is a link that leads out of the folder\.$/],
  ["a link to nowhere", async (folder) => { await rm(join(folder, index)); await symlink("nowhere", join(folder, index)); }, /model_index\.json does not exist\.$/],
  ["a shard that leads up", shards("../../outside.safetensors"), /index\.json: weight_map\.[\w.]+ is "\.\.\/\.\.\/outside\.safetensors", expected the name of a \.safetensors file beside the index\.$/],
  ["a shard with an absolute name", shards("/etc/passwd.safetensors"), /weight_map\.[\w.]+ is "\/etc\/passwd\.safetensors", expected/],
  ["a shard with backslashes", shards("..\\outside.safetensors"), /weight_map\.[\w.]+ is "\.\.\\\\outside\.safetensors", expected/],
  ["a shard that is a pickle", shards("shard.bin"), /weight_map\.[\w.]+ is "shard\.bin", expected/],
  ["a shard that is no name", shards({}), /weight_map\.[\w.]+ is an object, expected/],
  ["a shard that is a link", async (folder) => { await shards("shard.safetensors")(folder); await linkOut("unet/shard.safetensors")(folder); }, /unet\/shard\.safetensors is a link that leads out/],
]; // prettier-ignore

const configs: readonly Trick[] = [
  ...[index, model, scheduler].flatMap((file): Trick[] => [
    [`no JSON in ${file}`, text(file, "{ nothing }"), new RegExp(`${file}, line 1, column 3: expected a key in "\\.$`)],
    [`a list in ${file}`, text(file, "[]"), new RegExp(`${file} holds an array of 0, expected an object\\.$`)],
    [`an empty ${file}`, text(file, ""), new RegExp(`${file}, line 1, column 1: expected a value\\.$`)],
    [`deeply nested JSON in ${file}`, text(file, `{"a":${"[".repeat(200_000)}`), new RegExp(`${file}, line 1, column 69: nested deeper than 64 levels\\.$`)],
    [`huge JSON in ${file}`, text(file, `{"a":"${"x".repeat(5 * 2 ** 20)}"}`), new RegExp(`${file} has 5242888 bytes, and at most 4194304 are expected of such a file\\.$`)],
    [`other bytes than text in ${file}`, text(file, Uint8Array.of(0x7b, 0xff, 0x7d)), new RegExp(`${file} is not UTF-8\\.$`)],
    [`a key twice in ${file}`, text(file, '{"_class_name": "A", "_class_name": "B"}'), new RegExp(`${file}, line 1, column 22: the key "_class_name" is given twice`)],
  ]),
  ["an unknown key of the model", inModel({ evil: 1 }), /unet\/config\.json: unknown keys: evil\./],
  ["a thousand unknown keys of the model", inModel(Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`evil${i}`, i]))), /unknown keys: evil0, evil1, .*\.\.\./],
  ["a text for a number of the model", inModel({ in_channels: "3" }), /unet\/config\.json: in_channels is "3", expected an integer >= 1\./],
  ["NaN for a number of the model", (folder) => readFile(join(folder, model), "utf8").then((config) => text(model, config.replace('"norm_eps": 1e-05', '"norm_eps": NaN'))(folder)), /unet\/config\.json: norm_eps is NaN, expected a number above 0\./],
  ["groups that do not divide the channels", inModel({ norm_num_groups: 3 }), /unet\/config\.json: down_blocks\[0\]\.resnets\[0\].*3/],
  ["an unknown key of the scheduler", inScheduler({ evil: 1 }), /scheduler_config\.json: its config has the key evil, which no scheduler has\./],
  ["a text for a number of the scheduler", inScheduler({ beta_end: "0.02" }), /scheduler_config\.json: beta_end in its config is "0\.02"\. Expected number/],
  ["Infinity for a number of the scheduler", (folder) => readFile(join(folder, scheduler), "utf8").then((config) => text(scheduler, config.replace('"beta_end": 0.02', '"beta_end": Infinity'))(folder)), /scheduler_config\.json: beta_end in its config is Infinity\./],
  ["endless timesteps", inScheduler({ num_train_timesteps: 1e12 }), /scheduler_config\.json: num_train_timesteps is 1000000000000, expected 1000000 at most\./],
]; // prettier-ignore

/** What a config that asks for more than the files hold is told. */
const tooLarge =
  /unet\/diffusion_pytorch_model\.safetensors holds \d+ values in \d+ tensors, and the config asks for more: one of shape \[.*\] does not fit in\. The config and the weights do not belong together\.$/;
const gigantic: readonly Trick[] = [
  ["endless channels", inModel({ block_out_channels: [2 ** 40, 2 ** 41], norm_num_groups: 4 }), tooLarge],
  ["many channels", inModel({ block_out_channels: [65536, 65536] }), tooLarge],
  ["endless layers", inModel({ layers_per_block: 1e15 }), tooLarge],
  ["endless input channels", inModel({ in_channels: 2 ** 50 }), tooLarge],
  ["an endless time embedding", inModel({ time_embedding_dim: 2 ** 45 }), tooLarge],
  ["endless classes", inModel({ num_class_embeds: 2 ** 45 }), tooLarge],
  ["an endless table of times", inModel({ time_embedding_type: "learned", num_train_timesteps: 2 ** 45 }), tooLarge],
  ["endless blocks", inModel({ sample_size: null, block_out_channels: new Array(20_000).fill(8), down_block_types: new Array(20_000).fill("DownBlock2D"), up_block_types: new Array(20_000).fill("UpBlock2D"), norm_num_groups: 4 }), tooLarge],
]; // prettier-ignore

const stored: readonly Trick[] = [
  ["a tensor missing", tensors((all) => all.delete("conv_out.bias")), /does not have the weights of the config: missing \[conv_out\.bias\], unknown \[\]\.$/],
  ["a tensor too many", tensors((all) => all.set("evil", { dtype: "F32", shape: [1], data: new Float32Array(1) })), /unet\/diffusion_pytorch_model\.safetensors does not have the weights of the config: missing \[\], unknown \[evil\]\.$/],
  ["a tensor under another name", tensors((all) => { all.set("conv_out.gain", all.get("conv_out.bias")!); all.delete("conv_out.bias"); }), /missing \[conv_out\.bias\], unknown \[conv_out\.gain\]\.$/],
  ["a name of JavaScript", tensors((all) => all.set("__proto__", { dtype: "F32", shape: [1], data: new Float32Array(1) })), /missing \[\], unknown \[__proto__\]\.$/],
  ["a name of old and its new one", tensors((all) => all.set("mid_block.attentions.0.to_q.bias", all.get("mid_block.attentions.0.query.bias")!)), /missing \[\], unknown \[mid_block\.attentions\.0\.query\.bias\]\.$/],
  ["another shape", tensors((all) => all.set("conv_in.weight", { dtype: "F32", shape: [3, 8, 3, 3], data: new Float32Array(216) })), /unet\/diffusion_pytorch_model\.safetensors: conv_in\.weight has shape \[3, 8, 3, 3\], and the config makes it \[8, 3, 3, 3\]\.$/],
  ["a shape of fewer axes", tensors((all) => all.set("conv_in.weight", { dtype: "F32", shape: [216], data: new Float32Array(216) })), /conv_in\.weight has shape \[216\], and the config makes it \[8, 3, 3, 3\]\.$/],
  ["integers for weights", tensors((all) => all.set("conv_in.bias", { dtype: "I64", shape: [8], data: new BigInt64Array(8) })), /conv_in\.bias is I64\. Weights are F64, F32, F16, BF16\.$/],
  ["a file cut off", (folder) => truncate(join(folder, weights), 100_000), /diffusion_pytorch_model\.safetensors is not a safetensors file: tensor ".*" has data_offsets \[\d+, \d+\], which do not lie within the \d+ bytes of data\.$/],
  ["a file cut off in its header", (folder) => truncate(join(folder, weights), 100), /is not a safetensors file: its header claims \d+ bytes, but only 92 follow\.$/],
  ["an empty file", (folder) => truncate(join(folder, weights), 0), /is not a safetensors file: it has 0 bytes/],
  ["a file with something at its end", (folder) => truncate(join(folder, weights), 300_000), /is not a safetensors file: .* but \d+ are there\.$/],
  ["a header that claims everything", text(weights, Uint8Array.of(255, 255, 255, 255, 255, 255, 255, 255, 123)), /is not a safetensors file: its header claims 18446744073709551615 bytes/],
  ["a tensor that claims everything", text(weights, safetensors('{"conv_in.weight":{"dtype":"F32","shape":[9007199254740991,1,1,1],"data_offsets":[0,4]}}', 4)), /tensor "conv_in\.weight" is F32 \[9007199254740991, 1, 1, 1\], which takes/],
  ["tensors that overlap", text(weights, safetensors('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 4)), /tensor "b" begins at byte 0 of the data, within tensor "a"/],
  ["an index without a map", async (folder) => { await shards("shard.safetensors")(folder); await writeFile(join(folder, `${weights}.index.json`), "{}"); }, /index\.json: weight_map is missing, expected an object of file names by tensor\.$/],
  ["an index that leaves tensors out", async (folder) => { await shards("shard.safetensors")(folder); await writeFile(join(folder, `${weights}.index.json`), '{"weight_map":{"conv_in.bias":"shard.safetensors"}}'); }, /shard\.safetensors holds [\w.]+, which the index does not say lies there\.$/],
  ["an index of tensors that are not there", async (folder) => { await shards("shard.safetensors")(folder); await editJson(join(folder, `${weights}.index.json`), ({ weight_map }) => ({ weight_map: { ...(weight_map as object), evil: "shard.safetensors" } })); }, /shard\.safetensors does not hold evil, which the index says lies there\.$/],
]; // prettier-ignore

/** The bytes of a file with this header and as many zeros. */
function safetensors(header: string, dataLength: number): Uint8Array {
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([prefix, Buffer.from(header), Buffer.alloc(dataLength)]);
}

describe("Pipeline.load refuses", () => {
  useDevice("ts");
  before(referencedMemory); // what earlier tests left behind is not freed during these
  const path = temporaryFolder();
  const groups = { missing, classes, links, configs, gigantic, stored };
  for (const [group, tricks] of Object.entries(groups))
    describe(group, () => {
      for (const [name, play, problem] of tricks)
        it(name, async () => {
          const folder = await copyGolden("legacy_names", path("folder"));
          await play(folder);
          const before = await liveMemory();
          const error = await rejection(Pipeline.load(folder));
          expect(error.message).to.match(problem);
          expect(error).to.be.instanceOf(FormatError);
          expect((error as FormatError).op).to.equal("Pipeline.load");
          expect(error.message).to.contain(folder);
          expect(error.message.length).to.be.below(1000);
          expect(await liveMemory()).to.deep.equal(before);
        });
    });

  it("what is no folder", async () => {
    await writeFile(path("file"), "");
    for (const [folder, problem] of [
      [path("none"), /none cannot be read \(ENOENT/],
      [path("file"), /file is not a folder\.$/],
      [7, /the folder is 7, expected a path\.$/],
    ] as const) {
      const error = await rejection(Pipeline.load(folder as string));
      expect(error).to.be.instanceOf(ArgumentError);
      expect(error.message).to.match(problem);
    }
  });
});
