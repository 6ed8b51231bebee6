// Parameters: tensors that are trained, and their packing into one flat buffer so that an optimizer updates all in one pass.

import type { DeviceName } from "../device/executor.ts";
import {
  ArgumentError,
  DTypeError,
  DeviceError,
  LifetimeError,
  ShapeError,
  showShape,
  showValue,
} from "../errors/index.ts";
import type { DType } from "../ops/index.ts";
import { expectSameDType } from "../ops/checks.ts";
import { bytesOf, ops } from "../ops/index.ts";
import type { TorchLayout } from "../io/layout.ts";
import { noGrad } from "./grad-mode.ts";
import { Cell, refuseInRecording } from "./recording.ts";
import { Tensor, apply, applyInPlace } from "./tensor.ts";

/** A place in the flat gradient buffer, and whether backward has put something there. */
interface GradientSlot {
  readonly view: Tensor;
  readonly filled: Cell<boolean>;
}

/** A tensor that is trained: it lives until disposed, collects gradients, and knows its PyTorch layout. */
export class Parameter extends Tensor {
  /** How PyTorch's memory of it differs from this one: files are converted by it. */
  readonly layout: TorchLayout;
  /** The flat buffer that this parameter was packed into, with its place there. */
  private packed: { readonly pack: ParameterPack; readonly slot: GradientSlot } | undefined;

  /**
   * Takes over `initial`, which must not be used again. Its memory becomes the parameter's, or a copy of it where
   * others can see it: a parameter's memory is its own.
   */
  constructor(initial: Tensor, layout: TorchLayout = "plain") {
    if (!((initial as unknown) instanceof Tensor))
      throw new ArgumentError({
        op: "Parameter",
        problem: `the initial values are ${showValue(initial)}, expected a tensor.`,
        advice: "Make one with tensor(...).",
      });
    if (initial.dtype === "int32")
      throw new DTypeError({
        op: "Parameter",
        problem: "int32 values have no gradient, so they cannot be trained.",
        advice: 'Convert them with .to("float32").',
      });
    refuseInRecording("Parameter", "a parameter was made", "Make models outside.");
    const { storage } = initial.place("Parameter");
    const alone = !storage.shared && storage.bytes === initial.size * bytesOf(initial.dtype);
    const own = alone ? initial : noGrad(() => initial.clone());
    super({ storage: own.place("Parameter").storage.retain(), offset: 0 }, initial);
    own.dispose();
    initial.dispose();
    this.layout = layout;
    this.requireGrad();
    this.onOrphaned();
  }

  override get grad(): Tensor | undefined {
    if (!this.packed) return super.grad;
    return this.packed.slot.filled.value ? this.packed.slot.view : undefined;
  }

  override clearGrad(): void {
    if (this.packed) this.packed.slot.filled.value = false;
    else super.clearGrad();
  }

  /** @internal */
  override addGradient(gradient: Tensor): void {
    if (!this.packed) {
      super.addGradient(gradient);
      return;
    }
    const { slot } = this.packed;
    applyInPlace(slot.filled.value ? ops.accumulate : ops.assign, [slot.view, gradient], {});
    slot.filled.value = true;
  }

  /** Overwrites the values in place; `values` has the parameter's shape, dtype and device. */
  assign(values: Tensor): void {
    applyInPlace(ops.assign, [this, values], {});
  }

  /** Overwrites the collected gradient, if any, with a copy of `values`, which has the parameter's shape, dtype and device. */
  assignGrad(values: Tensor): void {
    expectFits("assignGrad", "the gradient", this, values);
    if (this.packed) {
      applyInPlace(ops.assign, [this.packed.slot.view, values], {});
      this.packed.slot.filled.value = true;
      return;
    }
    // Copied before the old one goes: `values` may be the old one.
    const copy = noGrad(() => values.clone());
    super.clearGrad();
    super.addGradient(copy);
    copy.dispose();
  }

  override dispose(): void {
    if (this.disposed) return;
    super.dispose();
    this.packed?.slot.view.dispose();
    this.packed?.pack.leave();
  }

  /** @internal The flat buffer that holds this parameter, if any. */
  get pack(): ParameterPack | undefined {
    return this.packed?.pack;
  }

  /** @internal Moves values and gradient, if any, into the pack, out of the one that held them before. */
  enterPack(pack: ParameterPack, values: Tensor, gradient: Tensor): void {
    applyInPlace(ops.assign, [values, this], {});
    const { storage: target, offset } = values.place("ParameterPack");
    // Views and detached handles share the storage and come along.
    this.place("ParameterPack").storage.moveInto(target, offset * bytesOf(this.dtype));
    values.dispose();
    gradient.onOrphaned();
    const before = this.packed;
    const collected = this.grad;
    this.packed = { pack, slot: { view: gradient, filled: new Cell(false) } };
    if (collected) this.addGradient(collected);
    if (before) {
      before.slot.view.dispose();
      before.pack.leave();
    } else super.clearGrad();
  }
}

/** Elements to which parameters are aligned in a pack: one cache line of float32. */
const alignment = 16;

/** Several parameters in one flat buffer, their gradients in another, in the same order. */
export class ParameterPack {
  readonly parameters: readonly Parameter[];
  readonly device: DeviceName;
  readonly dtype: DType;
  /** Elements of the whole pack. */
  readonly size: number;
  /** The flat buffers; they live as long as any of the parameters. */
  readonly values: Tensor;
  readonly gradients: Tensor;
  private readonly offsets: readonly number[];
  private present: number;

  /**
   * Moves the parameters, at least one, into the pack on behalf of `op`; the objects stay, their memory changes. They
   * must share a device and a dtype. Those that were in another pack leave it.
   */
  constructor(op: string, parameters: readonly Parameter[]) {
    const [first] = parameters;
    for (const parameter of parameters) {
      parameter.operand(op);
      if (parameter.dtype !== first.dtype || parameter.executor !== first.executor)
        throw new DTypeError({
          op,
          problem: `parameters of ${first.dtype} on ${first.device} and of ${parameter.dtype} on ${parameter.device}.`,
          advice: "The parameters of one optimizer share a dtype and a device.",
        });
    }
    this.parameters = parameters;
    this.device = first.device;
    this.dtype = first.dtype;
    const offsets: number[] = [];
    let size = 0;
    for (const parameter of parameters) {
      offsets.push(size);
      size += Math.ceil(parameter.size / alignment) * alignment;
    }
    this.offsets = offsets;
    this.size = size;
    this.values = this.zeros();
    this.gradients = this.zeros();
    this.present = parameters.length;
    parameters.forEach((parameter, i) => {
      parameter.enterPack(this, this.part(op, this.values, i), this.part(op, this.gradients, i));
    });
  }

  /** A flat tensor of zeros of the pack's size and kind, for an optimizer's state; it lives until disposed. */
  zeros(): Tensor {
    const { executor } = this.parameters[0];
    return apply(ops.fill, [], { shape: [this.size], dtype: this.dtype, value: 0 }, executor).keep();
  }

  /** The place of parameters `first` to `last` (exclusive) in a flat tensor of the pack's size, as one vector; owned by nobody. */
  flat(op: string, whole: Tensor, first: number, last: number): Tensor {
    const { storage } = whole.place(op);
    const start = this.offsets[first];
    const end = last < this.parameters.length ? this.offsets[last] : this.size;
    return new Tensor({ storage: storage.retain(), offset: start }, { shape: [end - start], dtype: this.dtype });
  }

  /** The place of parameter `index` in a flat tensor of the pack's size, in the parameter's shape; owned by nobody. */
  part(op: string, whole: Tensor, index: number): Tensor {
    const { storage } = whole.place(op);
    return new Tensor({ storage: storage.retain(), offset: this.offsets[index] }, this.parameters[index]);
  }

  /** Throws when a parameter has left, since its place here no longer counts. */
  expectWhole(op: string): void {
    const left = this.parameters.filter((parameter) => parameter.pack !== this).length;
    if (left > 0)
      throw new LifetimeError({
        op,
        problem: `${left} of the ${this.parameters.length} parameters have moved to the list of a newer optimizer.`,
        advice: "Step the newer optimizer, or make a new one for this list.",
      });
  }

  /** @internal A parameter was disposed or moved to another pack. */
  leave(): void {
    if (--this.present > 0) return;
    this.values.dispose();
    this.gradients.dispose();
  }
}

/** @internal The parameters that `op` was given, each once; refuses what is none, such as the model that holds them. */
export function listParameters(op: string, parameters: Iterable<Parameter>): Parameter[] {
  const iterable = typeof (parameters as Partial<Iterable<Parameter>> | undefined)?.[Symbol.iterator] === "function";
  const list: readonly unknown[] = iterable ? [...new Set(parameters)] : [parameters];
  const wrong = list.findIndex((item) => !(item instanceof Parameter));
  if (wrong >= 0)
    throw new ArgumentError({
      op,
      problem: `was given ${showValue(list[wrong])}, expected parameters.`,
      advice: "Pass model.parameters().",
    });
  return list as Parameter[];
}

/** The pack that holds exactly these parameters in this order: theirs if they have it, else a new one. */
export function packParameters(op: string, parameters: readonly Parameter[]): ParameterPack {
  const existing = parameters[0]?.pack;
  if (
    existing &&
    existing.parameters.length === parameters.length &&
    existing.parameters.every((p, i) => p === parameters[i])
  )
    return existing;
  return new ParameterPack(op, parameters);
}

/** Throws unless `values` have the parameter's shape, dtype and device. */
export function expectFits(op: string, name: string, parameter: Parameter, values: Tensor): void {
  values.operand(op);
  if (values.shape.length !== parameter.shape.length || values.shape.some((n, i) => n !== parameter.shape[i]))
    throw new ShapeError({
      op,
      problem: `${name} has shape ${showShape(values.shape)}, the parameter ${showShape(parameter.shape)}.`,
    });
  expectSameDType(op, [name, "the parameter"], values, parameter);
  if (values.executor !== parameter.executor)
    throw new DeviceError({ op, problem: `${name} lies on ${values.device}, the parameter on ${parameter.device}.` });
}
