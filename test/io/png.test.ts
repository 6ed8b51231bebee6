// PNG: what is written is read back, by us and by the format's own rules; grids put each pixel where it belongs.

import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import type { ImageData } from "fast-png";
import { encode } from "fast-png";
import { ArgumentError, FormatError, ShapeError } from "../../ts/errors/index.ts";
import { decodePng, encodePng, gridImage, readPng, writePng } from "../../ts/io/png.ts";
import { failure, rejection } from "../failure.ts";

/** A picture in which no two neighbours are equal. */
function gradient(height: number, width: number, channels: number): Float32Array {
  return Float32Array.from({ length: height * width * channels }, (_, i) => ((i * 37) % 256) / 255);
}

describe("PNG", () => {
  let folder: string;
  before(async () => (folder = await mkdtemp(join(tmpdir(), "langevin-png-"))));
  after(() => rm(folder, { recursive: true }));

  for (const channels of [1, 3, 4])
    it(`gives back ${channels} channels, through a file`, async () => {
      const picture = { data: gradient(5, 7, channels), height: 5, width: 7, channels };
      const path = join(folder, `${channels}.png`);
      await writePng(path, picture);
      expect(await readPng(path)).to.deep.equal(picture);
    });

  it("writes bytes as they are and floats rounded and clamped", () => {
    const floats = Float32Array.of(-1, 0, 0.499 / 255, 0.501 / 255, 1, 2, Infinity, -Infinity);
    const bytes = Uint8Array.of(0, 0, 0, 1, 255, 255, 255, 0);
    expect(encodePng({ data: floats, height: 2, width: 4, channels: 1 })).to.deep.equal(
      encodePng({ data: bytes, height: 2, width: 4, channels: 1 }),
    );
  });

  const foreign: [string, ImageData, number[], number][] = [
    [
      "16 bits",
      { data: Uint16Array.of(0, 65535, 32768), width: 3, height: 1, depth: 16, channels: 1 },
      [0, 1, 32768 / 65535],
      1,
    ],
    [
      "1 bit, rows of 10",
      {
        data: Uint8Array.of(0b10000000, 0b01000000, 0b00000001, 0b10000000),
        width: 10,
        height: 2,
        depth: 1,
        channels: 1,
      },
      [1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0],
      1,
    ],
    ["4 bits", { data: Uint8Array.of(0xf0, 0x30), width: 3, height: 1, depth: 4, channels: 1 }, [1, 0, 3 / 15], 1],
    [
      "grey with alpha",
      { data: Uint8Array.of(51, 255, 102, 0), width: 2, height: 1, channels: 2 },
      [0.2, 0.2, 0.2, 1, 0.4, 0.4, 0.4, 0],
      4,
    ],
    [
      "a palette",
      {
        data: Uint8Array.of(1, 0),
        width: 2,
        height: 1,
        channels: 1,
        palette: [
          [255, 0, 0],
          [0, 51, 255],
        ],
      },
      [0, 0.2, 1, 1, 0, 0],
      3,
    ],
  ];
  for (const [name, image, values, channels] of foreign)
    it(`reads ${name}`, () => {
      const picture = decodePng(encode(image));
      expect(picture.channels).to.equal(channels);
      expect([...picture.data]).to.deep.equal(values.map(Math.fround));
    });

  it("refuses what is no PNG, naming the file", async () => {
    const path = join(folder, "broken.png");
    const good = encodePng({ data: new Uint8Array(64), height: 8, width: 8, channels: 1 });
    const flipped = good.slice();
    flipped[good.length - 20] ^= 1;
    for (const bytes of [new Uint8Array(0), Buffer.from("text"), good.slice(0, 30), flipped]) {
      await writeFile(path, bytes);
      const error = await rejection(readPng(path));
      expect(error).to.be.instanceOf(FormatError);
      expect(error.message).to.include(`readPng: ${path} is not a readable PNG file: `);
    }
    const missing = await rejection(readPng(join(folder, "none.png")));
    expect(missing)
      .to.be.instanceOf(ArgumentError)
      .with.property("message")
      .match(/none\.png cannot be read/);
  });

  it("refuses pictures that are none, and writes no file", async () => {
    const size = { height: 2, width: 2 };
    const short = await rejection(writePng(join(folder, "no.png"), { data: new Uint8Array(3), ...size, channels: 1 }));
    expect(short).to.be.instanceOf(ShapeError);
    expect(short.message).to.equal("writePng: 3 values do not fill a picture of [2, 2, 1].");
    const two = failure(() => encodePng({ data: new Uint8Array(8), ...size, channels: 2 }));
    expect(two.message).to.equal("writePng: a picture has 2 channels, expected 1 (grey), 3 (RGB) or 4 (RGBA).");
    const empty = failure(() => encodePng({ data: new Uint8Array(0), height: 0, width: 2, channels: 1 }));
    expect(empty).to.be.instanceOf(ShapeError);
    const nan = failure(() => encodePng({ data: Float32Array.of(0, 0, NaN, 0), ...size, channels: 1 }));
    expect(nan.message).to.equal("writePng: the value at [2] is NaN, which has no colour.");
    expect(await readdir(folder)).not.to.include("no.png");
  });
});

describe("gridImage", () => {
  /** Five 1x2 pictures; picture n has the values n / 10 and n / 10 + 0.05. */
  const five = { data: Float32Array.from({ length: 10 }, (_, i) => i / 20), shape: [5, 1, 2, 1] };
  const byte = (value: number): number => Math.round(Math.fround(value) * 255);

  it("lays pictures out in rows, as square as it gets, and fills the rest", () => {
    const grid = gridImage(five, { range: [0, 1] });
    expect(grid).to.deep.include({ height: 2, width: 6, channels: 1 });
    const expected = [0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45].map(byte);
    expect([...grid.data]).to.deep.equal([...expected, 255, 255]);
  });

  it("enlarges pixels to squares and leaves gaps between pictures only", () => {
    const grid = gridImage(
      { data: [0, 1, 1, 0], shape: [2, 1, 2, 1] },
      { enlarge: 2, gap: 1, range: [0, 1], background: 7 },
    );
    expect(grid).to.deep.include({ height: 2, width: 9 });
    const row = [0, 0, 255, 255, 7, 255, 255, 0, 0];
    expect([...grid.data]).to.deep.equal([...row, ...row]);
    const column = gridImage(
      { data: [0, 1], shape: [2, 1, 1, 1] },
      { columns: 1, gap: 2, range: [0, 1], background: 9 },
    );
    expect(column).to.deep.include({ height: 4, width: 1 });
    expect([...column.data]).to.deep.equal([0, 9, 9, 255]);
  });

  it("maps [-1, 1] by default and clamps what lies outside", () => {
    const grid = gridImage({ data: [-5, -1, 0, 0.5, 1, Infinity], shape: [1, 1, 6, 1] });
    expect([...grid.data]).to.deep.equal([0, 0, 128, 191, 255, 255]);
  });

  it("keeps channels together, with an opaque background", () => {
    const data = [1, 0, 0, 0.2, 0, 1, 0, 0.4];
    const grid = gridImage({ data, shape: [2, 1, 1, 4] }, { gap: 1, range: [0, 1], background: 3 });
    expect([...grid.data]).to.deep.equal([255, 0, 0, 51, 3, 3, 3, 255, 0, 255, 0, 102]);
  });

  it("makes no row wider than the pictures", () => {
    expect(gridImage(five, { columns: 8 })).to.deep.include({ height: 1, width: 10 });
  });

  const mistakes: [string, () => unknown, typeof ArgumentError | typeof ShapeError, string][] = [
    [
      "a missing axis",
      () => gridImage({ data: [0, 0], shape: [1, 2, 1] }),
      ShapeError,
      "the pictures have shape [1, 2, 1], expected [N, H, W, C] with no size of 0.",
    ],
    [
      "no pictures",
      () => gridImage({ data: [], shape: [0, 2, 2, 1] }),
      ShapeError,
      "the pictures have shape [0, 2, 2, 1], expected [N, H, W, C] with no size of 0.",
    ],
    [
      "missing values",
      () => gridImage({ data: [0], shape: [1, 2, 1, 1] }),
      ShapeError,
      "1 values do not fill [1, 2, 1, 1].",
    ],
    [
      "two channels",
      () => gridImage({ data: [0, 0], shape: [1, 1, 1, 2] }),
      ShapeError,
      "a picture has 2 channels, expected 1 (grey), 3 (RGB) or 4 (RGBA).",
    ],
    [
      "NaN",
      () => gridImage({ data: [0, 0, 0, NaN], shape: [2, 1, 2, 1] }),
      ArgumentError,
      "the value at [1, 0, 1, 0] is NaN, which has no colour.",
    ],
    [
      "no columns",
      () => gridImage(five, { columns: 0 }),
      ArgumentError,
      "columns is 0, expected an integer of at least 1.",
    ],
    [
      "half an enlargement",
      () => gridImage(five, { enlarge: 1.5 }),
      ArgumentError,
      "enlarge is 1.5, expected an integer of at least 1.",
    ],
    [
      "a negative gap",
      () => gridImage(five, { gap: -1 }),
      ArgumentError,
      "gap is -1, expected an integer of at least 0.",
    ],
    [
      "a background beyond white",
      () => gridImage(five, { background: 256 }),
      ArgumentError,
      "background is 256, expected an integer from 0 to 255.",
    ],
    [
      "an empty range",
      () => gridImage(five, { range: [1, 1] }),
      ArgumentError,
      "range is [1, 1], expected [low, high], low < high.",
    ],
    [
      "a range of NaN",
      () => gridImage(five, { range: [NaN, 1] }),
      ArgumentError,
      "range is [NaN, 1], expected [low, high], low < high.",
    ],
  ];
  for (const [name, call, kind, problem] of mistakes)
    it(`refuses ${name}`, () => {
      const error = failure(call);
      expect(error).to.be.instanceOf(kind);
      expect(error.message).to.equal(`grid: ${problem}`);
    });
});
