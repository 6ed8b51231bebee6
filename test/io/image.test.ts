// Images as tensors: what toPng writes fromImage reads, of any kind of PNG, and clear words for everything else.

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import type { ImageData } from "fast-png";
import { encode } from "fast-png";
import { ArgumentError, FormatError, LifetimeError, ShapeError } from "langevin";
import { arange, fromImage, full, grid, readPng, tensor, toPng, writePng, zeros } from "langevin";
import { decodePng } from "../../ts/io/png.ts";
import { rejection } from "../failure.ts";
import { onEveryDevice } from "../tensor/devices.ts";

onEveryDevice("images", (device) => {
  let folder: string;
  before(async () => (folder = await mkdtemp(join(tmpdir(), "langevin-image-"))));
  after(() => rm(folder, { recursive: true }));

  it("come back from a PNG file and from its bytes", async () => {
    const x = arange(5 * 7 * 3).to("float32").mul(2 / 255).sub(1).reshape([5, 7, 3]); // prettier-ignore
    const path = join(folder, "x.png");
    await writePng(path, await grid(x));
    for (const source of [path, await toPng(x)]) {
      const back = await fromImage(source);
      expect([back.shape, back.dtype, back.device]).to.deep.equal([[5, 7, 3], "float32", device]);
      expect(back.sub(x).abs().sum().item()).to.be.lessThan(1e-4);
    }
  });

  it("are taken from a picture in memory", async () => {
    const x = arange(2 * 3 * 3).to("float32").mul(2 / 17).sub(1).reshape([2, 3, 3]); // prettier-ignore
    const path = join(folder, "picture.png");
    await writePng(path, await grid(x));
    const [ofBytes, ofFloats, ofFile] = [
      await fromImage(await grid(x)),
      await fromImage(await readPng(path)),
      await fromImage(path),
    ];
    expect(ofBytes.toArray()).to.deep.equal(ofFile.toArray());
    expect(ofFloats.toArray()).to.deep.equal(ofFile.toArray());
    const beyond = { data: Float32Array.of(-3, 0.5, 1.5), height: 1, width: 3, channels: 1 };
    expect((await fromImage(beyond)).toArray()).to.deep.equal([[[-1], [0], [1]]]);
    expect((await fromImage(beyond, { channels: 3, range: [0, 2] })).shape).to.deep.equal([1, 3, 3]);
    expect([...beyond.data]).to.deep.equal([-3, 0.5, 1.5]);
  });

  it("are laid out and enlarged as grid does it", async () => {
    const images = arange(4).to("float32").mul(0.25).reshape([4, 1, 1, 1]);
    const options = { columns: 2, enlarge: 3, gap: 1, range: [0, 1] } as const;
    const { data, height, width } = decodePng(await toPng(images, options));
    const picture = await grid(images, options);
    expect([height, width]).to.deep.equal([7, 7]);
    expect([...data].map((value) => Math.round(value * 255))).to.deep.equal([...picture.data]);
  });

  it("take the range that is asked for", async () => {
    const bytes = await toPng(tensor([[[0], [1]]]), { range: [0, 1] });
    expect((await fromImage(bytes)).toArray()).to.deep.equal([[[-1], [1]]]);
    expect((await fromImage(bytes, { range: [0, 255] })).toArray()).to.deep.equal([[[0], [255]]]);
  });

  const kinds: [string, ImageData, number[], number[]][] = [
    ["grey of 16 bits", { data: Uint16Array.of(0, 65535), width: 2, height: 1, depth: 16, channels: 1 }, [1, 2, 1], [-1, 1]],
    ["grey with alpha", { data: Uint8Array.of(255, 0), width: 1, height: 1, channels: 2 }, [1, 1, 4], [1, 1, 1, -1]],
    ["RGB", { data: Uint8Array.of(0, 255, 0), width: 1, height: 1, channels: 3 }, [1, 1, 3], [-1, 1, -1]],
    ["RGBA", { data: Uint8Array.of(0, 255, 0, 255), width: 1, height: 1, channels: 4 }, [1, 1, 4], [-1, 1, -1, 1]],
    ["RGB of 16 bits", { data: Uint16Array.of(0, 65535, 0), width: 1, height: 1, depth: 16, channels: 3 }, [1, 1, 3], [-1, 1, -1]],
    ["a palette", { data: Uint8Array.of(1, 0), width: 2, height: 1, channels: 1, palette: [[255, 0, 0], [0, 0, 255]] }, [1, 2, 3], [-1, -1, 1, 1, -1, -1]],
  ]; // prettier-ignore
  for (const [name, image, shape, values] of kinds)
    it(`are read from ${name}`, async () => {
      const x = await fromImage(encode(image));
      expect(x.shape).to.deep.equal(shape);
      expect([...(await x.data())]).to.deep.equal(values);
    });

  it("take the channels that are asked for", async () => {
    const rgba = encode({ data: Uint8Array.of(255, 0, 51, 102), width: 1, height: 1, channels: 4 });
    const grey = encode({ data: Uint8Array.of(51), width: 1, height: 1, channels: 1 });
    const read = async (bytes: Uint8Array, channels: 1 | 3 | 4): Promise<number[]> => {
      const x = await fromImage(bytes, { channels, range: [0, 255] });
      expect(x.shape).to.deep.equal([1, 1, channels]);
      return Array.from(await x.data(), (value) => Math.round(value * 100) / 100);
    };
    expect(await read(rgba, 3)).to.deep.equal([255, 0, 51]);
    expect(await read(rgba, 1)).to.deep.equal([82.06]); // 0.299 * 255 + 0.114 * 51
    expect(await read(rgba, 4)).to.deep.equal([255, 0, 51, 102]);
    expect(await read(grey, 1)).to.deep.equal([51]);
    expect(await read(grey, 3)).to.deep.equal([51, 51, 51]);
    expect(await read(grey, 4)).to.deep.equal([51, 51, 51, 255]);
  });
});

describe("images that are none", () => {
  const bytes = (text: string): Uint8Array => Buffer.from(text, "latin1");
  const files: [string, Uint8Array, string][] = [
    ["a JPEG", bytes("\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01"), "It looks like a JPEG: convert it to PNG first."],
    ["a GIF", bytes("GIF89a and then more bytes"), "It looks like a GIF: convert it to PNG first."],
    ["a WebP picture", bytes("RIFF\x10\0\0\0WEBPVP8 and more"), "It looks like a WebP picture: convert it to PNG first."],
    ["an SVG", bytes('<svg xmlns="http://www.w3.org/2000/svg"/>'), "It looks like an SVG or XML file: convert it to PNG first."],
    ["text", bytes("not an image, but long enough"), ""],
    ["nothing", new Uint8Array(0), ""],
  ]; // prettier-ignore
  for (const [name, file, advice] of files)
    it(name, async () => {
      const error = await rejection(fromImage(file));
      expect(error).to.be.instanceOf(FormatError);
      expect(error.message).to.match(/^fromImage: the given buffer is not a readable PNG file: [^.]*\./);
      expect((error as FormatError).advice ?? "").to.equal(advice);
    });

  it("a file that is not there, and one that is no PNG", async () => {
    const folder = await mkdtemp(join(tmpdir(), "langevin-image-"));
    const path = join(folder, "x.png");
    const missing = await rejection(fromImage(path));
    expect(missing).to.be.instanceOf(ArgumentError);
    expect(missing.message).to.match(/^fromImage: .*x\.png cannot be read \(ENOENT/);
    await writeFile(path, "text");
    expect((await rejection(fromImage(path))).message).to.include(`fromImage: ${path} is not a readable PNG file: `);
    await rm(folder, { recursive: true });
  });

  const aPicture = "{ data, height, width, channels } with bytes or floats, as grid and readPng give it";
  const anImage = `Expected a path, the bytes of a PNG file (a Uint8Array), or ${aPicture}.`;
  const wrong: [string, () => Promise<unknown>, unknown, string][] = [
    ["a flat tensor", () => toPng(zeros([4])), ShapeError, "toPng: images have shape [4], expected [N, H, W, C] or [H, W, C]."],
    ["two channels", () => toPng(zeros([2, 2, 2])), ShapeError, "toPng: a picture has 2 channels, expected 1 (grey), 3 (RGB) or 4 (RGBA)."],
    ["no images", () => toPng(zeros([0, 2, 2, 1])), ShapeError, "toPng: the pictures have shape [0, 2, 2, 1], expected [N, H, W, C] with no size of 0."],
    ["NaN", () => toPng(full([1, 2, 1], NaN)), ArgumentError, "toPng: the value at [0, 0, 0, 0] is NaN, which has no colour."],
    ["an empty range", () => toPng(zeros([1, 1, 1]), { range: [1, 1] }), ArgumentError, "toPng: range is [1, 1], expected [low, high], low < high."],
    ["half a pixel", () => toPng(zeros([1, 1, 1]), { enlarge: 0.5 }), ArgumentError, "toPng: enlarge is 0.5, expected an integer of at least 1."],
    ["an infinite range", async () => fromImage(await toPng(zeros([1, 1, 1])), { range: [0, Infinity] }), ArgumentError, "fromImage: range is [0, Infinity], expected [low, high], low < high."],
    ["a list of numbers", () => fromImage([1, 2] as never), ArgumentError, `fromImage: the image is an array of 2. ${anImage}`],
    ["nothing", () => fromImage(undefined as never), ArgumentError, `fromImage: the image is undefined. ${anImage}`],
    ["a tensor", () => fromImage(zeros([1, 1, 1]) as never), ArgumentError, `fromImage: the image is a Tensor. ${anImage}`],
    ["bytes without a type", () => fromImage(new ArrayBuffer(8) as never), ArgumentError, `fromImage: the image is an ArrayBuffer. ${anImage}`],
    ["a picture with too few values", () => fromImage({ data: new Uint8Array(2), height: 1, width: 1, channels: 3 }), ShapeError, "fromImage: 2 values do not fill a picture of [1, 1, 3]."],
    ["a picture of an array", () => fromImage({ data: [0], height: 1, width: 1, channels: 1 } as never), ArgumentError, `fromImage: the image is an object. ${anImage}`],
    ["a tensor as a picture to write", () => writePng("unwritten.png", zeros([1, 1, 1]) as never), ArgumentError, `writePng: the picture is a Tensor, expected ${aPicture}.`],
    ["a grid of a picture", () => grid({ data: new Uint8Array(1), height: 1, width: 1, channels: 1 } as never), ArgumentError, "grid: images is an object, expected a tensor."],
    ["five channels", async () => fromImage(await toPng(zeros([1, 1, 1])), { channels: 5 as 4 }), ArgumentError, "fromImage: channels is 5, expected 1 (grey), 3 (RGB) or 4 (RGBA)."],
  ]; // prettier-ignore
  for (const [name, call, kind, message] of wrong)
    it(name, async () => {
      const error = await rejection(call());
      expect(error).to.be.instanceOf(kind);
      expect(error.message).to.equal(message);
    });

  it("a disposed tensor", async () => {
    const x = zeros([1, 1, 1]);
    x.dispose();
    const error = await rejection(toPng(x));
    expect(error).to.be.instanceOf(LifetimeError);
    expect(error.message).to.match(/^toPng: a tensor of shape \[1, 1, 1\] was used after it was disposed\./);
  });
});
