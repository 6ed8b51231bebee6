// Commands as words: what is encoded can be decoded, and kernels that do not fit the records are named.

import { expect } from "chai";
import fc from "fast-check";

import type { AttributePlace, Command, Operand } from "../../ts/device/executor.ts";
import { dense } from "../../ts/device/executor.ts";
import { CommandEncoder, dtypeCodes, matchKernels } from "../../ts/device/native/encode.ts";
import { DeviceError } from "../../ts/errors/index.ts";
import type { AnyOp, AttributeKind, StoredType } from "../../ts/ops/index.ts";
import { defineOp, ops, opList, signatureText } from "../../ts/ops/index.ts";
import { failure } from "../failure.ts";

/** An op with an attribute of every kind. */
const everything = defineOp({
  name: "everything",
  inputs: ["a", "b?"],
  attributes: { n: "int", x: "float", on: "bool", sizes: "ints", seed: "seed", mode: ["near", "far", "best"] },
  infer: ([a]) => a!,
  samples: [],
});

const plain = defineOp({ name: "plain", inputs: ["a"], attributes: {}, infer: ([a]) => a!, samples: [] });
/** Ops that run part by part, and one on whose result they follow. */
const partwise = defineOp({ ...plain, name: "partwise", parts: ["image", "whole", "element"], wholeImages: true });
const product = defineOp({ ...plain, name: "product", epilogue: true });
const records: AnyOp[] = [everything, plain, partwise, product];

/** Reads words back, as native/core/decode.cpp does. */
class Reader {
  #at = 0;
  /** Of each command that was read: its role, and for those that run part by part whole images and alignments. */
  readonly parts: number[][] = [];
  readonly words: Float64Array;

  constructor(words: Float64Array) {
    this.words = words;
  }

  get atEnd(): boolean {
    return this.#at === this.words.length;
  }

  command(): Command {
    const start = this.#at;
    const op = records[this.#next()];
    const length = this.#next();
    const hasOutput = this.#next();
    const inputs = this.#next();
    const joined = this.#part(inputs);
    const output = hasOutput ? this.#operand() : undefined;
    const list = Array.from({ length: inputs }, () => this.#operand());
    const attributes = Object.fromEntries(
      Object.entries<AttributeKind>(op.attributes).map(([name, kind]) => [name, this.#attribute(kind)]),
    );
    expect(this.#at - start).to.equal(length);
    return { op, attributes, inputs: list, output, ...(joined ? { joined } : {}) };
  }

  /** Notes what is said of parts, and tells whether the command is joined to the one before. */
  #part(inputs: number): boolean {
    const role = this.#next();
    const isInParts = role === 1 || role === 3;
    this.parts.push(isInParts ? [role, ...Array.from({ length: 1 + inputs }, () => this.#next())] : [role]);
    return role === 3;
  }

  #next(): number {
    return this.words[this.#at++];
  }

  #operand(): Operand | undefined {
    const buffer = this.#next();
    if (buffer === 0) return undefined;
    const dtype = (Object.keys(dtypeCodes) as StoredType[])[this.#next()];
    const [offset, pitch, rank] = [this.#next(), this.#next(), this.#next()];
    return { buffer, offset, pitch, dtype, shape: Array.from({ length: rank }, () => this.#next()) };
  }

  #attribute(kind: AttributeKind): number | boolean | string | bigint | number[] {
    if (kind === "ints") return Array.from({ length: this.#next() }, () => this.#next());
    if (kind === "seed") return BigInt(this.#next()) | (BigInt(this.#next()) << 32n);
    if (kind === "bool") return this.#next() === 1;
    return typeof kind === "string" ? this.#next() : kind[this.#next()];
  }
}

const size = fc.integer({ min: 0, max: 2 ** 31 });
const operand: fc.Arbitrary<Operand> = fc.record({
  buffer: fc.integer({ min: 1, max: 2 ** 53 - 1 }),
  dtype: fc.constantFrom<StoredType>("float32", "int32", "float64", "bfloat16"),
  offset: fc.integer({ min: 0, max: 2 ** 40 }),
  pitch: size,
  shape: fc.array(size, { maxLength: 8 }),
});
const command: fc.Arbitrary<Command> = fc.oneof(
  fc.record({
    op: fc.constant(everything),
    attributes: fc.record({
      n: fc.integer(),
      x: fc.double(),
      on: fc.boolean(),
      sizes: fc.array(fc.integer(), { maxLength: 8 }),
      seed: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      mode: fc.constantFrom("near", "far", "best"),
    }),
    inputs: fc.array(fc.option(operand, { nil: undefined }), { maxLength: 4 }),
    output: operand,
  }),
  fc.record({
    op: fc.constant(plain),
    attributes: fc.constant({}),
    inputs: fc.array(operand, { minLength: 1, maxLength: 300 }),
    output: fc.constant(undefined),
  }),
);

function kernelsOf(list: readonly AnyOp[]) {
  return list.filter((op) => !op.view).map((op) => ({ name: op.name, signature: signatureText(op.attributes) }));
}

describe("CommandEncoder", () => {
  it("writes what can be read back", () => {
    const encoder = new CommandEncoder(matchKernels(records, kernelsOf(records)));
    fc.assert(
      fc.property(fc.array(command, { maxLength: 5 }), (commands) => {
        encoder.encode(commands);
        const reader = new Reader(encoder.words.slice(0, encoder.count));
        for (const expected of commands) expect(reader.command()).to.deep.equal(expected);
        expect(reader.atEnd).to.be.true;
      }),
    );
  });

  it("writes a program's commands as one list, and its layout", () => {
    const encoder = new CommandEncoder(matchKernels(records, kernelsOf(records)));
    const scalar = dense(4, 3, [], "int32");
    const attributes = { n: 1, x: 2, on: true, sizes: [5, 6], seed: 7n, mode: "far" };
    const first: Command = { op: everything, attributes, inputs: [scalar, undefined], output: scalar };
    const second: Command = { op: plain, attributes: {}, inputs: [scalar], output: undefined };
    const layout = encoder.encodeProgram({
      lists: [[second], [], [first, second]],
      steps: [{ list: 2 }, { times: 3, body: [{ list: 0 }, { times: 4, body: [] }] }, { list: 1 }],
      slots: [
        { list: 0, places: [{ list: 2, command: 0, attribute: "x" }] },
        { list: 1, places: [] },
      ],
      reports: [scalar],
      temporaries: [{ buffer: 9, byteOffset: 16, bytes: 8, start: 0, end: 2 }],
      checkFinite: true,
      precision: "bf16",
    });
    const reader = new Reader(encoder.words.slice(0, encoder.count));
    for (const expected of [second, first, second]) expect(reader.command()).to.deep.equal(expected);
    expect(reader.atEnd).to.be.true;
    const lists = [3, 1, 0, 2];
    const slots = [2, 0, 1, 2, 0, 1, 1, 0];
    const reports = [1, 4, dtypeCodes.int32, 3, 1, 0];
    const temporaries = [1, 9, 16, 8, 0, 2];
    const steps = [0, 2, 1, 3, 0, 0, 1, 4, 2, 2, 0, 1];
    expect([...layout]).to.deep.equal([1, 2, ...lists, ...slots, ...reports, ...temporaries, ...steps]);
  });

  it("writes which commands run part by part, and how their operands lie", () => {
    const encoder = new CommandEncoder(matchKernels(records, kernelsOf(records)));
    const scalar = dense(4, 3, [], "int32");
    const on = (op: AnyOp, joined: boolean, ...inputs: (Operand | undefined)[]): Command => ({
      ...{ op, attributes: {}, inputs, output: scalar },
      ...(joined ? { joined } : {}),
    });
    const commands = [
      ...[on(plain, false), on(partwise, false, scalar)],
      ...[on(partwise, false), on(partwise, true, scalar, undefined, scalar, scalar)],
      ...[on(product, false, scalar), on(partwise, true, scalar), on(partwise, true)],
    ];
    encoder.encode(commands);
    const reader = new Reader(encoder.words.slice(0, encoder.count));
    for (const expected of commands) expect(reader.command()).to.deep.equal(expected);
    expect(reader.parts).to.deep.equal([[0], [0], [1, 1], [3, 1, 1, 2, 0, 0], [2], [3, 1, 1], [3, 1]]);
  });

  it("refuses slots on what is no number of one word", () => {
    const encoder = new CommandEncoder(matchKernels(records, kernelsOf(records)));
    const attributes = { n: 1, x: 2, on: true, sizes: [5, 6], seed: 7n, mode: "far" };
    const lists: Command[][] = [[{ op: everything, attributes, inputs: [], output: undefined }]];
    const load = (place: AttributePlace) =>
      encoder.encodeProgram({
        lists,
        steps: [],
        slots: [{ list: 0, places: [place] }],
        reports: [],
        checkFinite: false,
      });
    for (const attribute of ["on", "sizes", "seed", "mode", "toString"])
      expect(failure(() => load({ list: 0, command: 0, attribute })))
        .to.be.instanceOf(DeviceError)
        .with.property("message")
        .equal(`everything: a slot cannot change ${attribute}: it is no int or float attribute.`);
    for (const [list, command] of [
      [0, 1],
      [1, 0],
      [-1, 0],
      [0, 0.5],
    ])
      expect(failure(() => load({ list, command, attribute: "n" })).message).to.equal(
        `load: there is no command ${command} in list ${list}.`,
      );
  });

  it("refuses ranks and literals that native code does not know, and ops without a kernel", () => {
    const encoder = new CommandEncoder(matchKernels([plain, everything], kernelsOf([plain, everything])));
    const deep: Operand = { buffer: 1, dtype: "float32", offset: 0, pitch: 1, shape: new Array<number>(9).fill(1) };
    const run = (op: AnyOp, attributes: Command["attributes"], inputs: Operand[]) =>
      failure(() => encoder.encode([{ op, attributes, inputs, output: undefined }]));
    expect(run(plain, {}, [deep]))
      .to.be.instanceOf(DeviceError)
      .with.property("message")
      .include("plain: a tensor of rank 9");
    const attributes = { n: 1, x: 1, on: true, sizes: [], seed: 1n, mode: "sideways" };
    expect(run(everything, attributes, []).message).to.include("mode is sideways, not one of near, far, best");
    expect(run(ops.relu, {}, []).message).to.include("relu: this op is none of");
  });
});

describe("matchKernels", () => {
  it("gives each record its kernel's position, in whatever order", () => {
    const kernels = kernelsOf(opList).reverse();
    const codes = matchKernels(opList, kernels);
    expect(codes.size).to.equal(kernels.length);
    for (const [op, code] of codes) expect(kernels[code].name).to.equal(op.name);
  });

  it("names missing kernels, other signatures and kernels without a record", () => {
    const kernels = kernelsOf(opList).filter(({ name }) => name !== "relu");
    kernels.find(({ name }) => name === "fill")!.signature = "shape:ints";
    kernels.push({ name: "frobnicate", signature: "" });
    const error = failure(() => matchKernels(opList, kernels));
    expect(error.message).to.include("relu has no kernel");
    expect(error.message).to.include(
      "fill takes (shape:ints,dtype:float32|int32|float64,value:float), its kernel (shape:ints)",
    );
    expect(error.message).to.include("kernel frobnicate belongs to no op");
  });
});
