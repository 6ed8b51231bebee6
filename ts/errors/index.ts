// The error classes: structures that say which operation failed, on what values, what was expected and how to mend it.

/** What every error of this library carries. */
export interface ErrorDetails {
  /** The operation that refused, as the user called it: `conv2d`, `Tensor.backward`, `readSafetensors`. */
  readonly op: string;
  /** What is wrong, with the offending values in it. */
  readonly problem: string;
  /** What would have been right, and how to get there. */
  readonly advice?: string;
  /** The error underneath, when there is one. */
  readonly cause?: unknown;
}

/** An operand of the operation that refused. */
export interface ErrorOperand {
  /** What the operation calls it: `x`, `weight`. */
  readonly name: string;
  /** Its sizes. */
  readonly shape: readonly number[];
  /** Its element type. */
  readonly dtype: string;
}

/** Base class of all errors that this library throws on purpose. */
export class LangevinError extends Error {
  /** The operation that refused, as the user called it. */
  readonly op: string;
  /** What is wrong, with the offending values in it. */
  readonly problem: string;
  /** What would have been right, and how to get there; undefined where that goes without saying. */
  readonly advice: string | undefined;
  /** Path of the layer whose `forward` failed, for example `unet.down[1].conv1`; undefined outside layers. */
  modulePath: string | undefined;
  /** Names, shapes and dtypes of the operands, where a tensor operation refused them; undefined elsewhere. */
  operands: readonly ErrorOperand[] | undefined;

  constructor(details: ErrorDetails) {
    super("", details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.op = details.op;
    this.problem = details.problem;
    this.advice = details.advice;
    this.compose();
  }

  /** Puts `segment` before the path collected so far; layers call it as the error passes them on its way out. */
  enterModule(segment: string): void {
    this.modulePath = joinPath(segment, this.modulePath);
    this.compose();
  }

  private compose(): void {
    const where = this.modulePath === undefined ? "" : `${this.modulePath}: `;
    const advice = this.advice === undefined ? "" : ` ${this.advice}`;
    this.message = `${where}${this.op}: ${this.problem}${advice}`;
  }
}

/** Shapes that do not fit the operation or each other. */
export class ShapeError extends LangevinError {}
/** Element types that do not fit the operation or each other. */
export class DTypeError extends LangevinError {}
/** An option or argument outside its range. */
export class ArgumentError extends LangevinError {}
/** A device that is missing, failed, or differs between operands. */
export class DeviceError extends LangevinError {}
/** A function that cannot become a plan, or a value of one that was used where it does not exist. */
export class CaptureError extends LangevinError {}
/** A tensor used after it was disposed, or a graph used after its values were freed. */
export class LifetimeError extends LangevinError {}
/** A gradient that does not exist or may no longer be computed. */
export class GradientError extends LangevinError {}
/** A NaN that an operation made, found by strict mode. */
export class NumericsError extends LangevinError {}
/** A model or function that a file of another program's format cannot hold. */
export class ExportError extends LangevinError {}
/** A file or stream whose content is not what its format demands. */
export class FormatError extends LangevinError {}

/** The path of a layer within another: `unet` and `down[1]` make `unet.down[1]`. */
export function joinPath(outer: string | undefined, inner: string | undefined): string {
  if (!outer || !inner) return outer || inner || "";
  return inner.startsWith("[") ? outer + inner : `${outer}.${inner}`;
}

/** Writes a wrong argument in a few words: `"same"`, `NaN`, `null`, `an array of 3`, `a Float32Array of 8`, `a function`. */
export function showValue(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}...` : value);
  if (typeof value === "function") return "a function";
  if (typeof value === "symbol") return "a symbol";
  if (typeof value !== "object" || value === null) return typeof value === "bigint" ? `${value}n` : String(value);
  if (Array.isArray(value)) return `an array of ${value.length}`;
  const kind = (value as { constructor?: { name?: string } }).constructor?.name;
  if (!kind || kind === "Object") return "an object";
  const length = ArrayBuffer.isView(value) && "length" in value ? ` of ${String(value.length)}` : "";
  return `${/^[AEIO]/.test(kind) ? "an" : "a"} ${kind}${length}`;
}

/** Writes a shape as `[2, 8, 8, 3]`. */
export function showShape(shape: readonly number[]): string {
  return `[${shape.join(", ")}]`;
}
