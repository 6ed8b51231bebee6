// safetensors: what is written is read back bit for bit, and a hostile header is refused in words that name the tensor.

import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import fc from "fast-check";
import { ArgumentError, FormatError, Linear, Parameter, arange, ones, tensor, zeros } from "langevin";
import type { RawTensor, Safetensors } from "langevin";
import { parseSafetensors, readSafetensors, serializeSafetensors, writeSafetensors } from "langevin";
import { failure, rejection } from "../failure.ts";

/** One tensor of each dtype, with extremes in it. */
const everyDType: [string, RawTensor][] = [
  ["bool", { dtype: "BOOL", shape: [3], data: Uint8Array.of(0, 1, 1) }],
  ["u8", { dtype: "U8", shape: [5, 1], data: Uint8Array.of(0, 1, 2, 254, 255) }],
  ["i8", { dtype: "I8", shape: [2], data: Int8Array.of(-128, 127) }],
  ["u16", { dtype: "U16", shape: [3], data: Uint16Array.of(0, 1, 65535) }],
  ["i16", { dtype: "I16", shape: [1, 1, 2], data: Int16Array.of(-32768, 32767) }],
  ["f16", { dtype: "F16", shape: [3], data: Uint16Array.of(0x3c00, 0x7c00, 0x7e01) }],
  ["f8", { dtype: "F8_E4M3", shape: [2], data: Uint8Array.of(0x38, 0xff) }],
  ["f8 with infinities", { dtype: "F8_E5M2", shape: [2], data: Uint8Array.of(0x3c, 0x7c) }],
  ["bf16", { dtype: "BF16", shape: [1], data: Uint16Array.of(0x3f80) }],
  ["u32", { dtype: "U32", shape: [1], data: Uint32Array.of(2 ** 32 - 1) }],
  ["i32", { dtype: "I32", shape: [2], data: Int32Array.of(-(2 ** 31), 2 ** 31 - 1) }],
  ["f32", { dtype: "F32", shape: [2, 2], data: Float32Array.of(-0, Infinity, 1e-45, 3.25) }],
  ["u64", { dtype: "U64", shape: [1], data: BigUint64Array.of(2n ** 64n - 1n) }],
  ["i64", { dtype: "I64", shape: [2], data: BigInt64Array.of(-(2n ** 63n), 7n) }],
  ["f64", { dtype: "F64", shape: [2], data: Float64Array.of(Math.PI, -5e-324) }],
  ["scalar", { dtype: "F32", shape: [], data: Float32Array.of(2) }],
  ["empty", { dtype: "F32", shape: [0, 3], data: new Float32Array(0) }],
];

/** A file with this header (an object, or any text) and as many zero bytes of data. */
function fileWith(header: unknown, dataLength: number): Uint8Array {
  const text = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([prefix, text, Buffer.alloc(dataLength)]);
}

function headerOf(bytes: Uint8Array): {
  length: number;
  json: Record<string, { data_offsets: number[]; dtype: string }>;
} {
  const length = Number(Buffer.from(bytes).readBigUInt64LE());
  return { length, json: JSON.parse(Buffer.from(bytes.subarray(8, 8 + length)).toString()) as never };
}

function expectSame(file: Safetensors, tensors: readonly [string, RawTensor][]): void {
  expect(file.tensors.size).to.equal(tensors.length);
  for (const [name, tensor] of tensors) expect(file.tensors.get(name), name).to.deep.equal(tensor);
}

/** What a fuzzed header may hold anywhere. */
const hostileValues: readonly unknown[] = [
  null, true, -1, 0, 1, 2, 4, 7, 8, 16, 1.5, 2 ** 31, 2 ** 32, 2 ** 53, 2 ** 53 - 1, 1e300, "", "F32", "BF16", "F4", "U8",
  "constructor", [], [0], [0, 0], [0, 8], [8, 0], [4, 12], [0, 2 ** 53], [1, 2, 3], [-1], [[0, 4]], {}, { dtype: "F32" },
]; // prettier-ignore
const hostileKeys = [
  "a",
  "b",
  "dtype",
  "shape",
  "data_offsets",
  "__metadata__",
  "__proto__",
  "constructor",
  "length",
  "",
];

/** One step of fuzzing: at a place in the tree, put a value, take one away, rename, or move a number a little. */
interface Mutation {
  readonly path: readonly number[];
  readonly kind: "put" | "remove" | "rename" | "nudge" | "copy";
  readonly value: unknown;
  readonly key: string;
  readonly by: number;
}

const mutation: fc.Arbitrary<Mutation> = fc.record({
  path: fc.array(fc.nat(9), { maxLength: 4 }),
  kind: fc.constantFrom("put", "remove", "rename", "nudge", "copy"),
  value: fc.constantFrom(...hostileValues),
  key: fc.constantFrom(...hostileKeys),
  by: fc.integer({ min: -9, max: 9 }),
});

/** Mutates one place below `root`, in place. Keys are own properties, also one called __proto__. */
function mutate(root: object, { path, kind, value, key, by }: Mutation): void {
  let parent = root as Record<string, unknown>;
  let name = "";
  for (const step of path) {
    const keys = Object.keys(parent);
    name = keys[step % Math.max(keys.length, 1)] ?? "";
    const child = parent[name];
    if (typeof child !== "object" || child === null) break;
    if (step !== path[path.length - 1]) parent = child as Record<string, unknown>;
  }
  const set = (at: string, to: unknown): void => {
    Object.defineProperty(parent, at, {
      value: structuredClone(to),
      enumerable: true,
      configurable: true,
      writable: true,
    });
  };
  const old = parent[name];
  if (kind === "put") set(name, value);
  else if (kind === "nudge") set(name, typeof old === "number" ? old + by : value);
  else if (kind === "copy") set(Array.isArray(parent) ? String(parent.length) : key, old);
  else if (!Array.isArray(parent)) {
    Reflect.deleteProperty(parent, name);
    if (kind === "rename") set(key, old);
  } else (parent as unknown[]).pop();
}

describe("safetensors", () => {
  let folder: string;
  before(async () => (folder = await mkdtemp(join(tmpdir(), "langevin-safetensors-"))));
  after(() => rm(folder, { recursive: true }));

  it("gives back every dtype, metadata and odd names", async () => {
    const named: [string, RawTensor][] = ["", 'é\u0000"\\', "__proto__", "7", "constructor"].map((name) => [
      name,
      { dtype: "U8", shape: [1], data: Uint8Array.of(name.length) },
    ]);
    const metadata = { format: "pt", "a key": 'with "quotes"', __meta: "" };
    const file = parseSafetensors(await serializeSafetensors([...everyDType, ...named], metadata));
    expectSame(file, [...everyDType, ...named]);
    expect(file.metadata).to.deep.equal(metadata);
  });

  it("gives back an empty file", async () => {
    const file = parseSafetensors(await serializeSafetensors([]));
    expect(file.tensors.size).to.equal(0);
    expect(file.metadata).to.deep.equal({});
  });

  it("aligns each tensor to its elements and pads the header with spaces", async () => {
    const bytes = await serializeSafetensors(everyDType, { x: "y" });
    const { length, json } = headerOf(bytes);
    expect(length % 8).to.equal(0);
    expect(Buffer.from(bytes.subarray(8, 8 + length)).toString()).to.match(/^\{.*\} *$/);
    const widths: Record<string, number> = {
      F64: 8,
      I64: 8,
      U64: 8,
      F32: 4,
      I32: 4,
      U32: 4,
      U8: 1,
      I8: 1,
      BOOL: 1,
      F8_E4M3: 1,
      F8_E5M2: 1,
    };
    for (const [name, { dtype, data_offsets }] of Object.entries(json))
      if (name !== "__metadata__") expect(data_offsets[0] % (widths[dtype] ?? 2), name).to.equal(0);
  });

  it("writes the same bytes whatever the order it is given", async () => {
    const backwards = [...everyDType].reverse();
    expect(await serializeSafetensors(backwards)).to.deep.equal(await serializeSafetensors(everyDType));
  });

  it("reads tensors that are not aligned", () => {
    const header = {
      byte: { dtype: "U8", shape: [1], data_offsets: [0, 1] },
      wide: { dtype: "F64", shape: [1], data_offsets: [1, 9] },
    };
    const bytes = fileWith(header, 9);
    Buffer.from(bytes.buffer, bytes.byteOffset).writeDoubleLE(1.5, bytes.length - 8);
    expect(parseSafetensors(bytes).tensors.get("wide")!.data).to.deep.equal(Float64Array.of(1.5));
    const shifted = new Uint8Array(bytes.length + 3).subarray(3);
    shifted.set(bytes);
    expect(parseSafetensors(shifted).tensors.get("wide")!.data).to.deep.equal(Float64Array.of(1.5));
  });

  it("writes and reads files", async () => {
    const path = join(folder, "all.safetensors");
    await writeSafetensors(path, everyDType, { title: "all" });
    const file = await readSafetensors(path);
    expectSame(file, everyDType);
    expect(file.metadata).to.deep.equal({ title: "all" });
    const bytes = await serializeSafetensors(everyDType, { title: "all" });
    expect(new Uint8Array(await readFile(path))).to.deep.equal(bytes);
  });

  it("takes tensors beside raw ones, in any form that has names", async () => {
    const [x, index] = [tensor([[1, 2.5], [-0, NaN]]), arange(3)]; // prettier-ignore
    const exact = tensor([0.1], { dtype: "float64", device: "ts" });
    const raw = everyDType[0][1];
    const given = { x, index, exact, raw, trained: new Parameter(ones([2])) };
    const expected = new Map<string, RawTensor>([
      ["x", { dtype: "F32", shape: [2, 2], data: Float32Array.of(1, 2.5, -0, NaN) }],
      ["index", { dtype: "I32", shape: [3], data: Int32Array.of(0, 1, 2) }],
      ["exact", { dtype: "F64", shape: [1], data: Float64Array.of(0.1) }],
      ["raw", raw],
      ["trained", { dtype: "F32", shape: [2], data: Float32Array.of(1, 1) }],
    ]);
    const path = join(folder, "tensors.safetensors");
    await writeSafetensors(path, given);
    expectSame(await readSafetensors(path), [...expected]);
    const bytes = new Uint8Array(await readFile(path));
    for (const form of [
      given,
      new Map(Object.entries(given)),
      Object.entries(given),
      new Map(Object.entries(given)).entries(),
    ])
      expect(await serializeSafetensors(form)).to.deep.equal(bytes);
  });

  it("writes what the tensors held when it was called", async () => {
    const weights = [new Parameter(zeros([3])), new Parameter(zeros([3]))];
    const bytes = serializeSafetensors({ a: weights[0], b: weights[1] });
    for (const weight of weights) weight.assign(ones([3]));
    const { tensors } = parseSafetensors(await bytes);
    for (const { data } of tensors.values()) expect([...data]).to.deep.equal([0, 0, 0]);
  });

  it("writes views of larger arrays", async () => {
    const data = Float32Array.of(9, 1, 2, 9).subarray(1, 3);
    const bytes = await serializeSafetensors([["x", { dtype: "F32", shape: [2], data }]]);
    expect(parseSafetensors(bytes).tensors.get("x")!.data).to.deep.equal(Float32Array.of(1, 2));
  });

  describe("refuses hostile files", () => {
    const good = { dtype: "F32", shape: [2], data_offsets: [0, 8] };
    const entry = (changes: object): object => ({ weight: { ...good, ...changes } });
    const cases: [string, Uint8Array, RegExp][] = [
      ["no bytes at all", new Uint8Array(0), /0 bytes, and the length of the header alone takes 8/],
      ["fewer than eight bytes", new Uint8Array(7), /7 bytes/],
      ["a header of no bytes", fileWith("", 0), /does not begin with \{/],
      ["a header beyond the file", Buffer.from([9, 0, 0, 0, 0, 0, 0, 0, 123]), /claims 9 bytes, but only 1 follow/],
      ["a header of 2^64 - 1 bytes", new Uint8Array(20).fill(255), /claims 18446744073709551615 bytes/],
      ["a header above the limit", Buffer.from([1, 225, 245, 5, 0, 0, 0, 0]), /100000001 bytes, and at most 100000000/],
      ["a header that is no object", fileWith("[]", 0), /does not begin with \{/],
      ["a space before the header", fileWith(" {}", 0), /does not begin with \{/],
      ["a byte order mark", fileWith("\ufeff{}", 0), /does not begin with \{/],
      ["broken JSON", fileWith('{"weight": ', 0), /is not JSON/],
      ["JSON with a bare NaN", fileWith('{"weight": NaN}', 0), /is not JSON/],
      ["text after the JSON", fileWith("{} {}", 0), /is not JSON/],
      ["an unfinished string", fileWith('{"weight', 0), /is not JSON/],
      ["an unfinished escape", fileWith('{"weight\\', 0), /is not JSON/],
      [
        "bytes that are not UTF-8",
        Buffer.concat([fileWith('{"a":1}', 0).subarray(0, 10), Buffer.from([0xff, 0xff, 34, 58, 49])]),
        /is not UTF-8/,
      ],
      ["deep nesting", fileWith(`{"weight": ${"[".repeat(100_000)}${"]".repeat(100_000)}}`, 0), /nested deeper than 3/],
      [
        "a tensor given twice",
        fileWith(`{"w": ${JSON.stringify(good)}, "w": ${JSON.stringify(good)}}`, 8),
        /"w" twice/,
      ],
      [
        "one given twice by an escape",
        fileWith(`{"w": ${JSON.stringify(good)}, "\\u0077" : ${JSON.stringify(good)}}`, 8),
        /"w" twice/,
      ],
      [
        "a field given twice",
        fileWith('{"w": {"dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8]}}', 8),
        /"shape" twice/,
      ],
      ["metadata given twice", fileWith('{"__metadata__":{"a":"1","a":"2"}}', 0), /"a" twice/],
      ["metadata that is no object", fileWith({ __metadata__: ["a"] }, 0), /__metadata__ is not an object of strings/],
      ["metadata of null", fileWith({ __metadata__: null }, 0), /__metadata__ is not an object of strings/],
      ["metadata with a number", fileWith({ __metadata__: { a: 1 } }, 0), /__metadata__ is not an object of strings/],
      ["a tensor that is no object", fileWith({ weight: 3 }, 0), /"weight" is not described by an object/],
      ["an unknown dtype", fileWith(entry({ dtype: "F4" }), 8), /"weight" has dtype "F4"; known are F64, /],
      ["an inherited dtype", fileWith(entry({ dtype: "constructor" }), 8), /"weight" has dtype "constructor"/],
      ["no dtype", fileWith(entry({ dtype: undefined }), 8), /"weight" has dtype undefined/],
      ["a shape that is no list", fileWith(entry({ shape: 2 }), 8), /"weight" has shape 2, expected a list of sizes/],
      ["a negative size", fileWith(entry({ shape: [-2] }), 8), /"weight" has shape \[-2\]/],
      ["a fractional size", fileWith(entry({ shape: [2.5] }), 8), /"weight" has shape \[2.5\]/],
      [
        "an unsafe size",
        fileWith('{"weight":{"dtype":"F32","shape":[9007199254740993],"data_offsets":[0,8]}}', 8),
        /"weight" has shape \[9007199254740992\]/,
      ],
      ["sizes as text", fileWith(entry({ shape: ["2"] }), 8), /"weight" has shape \["2"\]/],
      [
        "a shape that overflows",
        fileWith(entry({ shape: [2 ** 52, 2 ** 52, 2 ** 52] }), 8),
        /"weight" is F32 .*, but has 8/,
      ],
      [
        "a shape that overflows to nothing",
        fileWith(entry({ shape: [...Array<number>(80).fill(2 ** 52), 0], data_offsets: [0, 0] }), 0),
        /"weight" is F32/,
      ],
      [
        "a shape larger than its bytes",
        fileWith(entry({ shape: [3] }), 8),
        /"weight" is F32 \[3\], which takes 12 bytes, but has 8/,
      ],
      [
        "no offsets",
        fileWith(entry({ data_offsets: [] }), 8),
        /"weight" has data_offsets \[\], expected \[begin, end\]/,
      ],
      ["three offsets", fileWith(entry({ data_offsets: [0, 8, 8] }), 8), /"weight" has data_offsets \[0,8,8\]/],
      [
        "offsets the wrong way",
        fileWith(entry({ data_offsets: [8, 0] }), 8),
        /"weight" has data_offsets \[8, 0\], which do not lie/,
      ],
      [
        "offsets beyond the data",
        fileWith(entry({}), 7),
        /"weight" has data_offsets \[0, 8\], which do not lie within the 7/,
      ],
      ["negative offsets", fileWith(entry({ data_offsets: [-8, 0] }), 8), /"weight" has data_offsets \[-8,0\]/],
      [
        "overlapping tensors",
        fileWith({ a: good, b: { ...good, data_offsets: [4, 12] } }, 12),
        /"b" begins at byte 4 of the data, within tensor "a", which ends at 8/,
      ],
      [
        "a tensor within another",
        fileWith({ a: { ...good, shape: [4], data_offsets: [0, 16] }, b: { ...good, data_offsets: [4, 12] } }, 16),
        /"b" begins at byte 4/,
      ],
      [
        "a gap between tensors",
        fileWith({ a: good, b: { ...good, data_offsets: [12, 20] } }, 20),
        /"b" begins at byte 12 .* there is a gap/,
      ],
      ["a gap before the first", fileWith(entry({ data_offsets: [4, 12] }), 12), /"weight" begins at byte 4 .* gap/],
      ["bytes after the last", fileWith(entry({}), 9), /"weight" ends at byte 8 of the data, but 9 are there/],
      ["data without tensors", fileWith({}, 4), /ends at byte 0 of the data, but 4 are there/],
    ];
    for (const [name, bytes, message] of cases)
      it(name, async () => {
        const path = join(folder, "hostile.safetensors");
        await writeFile(path, bytes);
        const errors = {
          parseSafetensors: failure(() => parseSafetensors(bytes, path)),
          readSafetensors: await rejection(readSafetensors(path)),
        };
        for (const [op, error] of Object.entries(errors)) {
          expect(error).to.be.instanceOf(FormatError).with.property("op", op);
          expect(error.message).to.match(message).and.to.include(path);
        }
      });

    it("any file with changed bytes: refused with a FormatError, or read", async () => {
      const bytes = await serializeSafetensors(everyDType, { title: "fuzzed" });
      const change = fc.record({ at: fc.nat(bytes.length - 1), to: fc.nat(255) });
      fc.assert(
        fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), fc.nat(bytes.length), (changes, cut) => {
          const changed = bytes.slice(0, changes.length === 4 ? cut : bytes.length);
          for (const { at, to } of changes) changed[at] = to;
          try {
            parseSafetensors(changed);
          } catch (error) {
            expect(error).to.be.instanceOf(FormatError);
          }
        }),
        { seed: 1, numRuns: 3000 },
      );
    });
  });

  it("a fuzzed header: refused with a FormatError, or read as it says", () => {
    const good = {
      __metadata__: { a: "b" },
      a: { dtype: "F32", shape: [2], data_offsets: [0, 8] },
      b: { dtype: "U8", shape: [2, 4], data_offsets: [8, 16] },
      c: { dtype: "BF16", shape: [], data_offsets: [16, 18] },
    };
    const data = Uint8Array.from({ length: 18 }, (_, i) => 37 * i);
    let [read, refused] = [0, 0];
    fc.assert(
      fc.property(fc.array(mutation, { minLength: 1, maxLength: 3 }), fc.nat(9), (mutations, tail) => {
        const header = structuredClone(good);
        for (const step of mutations) mutate(header, step);
        const bytes = Buffer.from(fileWith(header, tail === 0 ? 19 : 18));
        data.forEach((byte, i) => (bytes[bytes.length - (tail === 0 ? 19 : 18) + i] = byte));
        let file: Safetensors;
        try {
          file = parseSafetensors(bytes);
        } catch (error) {
          expect(error).to.be.instanceOf(FormatError);
          refused++;
          return;
        }
        read++;
        const { __metadata__: metadata = {}, ...entries } = headerOf(bytes).json as Record<string, unknown>;
        expect(file.metadata).to.deep.equal(metadata);
        expect([...file.tensors.keys()]).to.deep.equal(Object.keys(entries));
        for (const [name, tensor] of file.tensors) {
          const { dtype, shape, data_offsets } = entries[name] as {
            dtype: string;
            shape: number[];
            data_offsets: number[];
          };
          expect([tensor.dtype, tensor.shape]).to.deep.equal([dtype, shape]);
          expect(bytesOf(tensor)).to.deep.equal(data.slice(...data_offsets));
        }
      }),
      { seed: 2, numRuns: 6000 },
    );
    expect(read, "files that were read").to.be.greaterThan(100);
    expect(refused, "files that were refused").to.be.greaterThan(3000);
  });

  describe("refuses to write", () => {
    const cases: [string, [string, RawTensor][], Record<string, string>, RegExp][] = [
      [
        "data that does not fill the shape",
        [["w", { dtype: "F32", shape: [3], data: new Float32Array(2) }]],
        {},
        /"w" has 2 elements, which do not fill \[3\]/,
      ],
      [
        "data of another type",
        [["w", { dtype: "F32", shape: [2], data: new Float64Array(2) as never }]],
        {},
        /"w" is F32, which takes a Float32Array/,
      ],
      [
        "an unknown dtype",
        [["w", { dtype: "F8" as "U8", shape: [2], data: new Uint8Array(2) }]],
        {},
        /"w" has dtype F8/,
      ],
      ["a name given twice", [everyDType[0], everyDType[0]], {}, /"bool" is given twice/],
      ["the name of the metadata", [["__metadata__", everyDType[0][1]]], {}, /keeps for its metadata/],
      ["metadata that is no text", [], { steps: 3 as never }, /metadata "steps" is 3, expected a string/],
    ];
    for (const [name, tensors, metadata, message] of cases)
      it(name, async () => {
        const path = join(folder, "unwritten.safetensors");
        const errors = {
          serializeSafetensors: await rejection(serializeSafetensors(tensors, metadata)),
          writeSafetensors: await rejection(writeSafetensors(path, tensors, metadata)),
        };
        for (const [op, error] of Object.entries(errors)) {
          expect(error).to.be.instanceOf(ArgumentError).with.property("message").match(message);
          expect(error).to.have.property("op", op);
        }
        expect(await readdir(folder)).not.to.include("unwritten.safetensors");
      });
  });

  describe("refuses what callers without types may give", () => {
    const aTensor = "expected a tensor or { dtype, shape, data }.";
    const byName = "expected tensors by name. Write { name: tensor }, or give a Map or a list of [name, tensor].";
    const x = zeros([2]);
    const cases: [string, unknown, string][] = [
      ["nothing", undefined, `was given undefined, ${byName}`],
      ["text", "x", `was given "x", ${byName}`],
      ["one tensor", x, `was given a Tensor, ${byName}`],
      ["tensors without names", [x, x], "entry 0 is a Tensor, expected [name, tensor]."],
      ["a number for a name", [[1, x]], "entry 0 is an array of 2, expected [name, tensor]."],
      ["a raw tensor without a name", everyDType[0][1], `tensor "dtype" is "BOOL", ${aTensor}`],
      ["numbers by name", { x: [1, 2] }, `tensor "x" is an array of 2, ${aTensor}`],
      ["null by name", new Map([["x", null]]), `tensor "x" is null, ${aTensor}`],
      ["a model", new Linear(1, 1), `tensor "training" is true, ${aTensor}`],
    ];
    for (const [name, given, problem] of cases)
      it(name, async () => {
        const error = await rejection(writeSafetensors(join(folder, "unwritten.safetensors"), given as never));
        expect(error).to.be.instanceOf(ArgumentError);
        expect(error.message).to.equal(`writeSafetensors: ${problem}`);
      });

    it("metadata, a path or bytes of another kind", async () => {
      const path = join(folder, "unwritten.safetensors");
      expect((await rejection(writeSafetensors(path, {}, null as never))).message).to.equal(
        "writeSafetensors: metadata is null, expected an object of strings.",
      );
      expect((await rejection(writeSafetensors(undefined as never, {}))).message).to.equal(
        "writeFile: the path is undefined, expected a string.",
      );
      const error = failure(() => parseSafetensors(new ArrayBuffer(8) as never));
      expect(error).to.be.instanceOf(ArgumentError);
      expect(error.message).to.equal(
        "parseSafetensors: was given an ArrayBuffer, expected the bytes of a file. " +
          "They are a Uint8Array, or a Buffer; around an ArrayBuffer write new Uint8Array(buffer).",
      );
    });

    it("a tensor that was disposed", async () => {
      const gone = zeros([2]);
      gone.dispose();
      expect((await rejection(writeSafetensors(join(folder, "unwritten.safetensors"), { gone }))).message).to.match(
        /^writeSafetensors: a tensor of shape \[2\] was used after it was disposed/,
      );
    });
  });

  it("says so when a file cannot be opened", async () => {
    const error = await rejection(readSafetensors(join(folder, "none.safetensors")));
    expect(error)
      .to.be.instanceOf(ArgumentError)
      .with.property("message")
      .match(/none\.safetensors cannot be read/);
  });

  it("reads files that PyTorch's users wrote", async () => {
    const golden = join(import.meta.dirname, "..", "golden");
    for (const name of [
      "ops/conv",
      "ops/blocks",
      "ops/shape_reduce",
      "optim/optimizers",
      "seed/schedule",
      "seed/part_b",
    ]) {
      const path = join(golden, `${name}.safetensors`);
      const bytes = readFileSync(path);
      const file = parseSafetensors(bytes, path);
      expect(file.tensors.size, name).to.be.greaterThan(0);
      // The header's order and text may differ; what it says and the data may not.
      const again = parseSafetensors(await serializeSafetensors(file.tensors, file.metadata));
      expect(again.metadata).to.deep.equal(file.metadata);
      for (const [tensor, value] of file.tensors)
        expect(Buffer.from(bytesOf(again.tensors.get(tensor)!)).equals(bytesOf(value)), `${name} ${tensor}`).to.be.true;
    }
  });
});

function bytesOf({ data }: RawTensor): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
