// The wire format of protocol buffers, as far as an ONNX file needs it to be written: https://protobuf.dev/programming-guides/encoding.
//
// Written here and not taken from a package because a file of weights is to be written in pieces, without a copy of them
// all in one buffer, and because what is needed are four kinds of field.

/** A field or several, encoded: its bytes in pieces, so that the elements of a tensor stay where they are. */
export interface Encoded {
  /** Bytes in all pieces together. */
  readonly length: number;
  readonly pieces: readonly Uint8Array[];
}

/** How a field's content is told from the next field. */
const wireTypes = { varint: 0, lengthDelimited: 2, fixed32: 5 } as const;

/** Encoded fields, one after the other. */
export function sequence(parts: readonly Encoded[]): Encoded {
  return {
    length: parts.reduce((total, { length }) => total + length, 0),
    pieces: parts.flatMap(({ pieces }) => pieces),
  };
}

/** An integer of 64 bits: `int64`, `int32` or an enumeration. */
export function integer(field: number, value: number | bigint): Encoded {
  return encoded([...tag(field, "varint"), ...varint(BigInt(value))]);
}

/** A number of 32 bits: `float`. */
export function float(field: number, value: number): Encoded {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setFloat32(0, value, true);
  return encoded([...tag(field, "fixed32"), ...bytes]);
}

/** `bytes`, which are not copied. */
export function bytes(field: number, content: Uint8Array): Encoded {
  return message(field, { length: content.length, pieces: [content] });
}

/** `string`. */
export function text(field: number, content: string): Encoded {
  return bytes(field, new TextEncoder().encode(content));
}

/** A message within a message. */
export function message(field: number, ...parts: readonly Encoded[]): Encoded {
  const content = sequence(parts);
  const head = encoded([...tag(field, "lengthDelimited"), ...varint(BigInt(content.length))]);
  return sequence([head, content]);
}

function encoded(content: readonly number[]): Encoded {
  return { length: content.length, pieces: [Uint8Array.from(content)] };
}

function tag(field: number, type: keyof typeof wireTypes): number[] {
  return varint(BigInt(field * 8 + wireTypes[type]));
}

/** Seven bits a byte, the lowest first; a negative number as its two's complement of 64 bits. */
function varint(value: bigint): number[] {
  const digits: number[] = [];
  let rest = BigInt.asUintN(64, value);
  for (; rest >= 0x80n; rest >>= 7n) digits.push(Number(rest & 0x7fn) | 0x80);
  digits.push(Number(rest));
  return digits;
}
