// JSON as Python's json module reads and writes it: strict but for the bare words NaN, Infinity and -Infinity, and with its layout.

import { FormatError } from "../errors/index.ts";

/** Where a text comes from, for error messages. */
export interface TextSource {
  /** Who reads it. */
  readonly op: string;
  readonly file: string;
}

/** Config files are a few levels deep; a reader that follows a stranger's nesting would run out of stack. */
const deepestNesting = 64;
/** A double has 1,075 decimal digits at most, so more tell nothing. */
const longestNumber = 1100;

const words: ReadonlyMap<string, null | boolean | number> = new Map<string, null | boolean | number>([
  ["null", null],
  ["true", true],
  ["false", false],
  ["NaN", NaN],
  ["Infinity", Infinity],
  ["-Infinity", -Infinity],
]);

/**
 * The value of a text (`json.loads`): JSON, in which NaN, Infinity and -Infinity are numbers. Stricter than Python in that no
 * object has a key twice and nothing is nested deeper than 64 levels. Throws FormatError that names file, line and column.
 */
export function parsePythonJson(text: string, source: TextSource): unknown {
  return new Reader(text, source).whole();
}

class Reader {
  private readonly text: string;
  private readonly source: TextSource;
  private at = 0;
  private depth = 0;

  constructor(text: string, source: TextSource) {
    this.text = text;
    this.source = source;
  }

  whole(): unknown {
    const value = this.value();
    this.skipBlanks();
    if (this.at < this.text.length) this.fail("expected the end of the file");
    return value;
  }

  private value(): unknown {
    this.skipBlanks();
    switch (this.text[this.at]) {
      case "{":
        return this.inside(() => this.object());
      case "[":
        return this.inside(() => this.list());
      case '"':
        return this.string();
      default:
        return this.word();
    }
  }

  private inside<T>(read: () => T): T {
    if (++this.depth > deepestNesting) this.fail(`nested deeper than ${deepestNesting} levels`);
    this.at++;
    const value = read();
    this.depth--;
    return value;
  }

  private object(): unknown {
    const entries = new Map<string, unknown>();
    for (const _ of this.items("}")) {
      this.skipBlanks();
      const start = this.at;
      if (this.text[start] !== '"') this.fail('expected a key in "');
      const key = this.string();
      if (entries.has(key)) this.fail(`the key ${JSON.stringify(key)} is given twice`, start);
      this.skipBlanks();
      if (this.text[this.at] !== ":") this.fail('expected ":"');
      this.at++;
      entries.set(key, this.value());
    }
    return Object.fromEntries(entries);
  }

  private list(): unknown[] {
    const values: unknown[] = [];
    for (const _ of this.items("]")) values.push(this.value());
    return values;
  }

  /** Stops before each item of what ends with `end`, and goes past that. */
  private *items(end: "}" | "]"): Generator<undefined> {
    this.skipBlanks();
    for (let first = true; this.text[this.at] !== end; first = false) {
      if (!first) {
        if (this.text[this.at] !== ",") this.fail(`expected "," or "${end}"`);
        this.at++;
      }
      yield undefined;
      this.skipBlanks();
    }
    this.at++;
  }

  private string(): string {
    const start = this.at;
    let end = start + 1;
    while (end < this.text.length && this.text[end] !== '"') end += this.text[end] === "\\" ? 2 : 1;
    if (end >= this.text.length) this.fail("this string does not end", start);
    this.at = end + 1;
    try {
      return JSON.parse(this.text.slice(start, this.at)) as string;
    } catch (cause) {
      return this.fail("this string has a character or an escape that JSON does not allow", start, cause);
    }
  }

  private word(): null | boolean | number {
    const start = this.at;
    while (this.at < this.text.length && /[-+.\w]/.test(this.text[this.at])) this.at++;
    const word = this.text.slice(start, this.at);
    const known = words.get(word);
    if (known !== undefined) return known;
    if (word.length <= longestNumber && /^-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?$/.test(word)) return Number(word);
    return this.fail("expected a value", start);
  }

  private skipBlanks(): void {
    while (" \t\n\r".includes(this.text[this.at] ?? "end")) this.at++;
  }

  private fail(problem: string, position = this.at, cause?: unknown): never {
    const before = this.text.slice(0, position);
    const line = before.split("\n").length;
    const column = position - before.lastIndexOf("\n");
    const { op, file } = this.source;
    throw new FormatError({ op, problem: `${file}, line ${line}, column ${column}: ${problem}.`, cause });
  }
}

/**
 * A text as Python writes a config (`json.dumps(value, indent=2, sort_keys=True)` and a line's end): numbers under a key that
 * `isFloat` accepts are floats there, `1.0`, others are integers where they are whole and not -0. Of plain objects, lists, strings,
 * numbers, booleans and null.
 */
export function formatPythonJson(value: unknown, isFloat: (key: string) => boolean = () => false): string {
  const write = (part: unknown, asFloat: boolean, indent: string): string => {
    const inner = `${indent}  `;
    const block = (open: string, items: readonly string[], close: string): string =>
      items.length === 0
        ? open + close
        : `${open}\n${items.map((item) => inner + item).join(",\n")}\n${indent}${close}`;
    if (typeof part === "number") return asFloat || !isPythonInteger(part) ? pythonFloat(part) : String(part);
    if (typeof part === "string") return asciiString(part);
    if (Array.isArray(part)) return block("[", part.map((item) => write(item, asFloat, inner)), "]"); // prettier-ignore
    if (typeof part !== "object" || part === null) return String(part);
    const entries = Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1));
    const lines = entries.map(([key, item]) => `${asciiString(key)}: ${write(item, isFloat(key), inner)}`);
    return block("{", lines, "}");
  };
  return `${write(value, false, "")}\n`;
}

/** Whether an integer of Python's is this number: of zeros, only the one without a sign is. */
function isPythonInteger(value: number): boolean {
  return Number.isSafeInteger(value) && !Object.is(value, -0);
}

/** As Python's `repr` writes a float: the shortest digits that give it back, with an exponent below 1e-4 and from 1e16 on. */
function pythonFloat(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  if (Object.is(value, -0)) return "-0.0";
  const [digits, exponent] = value.toExponential().split("e");
  const power = Number(exponent);
  if (power < -4 || power >= 16) return `${digits}e${exponent[0]}${exponent.slice(1).padStart(2, "0")}`;
  return Number.isInteger(value) ? `${value}.0` : String(value);
}

function asciiString(text: string): string {
  const escape = (unit: string): string => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return JSON.stringify(text).replace(/[\u007f-\uffff]/g, escape);
}
