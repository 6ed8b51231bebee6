// The digits that come with the package, and what is said of a damaged file.

import { expect } from "chai";
import { digits, parseDigits } from "../../ts/data/digits.ts";
import { FormatError } from "../../ts/errors/index.ts";
import { failure } from "../failure.ts";

describe("digits", () => {
  it("are 1,797 pictures of 8x8 in [-1, 1] with their labels", () => {
    const { images, labels = new Int32Array(), shape } = digits();
    expect(shape).to.deep.equal([1797, 8, 8, 1]);
    expect(images).to.have.length(1797 * 64);
    let [low, high] = [Infinity, -Infinity];
    for (const value of images) [low, high] = [Math.min(low, value), Math.max(high, value)];
    expect([low, high]).to.deep.equal([-1, 1]);
    const counts = new Array<number>(10).fill(0);
    for (const label of labels) counts[label]++;
    expect(counts).to.deep.equal([178, 182, 177, 183, 181, 182, 181, 179, 174, 180]); // as scikit-learn's load_digits
  });

  it("begin with the zero that everybody knows", () => {
    const { images, labels = new Int32Array() } = digits();
    expect([...labels.subarray(0, 10)]).to.deep.equal([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect([...images.subarray(0, 8)]).to.deep.equal([0, 0, 5, 13, 9, 1, 0, 0].map((grey) => grey / 8 - 1));
  });

  it("are a new copy for each caller", () => {
    const first = digits();
    first.images.fill(7);
    expect(digits().images[0]).to.equal(-1);
  });

  const row = (changes: Record<number, string> = {}): string =>
    Array.from({ length: 65 }, (_, i) => changes[i] ?? "3").join(",");
  const damaged: [string, string][] = [
    ["a short line", "1,2,3"],
    ["a long line", `${row()},3`],
    ["a grey level above 16", row({ 5: "17" })],
    ["a negative grey level", row({ 5: "-1" })],
    ["a fraction", row({ 5: "1.5" })],
    ["a word", row({ 5: "x" })],
    ["an empty field", row({ 5: "" })],
    ["a label above 9", row({ 64: "10" })],
  ];
  for (const [name, line] of damaged)
    it(`refuse ${name}, naming the line`, () => {
      const error = failure(() => parseDigits(`${row()}\n${line}\n`, "here.csv"));
      expect(error).to.be.instanceOf(FormatError);
      expect(error.message).to.match(/^digits: line 2 of here\.csv is not 64 grey levels from 0 to 16 and a label/);
    });
});
