// Python's JSON: what is read, what is refused and where, and that texts are written as Python writes them.

import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { expect } from "chai";
import fc from "fast-check";
import { FormatError } from "../../ts/errors/index.ts";
import { formatPythonJson, parsePythonJson } from "../../ts/io/python-json.ts";
import { failure } from "../failure.ts";

const parse = (text: string): unknown => parsePythonJson(text, { op: "test", file: "a.json" });

describe("parsePythonJson", () => {
  it("reads what JSON.parse reads", () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        expect(parse(text)).to.deep.equal(JSON.parse(text));
      }),
    );
    for (const text of [' \t\r\n[1 , -0.5e+3,\n{"a":"\\u00e9\\n"} ]\n', '""', "0", "{}", "[]", '{"__proto__":1}'])
      expect(parse(text), text).to.deep.equal(JSON.parse(text));
    expect(Object.keys(parse('{"__proto__":{"a":1}}') as object)).to.deep.equal(["__proto__"]);
  });

  it("reads Python's numbers that JSON lacks, as numbers", () => {
    expect(parse('{"a": -Infinity, "b": [Infinity, NaN]}')).to.deep.equal({ a: -Infinity, b: [Infinity, NaN] });
    expect(parse('"-Infinity"')).to.equal("-Infinity");
  });

  const refused: readonly (readonly [name: string, text: string, where: string, problem: string])[] = [
    ["nothing", "", "line 1, column 1", "expected a value"],
    ["two values", "{} {}", "line 1, column 4", "expected the end of the file"],
    ["a comma at the end", '{\n  "a": 1,\n}', "line 3, column 1", 'expected a key in "'],
    ["a comma at the end of a list", "[1,]", "line 1, column 4", "expected a value"],
    ["a comma missing", '{"a": 1\n "b": 2}', "line 2, column 2", 'expected "," or "}"'],
    ["a colon missing", '{"a" 1}', "line 1, column 6", 'expected ":"'],
    ["a bracket missing", "[1, 2", "line 1, column 6", 'expected "," or "]"'],
    ["the wrong bracket", "[1}", "line 1, column 3", 'expected "," or "]"'],
    ["a key without quotes", "{a: 1}", "line 1, column 2", 'expected a key in "'],
    ["single quotes", "['a']", "line 1, column 2", "expected a value"],
    ["a key twice", '{"a": 1,\n "a": 2}', "line 2, column 2", 'the key "a" is given twice'],
    ["a key twice in other words", '{"a": 1, "\\u0061": 2}', "line 1, column 10", 'the key "a" is given twice'],
    ["a string without end", '["abc\\"', "line 1, column 2", "this string does not end"],
    ["a line's end in a string", '"a\nb"', "line 1, column 1", "this string has a character or an escape that JSON does not allow"],
    ["an unknown escape", '"\\x41"', "line 1, column 1", "this string has a character or an escape that JSON does not allow"],
    ["a number with a leading zero", "[01]", "line 1, column 2", "expected a value"],
    ["a number with a plus", "+1", "line 1, column 1", "expected a value"],
    ["half a number", "[1.]", "line 1, column 2", "expected a value"],
    ["minus NaN", "-NaN", "line 1, column 1", "expected a value"],
    ["a word of JavaScript", "undefined", "line 1, column 1", "expected a value"],
    ["a word of Python", "None", "line 1, column 1", "expected a value"],
    ["a comment", "// x\n1", "line 1, column 1", "expected a value"],
    ["a mark of byte order", "\ufeff{}", "line 1, column 1", "expected a value"],
    ["a number of endless digits", "1".repeat(5000), "line 1, column 1", "expected a value"],
    ["65 levels", "[".repeat(100_000), "line 1, column 65", "nested deeper than 64 levels"],
  ]; // prettier-ignore

  for (const [name, text, where, problem] of refused)
    it(`refuses ${name}`, () => {
      const error = failure(() => parse(text));
      expect(error).to.be.instanceOf(FormatError);
      expect(error.message).to.equal(`test: a.json, ${where}: ${problem}.`);
    });
});

describe("formatPythonJson", () => {
  it("writes numbers as Python does", () => {
    const floats: readonly (readonly [number, string])[] = [
      [0, "0.0"],
      [-0, "-0.0"],
      [1, "1.0"],
      [1e-4, "0.0001"],
      [1e-5, "1e-05"],
      [9.999e-5, "9.999e-05"],
      [0.1, "0.1"],
      [1e15, "1000000000000000.0"],
      [1e16, "1e+16"],
      [123456789012345680, "1.2345678901234568e+17"],
      [5e-324, "5e-324"],
      [Number.MAX_VALUE, "1.7976931348623157e+308"],
      [-2.5e-7, "-2.5e-07"],
      [100.25, "100.25"],
      [-Infinity, "-Infinity"],
      [NaN, "NaN"],
    ];
    for (const [value, text] of floats)
      expect(formatPythonJson({ x: value }, () => true)).to.equal(`{\n  "x": ${text}\n}\n`);
    expect(formatPythonJson([1, 1000, 0.5, -3, 0, -0])).to.equal("[\n  1,\n  1000,\n  0.5,\n  -3,\n  0,\n  -0.0\n]\n");
    expect(formatPythonJson({ x: [1, 2], n: 1 }, (key) => key === "x")).to.equal(
      '{\n  "n": 1,\n  "x": [\n    1.0,\n    2.0\n  ]\n}\n',
    );
  });

  it("writes the rest as Python does: keys in order, all beyond ASCII escaped", () => {
    const value = { 'é\u2028\x7f😀"\\\n\x01': [], a: {}, A: [1, [2, { x: null }]], b: [true, false, "x"] };
    expect(formatPythonJson(value)).to.equal(
      '{\n  "A": [\n    1,\n    [\n      2,\n      {\n        "x": null\n      }\n    ]\n  ],\n  "a": {},\n' +
        '  "b": [\n    true,\n    false,\n    "x"\n  ],\n  "\\u00e9\\u2028\\u007f\\ud83d\\ude00\\"\\\\\\n\\u0001": []\n}\n',
    );
  });

  it("is read back as it was", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.boolean(), (value, asFloat) => {
        expect(parse(formatPythonJson(value, () => asFloat))).to.deep.equal(value);
      }),
    );
  });

  it("gives back the text of files that diffusers wrote, read without knowing their types", () => {
    const folder = resolve(import.meta.dirname, "../golden/unet2d/tiny");
    const text = readFileSync(resolve(folder, "unet/config.json"), "utf8");
    expect(formatPythonJson(parse(text), (key) => ["dropout", "norm_eps"].includes(key))).to.equal(text);
  });
});
