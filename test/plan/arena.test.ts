// The arena: what is in use at the same time never overlaps, nothing reaches beyond its size, and that is small.

import { expect } from "chai";
import fc from "fast-check";
import type { Tenant } from "../../ts/plan/arena.ts";
import { arenaAlignment, arrange, arrangeSideBySide } from "../../ts/plan/arena.ts";

const size = fc.oneof(fc.nat(3000), fc.constant(0), fc.nat(2 ** 20));
const tenant = fc
  .tuple(size, fc.nat(30), fc.nat(12))
  .map(([bytes, start, length]): Tenant => ({ bytes, start, end: start + length }));
const tenants = fc.array(tenant, { maxLength: 40 });

/** Whether two are in use at the same time, both ends included. */
const meet = (a: Tenant, b: Tenant): boolean => a.start <= b.end && b.start <= a.end;

/** What a tenant takes at least: its bytes, up to where the next one may begin. */
const taken = ({ bytes }: Tenant): number => Math.max(1, Math.ceil(bytes / arenaAlignment)) * arenaAlignment;

/** The most that is in use at one time. */
const leastBytes = (all: readonly Tenant[]): number =>
  Math.max(
    0,
    ...all.map(({ start }) =>
      all.filter((t) => t.start <= start && start <= t.end).reduce((sum, t) => sum + taken(t), 0),
    ),
  );

describe("arena", () => {
  for (const [way, arranged] of Object.entries({ tight: arrange, "for commands side by side": arrangeSideBySide }))
    it(`keeps apart what is in use at the same time, aligned and within its size: ${way}`, () => {
      fc.assert(
        fc.property(tenants, (all) => {
          const { offsets, bytes } = arranged(all);
          expect(offsets).to.have.length(all.length);
          all.forEach((a, i) => {
            expect(offsets[i] % arenaAlignment).to.equal(0);
            expect(offsets[i] + a.bytes).to.be.at.most(bytes);
            for (const [k, b] of all.entries()) {
              if (k >= i || !meet(a, b)) continue;
              const apart = offsets[i] + a.bytes <= offsets[k] || offsets[k] + b.bytes <= offsets[i];
              expect(apart && offsets[i] !== offsets[k], `tenants ${k} and ${i}`).to.equal(true);
            }
          });
        }),
      );
    });

  describe("for commands side by side", () => {
    const inTurn = (sizes: readonly number[]): Tenant[] =>
      sizes.map((bytes, i) => ({ bytes, start: 2 * i, end: 2 * i + 1 }));
    const kib = 2 ** 10;

    it("uses no place of a small tenant again while there is memory for that", () => {
      const { offsets, bytes } = arrangeSideBySide(inTurn([kib, 3 * kib, 1024 * kib, 2 * kib]));
      expect(new Set(offsets).size).to.equal(4);
      expect(bytes).to.equal(1030 * kib);
    });

    it("uses those of large ones", () => {
      const all = inTurn([2048 * kib, 1025 * kib, 4096 * kib]);
      expect(arrangeSideBySide(all)).to.deep.equal(arrange(all));
    });

    it("uses those of the larger of the small ones where they would take more than 64 MiB, and of all in the end", () => {
      const many = (size: number, count: number): Tenant[] => inTurn(new Array<number>(count).fill(size));
      expect(arrangeSideBySide(many(1024 * kib, 64)).bytes).to.equal(64 * 1024 * kib);
      expect(arrangeSideBySide(many(1024 * kib, 65)).bytes).to.equal(1024 * kib);
      expect(arrangeSideBySide(many(64 * kib, 1024)).bytes).to.equal(64 * 1024 * kib);
      expect(arrangeSideBySide(many(64 * kib, 1025)).bytes).to.equal(64 * kib);
    });

    it("takes an eighth more than it must where that is more", () => {
      const large: Tenant = { bytes: 800 * 1024 * kib, start: 0, end: 1000 };
      const small = (count: number): Tenant[] => inTurn(new Array<number>(count).fill(1024 * kib));
      expect(arrangeSideBySide([large, ...small(101)]).bytes).to.equal(901 * 1024 * kib);
      expect(arrangeSideBySide([large, ...small(102)]).bytes).to.equal(801 * 1024 * kib);
    });
  });

  it("is at least what is in use at one time, at most all side by side, and no larger than the last one's end", () => {
    fc.assert(
      fc.property(tenants, (all) => {
        const { offsets, bytes } = arrange(all);
        expect(bytes).to.be.at.least(leastBytes(all));
        expect(bytes).to.be.at.most(all.reduce((sum, t) => sum + taken(t), 0));
        expect(bytes).to.equal(Math.max(0, ...all.map((t, i) => offsets[i] + taken(t))));
      }),
    );
  });

  it("is what is in use at one time where lives are nested, as those of forward and backward are", () => {
    const nested = fc
      .array(size, { minLength: 1, maxLength: 30 })
      .map((sizes): Tenant[] => sizes.map((bytes, i) => ({ bytes, start: i, end: 2 * sizes.length - i })));
    fc.assert(
      fc.property(nested, (all) => {
        expect(arrange(all).bytes).to.equal(leastBytes(all));
      }),
    );
  });

  it("is what is in use at one time where all are of one size and begin in order", () => {
    const equal = fc
      .tuple(fc.integer({ min: 1, max: 2000 }), tenants)
      .map(([bytes, all]): Tenant[] => all.map((t) => ({ ...t, bytes })).sort((a, b) => a.start - b.start));
    fc.assert(
      fc.property(equal, (all) => {
        expect(arrange(all).bytes).to.equal(leastBytes(all));
      }),
    );
  });

  it("is what is in use at one time in a chain of falling or rising sizes, each made from the one before", () => {
    const chain = fc
      .tuple(fc.uniqueArray(size, { minLength: 1, maxLength: 30 }), fc.boolean())
      .map(([sizes, rising]) => {
        sizes.sort((a, b) => (rising ? a - b : b - a));
        return sizes.map((bytes, i): Tenant => ({ bytes, start: i, end: i + 1 }));
      });
    fc.assert(
      fc.property(chain, (all) => {
        expect(arrange(all).bytes).to.equal(leastBytes(all));
      }),
    );
  });

  it("is empty without tenants, and the same each time", () => {
    expect(arrange([])).to.deep.equal({ offsets: [], bytes: 0 });
    fc.assert(
      fc.property(tenants, (all) => {
        expect(arrange(all)).to.deep.equal(arrange(all));
      }),
    );
  });
});
