// ImageSet: shuffled epochs, batches that run over their ends, labels, and what is refused.

import { expect } from "chai";
import { ArgumentError, ImageSet, ShapeError, scope, setDefaultDType } from "langevin";
import type { Batches } from "langevin";
import { failure } from "../failure.ts";
import { liveMemory, onEveryDevice, referencedMemory } from "../tensor/devices.ts";

const count = 10;

/** Image k is 2x1 with elements k and -k, and has the label 100 + k. */
function numbered(labelled = true): ImageSet {
  return new ImageSet({
    images: Float32Array.from({ length: 2 * count }, (_, i) => (i % 2 === 0 ? 1 : -1) * Math.floor(i / 2)),
    shape: [count, 2, 1, 1],
    labels: labelled ? Int32Array.from({ length: count }, (_, k) => 100 + k) : undefined,
  });
}

function imagesOf(batches: Batches, iteration: number, seed = 1n): number[] {
  return scope(() => {
    const values = [batches.batch(iteration, seed).x0.toArray()].flat(9) as number[];
    values.forEach((value, i) => {
      if (i % 2 === 1) expect(value).to.equal(0 - values[i - 1]);
    });
    return values.filter((_, i) => i % 2 === 0);
  });
}

const everyImage = Array.from({ length: count }, (_, k) => k);
const sorted = (list: readonly number[]): number[] => [...list].sort((a, b) => a - b);

onEveryDevice("ImageSet", (device) => {
  it("visits each image once in an epoch, in an order that changes", () => {
    const batches = numbered().batches(5);
    const epochs = [0, 1, 2].map((epoch) => [...imagesOf(batches, 2 * epoch), ...imagesOf(batches, 2 * epoch + 1)]);
    for (const epoch of epochs) expect(sorted(epoch)).to.deep.equal(everyImage);
    expect(new Set(epochs.map(String)).size).to.equal(3);
    expect(epochs[0]).not.to.deep.equal(everyImage);
  });

  it("runs batches over the ends of epochs", () => {
    const batches = numbered().batches(4);
    const sequence = [0, 1, 2, 3, 4].flatMap((iteration) => imagesOf(batches, iteration));
    expect(sequence).to.have.length(20);
    expect(sorted(sequence.slice(0, 10))).to.deep.equal(everyImage);
    expect(sorted(sequence.slice(10))).to.deep.equal(everyImage);
  });

  it("cuts the same sequence into batches of any size", () => {
    const of = (size: number, batches: number): number[] =>
      Array.from({ length: batches }, (_, i) => imagesOf(numbered().batches(size), i)).flat();
    expect(of(6, 5)).to.deep.equal(of(3, 10));
    expect(of(25, 1)).to.deep.equal(of(5, 5)); // a batch of several epochs
  });

  it("gives the same batch for the same iteration and seed, in any order, and another for another seed", () => {
    const [a, b] = [numbered().batches(4), numbered().batches(4)];
    const forwards = [0, 1, 2, 3].map((i) => imagesOf(a, i));
    const backwards = [3, 2, 1, 0].map((i) => imagesOf(b, i)).reverse();
    expect(backwards).to.deep.equal(forwards);
    expect([0, 1, 2, 3].map((i) => imagesOf(a, i, 2n))).not.to.deep.equal(forwards);
  });

  it("gives each image its own label", () => {
    const batches = numbered().batches(7);
    for (const iteration of [0, 1, 2]) {
      const { x0, labels } = batches.batch(iteration, 3n);
      const images = [x0.toArray()].flat(9) as number[];
      expect([labels!.dtype, labels!.shape, x0.shape]).to.deep.equal(["int32", [7], [7, 2, 1, 1]]);
      expect(labels!.toArray()).to.deep.equal(images.filter((_, i) => i % 2 === 0).map((k) => 100 + k));
    }
    expect(numbered(false).batches(2).batch(0, 0n).labels).to.equal(undefined);
  });

  it("repeats its only image", () => {
    const one = new ImageSet({ images: new Float32Array([3, 4]), shape: [1, 1, 2, 1] });
    expect(one.batches(3).batch(5, 1n).x0.toArray()).to.deep.equal(new Array(3).fill([[[3], [4]]]));
  });

  it("makes subsets", () => {
    const part = numbered().subset(2, 5);
    expect([part.count, part.shape, [...part.labels!]]).to.deep.equal([3, [3, 2, 1, 1], [102, 103, 104]]);
    expect(sorted(imagesOf(part.batches(3), 0))).to.deep.equal([2, 3, 4]);
    for (const [start, stop] of [
      [-1, 2],
      [2, 2],
      [0, 11],
      [0.5, 2],
    ])
      // prettier-ignore
      expect(failure(() => numbered().subset(start, stop))).to.be.instanceOf(ArgumentError);
  });

  it("goes to the device once, and frees its batches", async () => {
    const batches = numbered().batches(4);
    scope(() => {
      batches.batch(0, 1n, device);
    });
    const before = await referencedMemory();
    for (let i = 0; i < 5; i++)
      scope(() => {
        batches.batch(i, 1n, device);
      });
    expect(await liveMemory()).to.deep.equal(before);
  });

  it("refuses sizes that do not fit", () => {
    const images = new Float32Array(8);
    expect(failure(() => new ImageSet({ images, shape: [3, 2, 1, 1] })).message).to.equal(
      "ImageSet: 8 elements for shape [3, 2, 1, 1]. The shape is [count, height, width, channels], with at least one image.",
    );
    expect(failure(() => new ImageSet({ images: new Float32Array(0), shape: [0, 2, 1, 1] }))).to.be.instanceOf(
      ShapeError,
    );
    expect(failure(() => new ImageSet({ images, shape: [4, 2, 1, 1], labels: new Int32Array(3) })).message).to.equal(
      "ImageSet: 3 labels for 4 images.",
    );
    for (const size of [0, -1, 1.5]) expect(failure(() => numbered().batches(size))).to.be.instanceOf(ArgumentError);
  });
});

describe("ImageSet under another default dtype", () => {
  after(() => {
    setDefaultDType("float32");
  });

  it("gives batches of that dtype", () => {
    const batches = numbered().batches(2);
    expect(batches.batch(0, 1n, "ts").x0.dtype).to.equal("float32");
    setDefaultDType("float64");
    expect(batches.batch(0, 1n, "ts").x0.dtype).to.equal("float64");
    setDefaultDType("float32");
    expect(batches.batch(0, 1n, "ts").x0.dtype).to.equal("float32");
  });
});
