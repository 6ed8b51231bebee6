// From a function of tensors to an ONNX graph: its commands are recorded, as for a plan, and each is translated by its rule.
//
// With an open batch size the function is recorded at three of them. The recordings must have the same commands; a size
// or position that differs must be a line in the batch size (size.ts), and anything else that differs is an error.

import type { ElementArray, Executor, Operand } from "../../device/executor.ts";
import { tensorTypeOf } from "../../device/executor.ts";
import { ExportError, showShape } from "../../errors/index.ts";
import type { OnnxModel, OnnxPort } from "../../io/onnx/model.ts";
import { axesOfTorch } from "../../io/layout.ts";
import type { AnyOp, DType } from "../../ops/index.ts";
import { bytesOf, sizeOf } from "../../ops/index.ts";
import type { RecordedCommand } from "../../plan/recorded.ts";
import { isLoop } from "../../plan/recorded.ts";
import type { RecordedStep } from "../../tensor/captured-plan.ts";
import { recordOnce } from "../../tensor/captured-plan.ts";
import { noGrad } from "../../tensor/grad-mode.ts";
import type { Parameter } from "../../tensor/parameter.ts";
import { scope } from "../../tensor/scope.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { uninitialised } from "../../tensor/tensor.ts";
import type { TensorTree } from "../../tensor/tree.ts";
import { tensorsByPath } from "../../tensor/tree.ts";
import type { OnnxValue } from "./graph.ts";
import { OnnxGraph, channelsFirst, ourOrder } from "./graph.ts";
import { ruleFor } from "./rules.ts";
import type { Size } from "./size.ts";
import { nameOfSize, probedBatches, sizeOfValues } from "./size.ts";

/** The version of ONNX's operators: the first whose reductions all take axes as an input, known to runtimes since 2022. */
export const opset = 18;
/** The version of the file format that came with it. */
const irVersion = 8;

/** One input of the function. */
export interface PortType {
  readonly dtype: DType;
  /** Sizes in this library's order; the first may be the name of the batch. */
  readonly shape: readonly (number | string)[];
}

/** What is to be translated. */
export interface Translation {
  readonly forward: (...inputs: Tensor[]) => TensorTree;
  readonly inputs: ReadonlyMap<string, PortType>;
  /** The name of the open batch size, if there is one. */
  readonly batch: string | undefined;
  /** Whether images go in and out as NCHW. */
  readonly channelsFirst: boolean;
  /** Parameters that become initializers, with their elements as PyTorch lays them. */
  readonly parameters: ReadonlyMap<string, { readonly parameter: Parameter; readonly data: Float32Array }>;
  readonly executor: Executor;
}

/** The function as an ONNX graph. */
export function translate(translation: Translation): OnnxModel {
  return new Translator(translation).model();
}

/** An operand in each of the recordings. */
type Operands = readonly Operand[];

/** Memory that holds a value: what commands read is all of it or a part. */
interface Source {
  readonly operands: Operands;
  readonly value: OnnxValue;
}

class Translator {
  readonly #given: Translation;
  readonly #graph: OnnxGraph;
  readonly #recordings: readonly RecordedStep[];
  /** What inputs were recorded as, in each recording. */
  readonly #inputs: readonly (readonly Operand[])[];
  readonly #sources = new Map<string, Source[]>();

  constructor(given: Translation) {
    this.#given = given;
    const { inputs, batch, parameters, executor } = given;
    const probes = (batch === undefined ? [1] : probedBatches).map((size) => {
      const shapes = [...inputs.values()].map(({ shape }) => shape.map((n) => (typeof n === "string" ? size : n)));
      return record(given, shapes, executor);
    });
    this.#recordings = probes.map(({ step }) => step);
    this.#inputs = probes.map(({ operands }) => operands);
    const taken = [...inputs.keys(), ...parameters.keys()];
    for (const name of this.#outputNames()) expectFree(name, taken);
    this.#graph = new OnnxGraph([...taken, ...this.#outputNames()]);
  }

  model(): OnnxModel {
    const { batch = "" } = this.#given;
    const inputs = this.#takeInputs();
    this.#takeParameters();
    this.#commands();
    const outputs = this.#outputs();
    const { nodes, initializers } = this.#graph.finish(outputs);
    return {
      name: "langevin",
      opset,
      irVersion,
      inputs: inputs.map((value) => portOf(value, batch)),
      outputs: [...outputs].map(([name, value]) => portOf({ ...value, name }, batch)),
      nodes,
      initializers,
    };
  }

  #takeInputs(): OnnxValue[] {
    return [...this.#given.inputs].map(([name, { dtype, shape }], i) => {
      const operands = this.#inputs.map((list) => list[i]);
      const order = this.#portOrder(dtype, shape.length);
      const value = { name, dtype: this.#dtype(dtype), shape: this.#shape(operands), order };
      this.#keep(operands, value);
      if (typeof shape[0] === "string") this.#graph.readBatchFrom(value);
      return value;
    });
  }

  #takeParameters(): void {
    for (const [name, { parameter, data }] of this.#given.parameters) {
      const { shape, layout } = parameter;
      const operand = parameter.operand("exportOnnx");
      const type = { dtype: "float32", shape, order: axesOfTorch(layout, shape.length) } as const;
      const operands = this.#recordings.map(() => operand);
      this.#keep(operands, this.#graph.namedConstant(name, data, type));
    }
  }

  /** Translates the commands, in their order. */
  #commands(): void {
    const lists = this.#recordings.map(commandsOf);
    const longest = Math.max(...lists.map(({ length }) => length));
    for (let i = 0; i < longest; i++) {
      const commands = lists.map((list) => list.at(i));
      const known = commands.find((command) => command !== undefined)!;
      explaining(known, () => {
        if (commands.some((command) => command?.op !== known.op))
          this.#refuseBatch(known.op.name, "is computed at some sizes of the batch and not at others");
        this.#command(commands as RecordedCommand[]);
      });
    }
  }

  #command(commands: readonly RecordedCommand[]): void {
    const [{ op, perStep, layer, inputs }] = commands;
    const rule = ruleFor(op);
    if (typeof rule === "string") refuse(op, `this cannot be exported: ${rule}.`, adviceFor(op));
    if (perStep.length > 0)
      refuse(op, `${perStep[0].attribute} differs from step to step, and a file has no steps.`, "Pass it as a tensor.");
    if (rule === undefined) refuse(op, "there is no rule yet by which this could be exported.");
    const present = commands.map((command) => command.inputs.map((input) => input !== undefined).join());
    if (present.some((list) => list !== present[0]))
      this.#refuseBatch(op.name, "has other operands at each size of the batch");
    this.#graph.layer = layer;
    const results = commands.map(({ output }) => output!);
    const value = rule(this.#graph, {
      inputs: inputs.map((input, i) => input && this.#value(commands.map((command) => command.inputs[i]!))),
      attributes: this.#attributes(commands),
      shape: this.#shape(results),
      dtype: this.#dtype(tensorTypeOf(results[0]).dtype),
    });
    this.#keep(results, value);
  }

  /** The attributes: lists of numbers may grow with the batch, all else is fixed. */
  #attributes(commands: readonly RecordedCommand[]): Record<string, unknown> {
    const [{ op }] = commands;
    const entries = Object.entries(op.attributes).map(([name, kind]) => {
      const values: unknown[] = commands.map(({ attributes }) => attributes[name]);
      if (kind === "ints") return [name, this.#sizes(op.name, name, values as number[][])];
      if (values.some((value) => !Object.is(value, values[0])))
        this.#refuseBatch(op.name, `has another ${name} at each size of the batch: ${values.map(String).join(", ")}`);
      return [name, values[0]];
    });
    return Object.fromEntries(entries) as Record<string, unknown>;
  }

  #sizes(op: string, name: string, lists: readonly (readonly number[])[]): Size[] {
    if (lists.some(({ length }) => length !== lists[0].length))
      this.#refuseBatch(op, `has a ${name} of different length at each size of the batch`);
    return lists[0].map((_, axis) =>
      this.#size(
        op,
        name,
        lists.map((list) => list[axis]),
      ),
    );
  }

  #size(op: string, name: string, values: readonly number[]): Size {
    const size = sizeOfValues(values);
    if (size !== undefined) return size;
    return this.#refuseBatch(op, `has a ${name} of ${values.join(", ")} for batches of ${probedBatches.join(", ")}`);
  }

  #shape(operands: Operands): Size[] {
    return this.#sizes(
      "exportOnnx",
      "shape",
      operands.map(({ shape }) => shape),
    );
  }

  #refuseBatch(op: string, what: string): never {
    throw new ExportError({
      op,
      problem: `it ${what}, so the batch cannot be left open.`,
      advice: "Give the batch as a number in the shapes of the inputs.",
    });
  }

  // ---- memory --------------------------------------------------------------------------------------------------------

  #keep(operands: Operands, value: OnnxValue): void {
    const place = this.#place(operands);
    this.#sources.set(place, [...(this.#sources.get(place) ?? []), { operands, value }]);
  }

  /** What tells memory from other memory: the same buffer in all recordings, or what is an input in all. */
  #place(operands: Operands): string {
    const places = operands.map(({ buffer }, k) => {
      const input = this.#inputs[k].findIndex((operand) => operand.buffer === buffer);
      return input >= 0 ? `input ${input}` : `buffer ${buffer}`;
    });
    if (places.some((place) => place !== places[0]))
      this.#refuseBatch("exportOnnx", "reads other tensors at each size of the batch");
    return places[0];
  }

  /** What lies at an operand: a value, a part of one, or what the host or the world outside has put there. */
  #value(operands: Operands): OnnxValue {
    const place = this.#place(operands);
    const source = this.#sources.get(place)?.find((candidate) => holds(candidate.operands, operands));
    if (!source) return this.#constant(operands);
    const isWhole = operands.every((operand, k) => sizeOf(operand.shape) === sizeOf(source.operands[k].shape));
    return this.#graph.reshape(isWhole ? source.value : this.#part(operands, source), this.#shape(operands));
  }

  /** A stretch of a value's memory: whole rows of axis 0 where it is some, else elements in a row. */
  #part(operands: Operands, { operands: wholes, value }: Source): OnnxValue {
    const graph = this.#graph;
    const along = (name: string, of: (part: Operand, whole: Operand) => number): Size =>
      this.#size(
        "slice",
        name,
        operands.map((part, k) => of(part, wholes[k])),
      );
    const start = (part: Operand, whole: Operand): number => part.offset - whole.offset;
    const row = sizeOf(wholes[0].shape.slice(1));
    const isRows = operands.every(
      (part, k) =>
        sizeOf(wholes[k].shape.slice(1)) === row &&
        start(part, wholes[k]) % row === 0 &&
        sizeOf(part.shape) % row === 0,
    );
    const unit = isRows ? row : 1;
    const rows = isRows ? graph.ours(value) : graph.reshape(value, [along("size", (_, whole) => sizeOf(whole.shape))]);
    const first = along("start", (part, whole) => start(part, whole) / unit);
    const last = along("stop", (part, whole) => (start(part, whole) + sizeOf(part.shape)) / unit);
    const shape = [along("size", (part) => sizeOf(part.shape) / unit), ...rows.shape.slice(1)];
    const bounds = [graph.sizes([first]), graph.sizes([last]), graph.positions([0])];
    return graph.node("Slice", [rows, ...bounds], {}, { ...rows, shape });
  }

  /** Elements that are the same whenever the function runs. */
  #constant(operands: Operands): OnnxValue {
    const { shape, dtype } = tensorTypeOf(operands[0]);
    const all = operands.map((operand, k) => this.#elements(operand, this.#recordings[k]));
    if (all.some((elements) => !sameElements(elements, all[0])))
      this.#refuseBatch("exportOnnx", `uses host data of shape ${showShape(shape)} that depend on it`);
    const value = this.#graph.constant(this.#dtype(dtype), shape, all[0] as Float32Array | Int32Array);
    this.#keep(operands, value);
    return value;
  }

  #elements(operand: Operand, { program }: RecordedStep): ElementArray {
    const { buffer, offset } = operand;
    const { shape, dtype } = tensorTypeOf(operand);
    const byteOffset = offset * bytesOf(dtype);
    const elements = new { float32: Float32Array, int32: Int32Array, float64: Float64Array }[dtype](sizeOf(shape));
    const recorded = program.buffers.get(buffer);
    if (!recorded) {
      this.#given.executor.readSync(buffer, byteOffset, elements);
      return elements;
    }
    if (recorded.table)
      throw new ExportError({
        op: "exportOnnx",
        problem: `numbers of shape ${showShape(shape)} differ from step to step, and a file has no steps.`,
        advice: "Pass them as a tensor.",
      });
    const memory = new Uint8Array(recorded.bytes);
    for (const { byteOffset: at, elements: written } of recorded.data ?? [])
      memory.set(new Uint8Array(written.buffer, written.byteOffset, written.byteLength), at);
    const bytes = new Uint8Array(elements.buffer);
    bytes.set(memory.subarray(byteOffset, byteOffset + bytes.length));
    return elements;
  }

  // ---- what goes in and out --------------------------------------------------------------------------------------------

  #dtype(dtype: DType): "float32" | "int32" {
    if (dtype !== "float64") return dtype;
    throw new ExportError({
      op: "exportOnnx",
      problem: "the function computes in float64, and files are written in float32.",
      advice: "Build the model in float32.",
    });
  }

  /** How the axes of an input or output are stored in the file. */
  #portOrder(dtype: string, rank: number): readonly number[] {
    const isImages = dtype === "float32" && rank === 4;
    return isImages && this.#given.channelsFirst ? channelsFirst(rank) : ourOrder(rank);
  }

  /** The outputs' names: their places in what the function returns. */
  #outputNames(): string[] {
    const names = this.#recordings.map(({ result }) => [...tensorsByPath(result).keys()].map(outputName));
    if (names.some((list) => list.join() !== names[0].join()))
      this.#refuseBatch("exportOnnx", "has other results at each size of the batch");
    if (names[0].length === 0) throw new ExportError({ op: "exportOnnx", problem: "the function returns no tensor." });
    return names[0];
  }

  #outputs(): Map<string, OnnxValue> {
    this.#graph.layer = "";
    const operands = this.#recordings.map(outputOperands);
    return new Map(
      this.#outputNames().map((name) => {
        const value = this.#value(operands.map((byName) => byName.get(name)!));
        return [name, this.#graph.arranged(value, this.#portOrder(value.dtype, value.shape.length))];
      }),
    );
  }
}

const outputName = (path: string): string => (path === "" ? "output" : path);

function expectFree(name: string, taken: readonly string[]): void {
  if (taken.includes(name))
    throw new ExportError({
      op: "exportOnnx",
      problem: `a result is called ${name}, as an input or a parameter is.`,
      advice: "Return an object in which it has another name.",
    });
}

/** Records the function once; what is of the shape of its inputs is made for that, and freed again. */
function record(
  { forward, inputs }: Translation,
  shapes: readonly number[][],
  executor: Executor,
): { readonly step: RecordedStep; readonly operands: readonly Operand[] } {
  return scope(() => {
    const given = [...inputs.values()].map(({ dtype }, i) => uninitialised(shapes[i], dtype, executor));
    const operands = given.map((input) => input.operand("exportOnnx"));
    const step = recordOnce(() => noGrad(() => forward(...given)), []);
    for (const input of given) input.dispose();
    return { step, operands };
  });
}

/** The operand of each result by its name. */
function outputOperands({ result, leaves, program }: RecordedStep): Map<string, Operand> {
  return new Map(
    [...tensorsByPath(result)].map(([path, leaf]) => [outputName(path), program.outputs[leaves.indexOf(leaf)]]),
  );
}

function commandsOf({ program }: RecordedStep): RecordedCommand[] {
  return program.nodes.flatMap((node) => {
    if (!isLoop(node)) return node.commands;
    throw new ExportError({
      op: "repeat",
      problem: `a loop of ${node.times} iterations cannot be exported.`,
      advice: "Write it as a loop of JavaScript, which is recorded unrolled.",
    });
  });
}

/** Whether memory holds all of an operand, in every recording. */
function holds(source: Operands, operands: Operands): boolean {
  return operands.every(({ offset, shape, dtype }, k) => {
    const whole = source[k];
    return (
      dtype === whole.dtype && offset >= whole.offset && offset + sizeOf(shape) <= whole.offset + sizeOf(whole.shape)
    );
  });
}

function sameElements(a: ElementArray, b: ElementArray): boolean {
  return a.length === b.length && a.every((element, i) => Object.is(element, b[i]));
}

function portOf({ name, dtype, shape, order }: OnnxValue, batch: string): OnnxPort {
  return { name, dtype, shape: order.map((axis) => nameOfSize(shape[axis], batch)) };
}

function refuse({ name }: AnyOp, problem: string, advice?: string): never {
  throw new ExportError({ op: name, problem, advice });
}

/** What to do instead of an op that has no rule. */
function adviceFor(op: AnyOp): string | undefined {
  if (op.name === "dropout") return "Call the function in eval mode.";
  if (/^rand/.test(op.name)) return "Pass the noise as an input.";
  return undefined;
}

/** Runs a step of the translation; an error on its way out is told the layer. */
function explaining({ layer }: RecordedCommand, step: () => void): void {
  try {
    step();
  } catch (error) {
    if (error instanceof ExportError && layer) error.enterModule(layer);
    throw error;
  }
}
