// NPY: what numpy wrote is read, what we write numpy reads, and a hostile header is refused in words.

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import fc from "fast-check";
import { ArgumentError, FormatError, arange, readNpy, scope, tensor, toFloat32, writeNpy, zeros } from "langevin";
import type { RawTensor } from "langevin";
import { parseNpy, serializeNpy } from "../../ts/io/npy.ts";
import { bytesOfRaw, rawArrays } from "../../ts/io/raw-tensor.ts";
import { failure, rejection } from "../failure.ts";

/** A file that numpy wrote; floats are as it prints them, float16 is its bits. */
interface Case {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly elements: string;
}

const folderOfCases = join(import.meta.dirname, "npy");
const { source, cases } = JSON.parse(readFileSync(join(folderOfCases, "cases.json"), "utf8")) as {
  source: string;
  cases: readonly Case[];
};

const special: Record<string, string> = { inf: "Infinity", "-inf": "-Infinity" };

/** numpy's name of a dtype as ours: float32 is F32. */
function ownName(dtype: string): string {
  return dtype === "bool" ? "BOOL" : dtype.replace("uint", "U").replace("int", "I").replace("float", "F");
}

function elementsOf(data: ArrayLike<number | bigint>, texts: string): (number | bigint)[] {
  const parse = data instanceof BigInt64Array || data instanceof BigUint64Array ? BigInt : Number;
  const values = texts.split(" ").filter(Boolean).map((text) => parse(special[text] ?? text)); // prettier-ignore
  return data instanceof Float32Array ? (values as number[]).map(Math.fround) : values;
}

/** A file with this text as its header and as many zero bytes of data. */
function fileWith(header: string, dataLength: number, version: readonly number[] = [1, 0]): Uint8Array {
  const length = Buffer.alloc(version[0] === 1 ? 2 : 4);
  length.writeUInt16LE(header.length);
  const magic = Buffer.from("\x93NUMPY", "latin1");
  return Buffer.concat([magic, Buffer.from(version), length, Buffer.from(header, "latin1"), Buffer.alloc(dataLength)]);
}

/** A header of a good file of two float32, with one value replaced. */
function headerWith(changes: Partial<Record<"descr" | "fortran_order" | "shape", string>>): string {
  const values = { descr: "'<f4'", fortran_order: "False", shape: "(2,)", ...changes };
  return `{${Object.entries(values).map(([key, value]) => `'${key}': ${value}, `).join("")}}\n`; // prettier-ignore
}

/** Whether there is a Python with numpy to ask. */
function numpyWorks(): boolean {
  try {
    execFileSync("/usr/bin/python3", ["-c", "import numpy"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

describe("NPY", () => {
  let folder: string;
  before(async () => (folder = await mkdtemp(join(tmpdir(), "langevin-npy-"))));
  after(() => rm(folder, { recursive: true }));

  describe(`reads what ${source.split(",")[0]} wrote`, () => {
    for (const { name, dtype, shape, elements } of cases)
      it(name, async () => {
        const path = join(folderOfCases, `${name}.npy`);
        for (const array of [await readNpy(path), parseNpy(readFileSync(path), path)]) {
          expect(array.dtype).to.equal(ownName(dtype));
          expect(array.shape).to.deep.equal(shape);
          expect(array.data).to.be.instanceOf(rawArrays[array.dtype]);
          const expected = elementsOf(array.data, elements);
          expect(array.data.length).to.equal(expected.length);
          expected.forEach((value, i) => expect(Object.is(array.data[i], value), `element ${i}`).to.equal(true));
        }
      });
  });

  it("reads headers as other programs write them", () => {
    for (const header of [
      "{'descr': '<f4', 'fortran_order': False, 'shape': (2L,)}",
      "{'shape':(2,),'fortran_order':False,'descr':'<f4'}      \n",
      "{ 'fortran_order' : False , 'descr' : '<f4' , 'shape' : ( 1 , 2 , ) , }\n",
    ])
      expect(parseNpy(fileWith(header, 8)).data).to.deep.equal(new Float32Array(2));
  });

  it("turns into tensors", async () => {
    const raw = await readNpy(join(folderOfCases, "little-f2.npy"));
    expect(tensor(toFloat32(raw), { shape: raw.shape }).toArray()).to.deep.equal([[0, 0.25, 0.5], [0.75, 25, 1.75]]); // prettier-ignore
  });

  it("gives back tensors, and leaves them as they are", async () => {
    const path = join(folder, "tensor.npy");
    for (const x of [
      tensor([
        [1, 2.5],
        [-0, NaN],
      ]),
      arange(3),
      tensor(7),
      zeros([0, 2]),
      tensor([0.1], { dtype: "float64", device: "ts" }),
    ]) /* prettier-ignore */ {
      await writeNpy(path, x);
      const { dtype, shape, data } = await readNpy(path);
      expect([dtype, shape, data]).to.deep.equal([ownName(x.dtype), x.shape, await x.data()]);
    }
  });

  it("writes the bytes that numpy writes", async () => {
    for (const { name } of cases.filter(({ name }) => /^(little|bool|empty|scalar|extremes)/.test(name))) {
      const path = join(folderOfCases, `${name}.npy`);
      const bytes = readFileSync(path);
      expect(Buffer.from(await serializeNpy(parseNpy(bytes, path))).equals(bytes), name).to.equal(true);
    }
  });

  it("gives bytes without a file, of tensors too", async () => {
    const x = tensor([[1, 2], [3, 4.5]]); // prettier-ignore
    const path = join(folder, "bytes.npy");
    await writeNpy(path, x);
    const bytes = await serializeNpy(x);
    expect(Buffer.from(bytes).equals(readFileSync(path))).to.equal(true);
    expect(parseNpy(bytes)).to.deep.equal({ dtype: "F32", shape: [2, 2], data: Float32Array.of(1, 2, 3, 4.5) });
  });

  it("refuses what callers without types may give", async () => {
    const wrong = { undefined, "an array of 2": [1, 2], 3: 3 };
    for (const [shown, given] of Object.entries(wrong))
      expect((await rejection(serializeNpy(given as never))).message).to.equal(
        `serializeNpy: the array is ${shown}, expected a tensor or { dtype, shape, data }.`,
      );
    expect(failure(() => parseNpy("x.npy" as never)).message).to.match(
      /^parseNpy: was given "x\.npy", expected the bytes/,
    );
    expect((await rejection(writeNpy(1 as never, tensor(1)))).message).to.equal(
      "writeFile: the path is 1, expected a string.",
    );
  });

  it("writes what numpy reads", async function () {
    if (!numpyWorks()) this.skip();
    const raw: RawTensor = {
      dtype: "F16",
      shape: [1, 2, 3],
      data: Uint16Array.of(0, 0x3c00, 0xc000, 0x7c00, 1, 0x3555),
    };
    await writeNpy(join(folder, "half.npy"), raw);
    await writeNpy(join(folder, "ours.npy"), arange(24).to("float32").reshape([2, 3, 4]));
    const program =
      "import sys, numpy; print([(a.dtype.name, a.shape, a.ravel().tolist()) for a in map(numpy.load, sys.argv[1:])])";
    const paths = [join(folder, "half.npy"), join(folder, "ours.npy")];
    const printed = execFileSync("/usr/bin/python3", ["-c", program, ...paths], { encoding: "utf8" });
    const counted = Array.from({ length: 24 }, (_, i) => `${i}.0`).join(", ");
    expect(printed.trim()).to.equal(
      "[('float16', (1, 2, 3), [0.0, 1.0, -2.0, inf, 5.960464477539063e-08, 0.333251953125]), " +
        `('float32', (2, 3, 4), [${counted}])]`,
    );
  });

  describe("refuses hostile files", () => {
    const zip = Buffer.from("PK\x03\x04 and what else an .npz begins with");
    const hostile: [string, Uint8Array, string][] = [
      ["no bytes at all", new Uint8Array(0), "it does not begin with \\x93NUMPY."],
      ["an .npz", zip, "it does not begin with \\x93NUMPY."],
      ["an unknown version", fileWith("{}", 0, [4, 0]), "its format version is 4.0, and 1.0, 2.0 and 3.0 are known."],
      ["version 1.1", fileWith("{}", 0, [1, 1]), "its format version is 1.1, and 1.0, 2.0 and 3.0 are known."],
      ["nothing behind the magic", fileWith("", 0).subarray(0, 6), "its format version is undefined.undefined, and 1.0, 2.0 and 3.0 are known."],
      ["an end within the prefix", fileWith("", 0).subarray(0, 9), "it ends within its first 12 bytes."],
      ["a header beyond the file", fileWith("{}", 0).subarray(0, 11), "its header claims 2 bytes, but only 1 follow."],
      ["a header above the limit", fileWith(" ".repeat(10_001), 0), "its header claims 10001 bytes, and at most 10000 are allowed."],
      ["a header of 4 GiB", Buffer.from([...fileWith("", 0, [2, 0]).subarray(0, 8), 255, 255, 255, 255]), "its header claims 4294967295 bytes, and at most 10000 are allowed."],
      ["pickled objects", fileWith(headerWith({ descr: "'|O'" }), 8), "its descr is '|O'; known are f8, f4, f2, i8, i4, i2, i1, u8, u4, u2, u1, b1 behind < or >."],
      ["complex numbers", fileWith(headerWith({ descr: "'<c8'" }), 16), "its descr is '<c8'; known are"],
      ["text", fileWith(headerWith({ descr: "'<U3'" }), 24), "its descr is '<U3'; known are"],
      ["bfloat16 of ml_dtypes", fileWith(headerWith({ descr: "'<V2'" }), 4), "its descr is '<V2'; known are"],
      ["no order of bytes", fileWith(headerWith({ descr: "'|f4'" }), 8), "its descr is '|f4'; known are"],
      ["the machine's order of bytes", fileWith(headerWith({ descr: "'=f4'" }), 8), "its descr is '=f4'; known are"],
      ["an inherited dtype", fileWith(headerWith({ descr: "'<constructor'" }), 8), "its descr is '<constructor'; known are"],
      ["structures", fileWith(headerWith({ descr: "[('a', '<f4')]" }), 8), "its header is not a dict of descr, fortran_order and shape, as those of plain arrays are."],
      ["an order that is no bool", fileWith(headerWith({ fortran_order: "0" }), 8), "its fortran_order is 0."],
      ["a number as the shape", fileWith(headerWith({ shape: "2" }), 8), "its shape is 2, expected a tuple of sizes."],
      ["a number in brackets", fileWith(headerWith({ shape: "(2)" }), 8), "its shape is (2), expected a tuple of sizes."],
      ["a negative size", fileWith(headerWith({ shape: "(-2,)" }), 8), "its header is not a dict"],
      ["a fractional size", fileWith(headerWith({ shape: "(2.0,)" }), 8), "its header is not a dict"],
      ["two numbers without a comma", fileWith(headerWith({ shape: "(1 2,)" }), 8), "its shape is (1 2,), expected a tuple of sizes."],
      ["only a comma", fileWith(headerWith({ shape: "(,)" }), 8), "its shape is (,), expected a tuple of sizes."],
      ["two commas", fileWith(headerWith({ shape: "(2,,)" }), 8), "its shape is (2,,), expected a tuple of sizes."],
      ["an unsafe size", fileWith(headerWith({ shape: "(9007199254740993,)" }), 8), "its shape is (9007199254740993,), expected a tuple of sizes."],
      ["a shape that overflows", fileWith(headerWith({ shape: "(4503599627370496, 4503599627370496)" }), 8), "it is f4 (4503599627370496, 4503599627370496), which takes 8.112963841460668e+31 bytes, but 8 follow its header."],
      ["a shape that overflows to nothing", fileWith(headerWith({ shape: `(${"4503599627370496, ".repeat(80)}0)` }), 0), "it is f4 (4503599627370496, "],
      ["a shape larger than its bytes", fileWith(headerWith({ shape: "(3,)" }), 8), "it is f4 (3,), which takes 12 bytes, but 8 follow its header."],
      ["bytes behind the data", fileWith(headerWith({}), 9), "it is f4 (2,), which takes 8 bytes, but 9 follow its header."],
      ["a key given twice", fileWith("{'descr': '<f4', 'descr': '<f4', 'shape': (2,)}", 8), "its header is not a dict"],
      ["a missing key", fileWith("{'descr': '<f4', 'shape': (2,)}", 8), "its header is not a dict"],
      ["a key too many", fileWith("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': 1}", 8), "its header is not a dict"],
      ["text behind the dict", fileWith(`${headerWith({})} + f()`, 8), "its header is not a dict"],
      ["code", fileWith("__import__('os').system('x')", 0), "its header is not a dict"],
      ["deep nesting", fileWith(`${"(".repeat(4000)}${")".repeat(4000)}`, 0), "its header is not a dict"],
      ["nothing but blanks", fileWith(" ".repeat(9999), 0), "its header is not a dict"],
    ]; // prettier-ignore
    for (const [name, bytes, problem] of hostile)
      it(name, async () => {
        const path = join(folder, "hostile.npy");
        await writeFile(path, bytes);
        const errors = { parseNpy: failure(() => parseNpy(bytes, path)), readNpy: await rejection(readNpy(path)) };
        for (const [op, error] of Object.entries(errors)) {
          expect(error).to.be.instanceOf(FormatError);
          expect(error.message).to.include(`${op}: ${path} is not a readable NPY file: ${problem}`);
        }
      }); // prettier-ignore

    it("any file with changed bytes: refused with a FormatError, or read", () => {
      const files = cases.map(({ name }) => readFileSync(join(folderOfCases, `${name}.npy`)));
      const change = fc.record({ at: fc.nat(300), to: fc.oneof(fc.nat(255), fc.constantFrom(..."0123456789(),'<>|TF".split("").map((c) => c.charCodeAt(0)))) }); // prettier-ignore
      let read = 0;
      fc.assert(
        fc.property(fc.nat(files.length - 1), fc.array(change, { maxLength: 4 }), fc.nat(3), (which, changes, cut) => {
          const changed = Uint8Array.from(files[which]).subarray(0, files[which].length - (cut === 3 ? 1 : 0));
          for (const { at, to } of changes) changed[at % changed.length] = to;
          try {
            const { shape, data } = parseNpy(changed);
            expect(data.length).to.equal(shape.reduce((product, n) => product * n, 1));
            read++;
          } catch (error) {
            expect(error).to.be.instanceOf(FormatError);
          }
        }),
        { seed: 3, numRuns: 4000 },
      );
      expect(read).to.be.within(200, 3800);
    });
  });

  describe("refuses to write", () => {
    const refused: [string, RawTensor, string][] = [
      ["bfloat16", { dtype: "BF16", shape: [1], data: Uint16Array.of(1) }, "is BF16, which numpy does not have. Convert it with toFloat32."],
      ["data that does not fill the shape", { dtype: "F32", shape: [3], data: new Float32Array(2) }, "has 2 elements, which do not fill [3]."],
      ["data of another type", { dtype: "F32", shape: [2], data: new Float64Array(2) as never }, "is F32, which takes a Float32Array, but its data is not one."],
      ["sizes that are none", { dtype: "F32", shape: [-2], data: new Float32Array(2) }, "has shape [-2], expected a list of sizes."],
      ["an unknown dtype", { dtype: "F4" as "U8", shape: [2], data: new Uint8Array(2) }, "has dtype F4; known are F64, F32, F16, BF16, F8_E4M3, F8_E5M2, I64, I32, I16, I8, U64, U32, U16, U8, BOOL."],
      ["more axes than numpy has", { dtype: "U8", shape: Array<number>(33).fill(1), data: new Uint8Array(1) }, "has 33 axes, and numpy reads at most 32."],
    ]; // prettier-ignore
    for (const [name, array, problem] of refused)
      it(name, async () => {
        const error = await rejection(writeNpy(join(folder, "unwritten.npy"), array));
        expect(error).to.be.instanceOf(ArgumentError);
        expect(error.message).to.equal(`writeNpy: the array ${problem}`);
        expect(await readdir(folder)).not.to.include("unwritten.npy");
      });

    it("a tensor that was disposed", async () => {
      let x = zeros([1]);
      scope(() => void (x = zeros([2])));
      expect((await rejection(writeNpy(join(folder, "unwritten.npy"), x))).message).to.match(/^writeNpy: a tensor of shape \[2\] was used/); // prettier-ignore
    });

    it("into a folder that is not there", async () => {
      const path = join(folder, "none", "x.npy");
      expect((await rejection(writeNpy(path, zeros([1])))).message).to.equal(
        `writeFile: the folder of ${path} does not exist. Make it first.`,
      );
    });
  });

  it("keeps views of larger arrays apart", async () => {
    const data = Float32Array.of(9, 1, 2, 9).subarray(1, 3);
    const read = parseNpy(await serializeNpy({ dtype: "F32", shape: [2], data }));
    expect(bytesOfRaw(read)).to.deep.equal(bytesOfRaw({ dtype: "F32", shape: [2], data: Float32Array.of(1, 2) }));
  });
});
