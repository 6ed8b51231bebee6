// The arena: what is in use at the same time never overlaps, nothing reaches beyond its size, and that is small.

import { expect } from "chai";
import fc from "fast-check";
import type { Tenant } from "../../ts/plan/arena.ts";
import { arenaAlignment, arrange } from "../../ts/plan/arena.ts";

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
  it("keeps apart what is in use at the same time, aligned and within its size", () => {
    fc.assert(
      fc.property(tenants, (all) => {
        const { offsets, bytes } = arrange(all);
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
