// The progress line, with a clock and a stream of the test's own.

import { expect } from "chai";
import type { ProgressStream } from "../../ts/train/progress.ts";
import { Progress, showDuration } from "../../ts/train/progress.ts";

/** A stream that keeps what is written, and a clock that moves when told. */
function stage(terminal?: { columns?: number }) {
  const written: string[] = [];
  const stream: ProgressStream = {
    isTTY: terminal !== undefined,
    columns: terminal?.columns ?? 80,
    write: (text) => written.push(text),
  };
  const clock = { time: 1000 };
  return { written, clock, options: { stream, now: () => clock.time } };
}

/** Runs iterations `from` + 1 to `to`, each taking so many milliseconds. */
function run(
  progress: Progress,
  clock: { time: number },
  from: number,
  to: number,
  each: number,
  loss = 0.04123,
): void {
  for (let i = from + 1; i <= to; i++) {
    clock.time += each;
    progress.update(i, loss);
  }
}

describe("Progress", () => {
  it("prints plain lines now and then, and always a last one", () => {
    const { written, clock, options } = stage();
    const progress = new Progress({ total: 2000, ...options });
    run(progress, clock, 0, 1499, 10);
    progress.finish();
    expect(written).to.deep.equal([
      "iteration    1/2000  loss 0.04123\n",
      "iteration  501/2000  loss 0.04123  100 it/s  ETA 0:15\n",
      "iteration 1001/2000  loss 0.04123  100 it/s  ETA 0:10\n",
      "iteration 1499/2000  loss 0.04123  100 it/s  took 0:15\n",
    ]);
  });

  it("rewrites one line on a terminal and ends it", () => {
    const { written, clock, options } = stage({});
    const progress = new Progress({ total: 100, ...options });
    run(progress, clock, 0, 50, 40);
    expect(written.length).to.be.within(10, 20); // at most ten a second for two seconds
    for (const text of written) expect(text).to.match(/^\r[^\n\r]*\x1b\[K$/); // eslint-disable-line no-control-regex
    expect(written.at(-1)).to.equal("\riteration  49/100  loss 0.04123  25.0 it/s  ETA 0:02\x1b[K");
    progress.finish();
    progress.finish();
    expect(written.slice(-2)).to.deep.equal(["\riteration  50/100  loss 0.04123  25.0 it/s  took 0:02\x1b[K", "\n"]);
  });

  it("never wraps on a narrow terminal", () => {
    const { written, clock, options } = stage({ columns: 20 });
    const progress = new Progress({ total: 100, ...options });
    run(progress, clock, 0, 5, 1000);
    expect(written.at(-1)).to.equal("\riteration   5/100  \x1b[K");
  });

  it("shows the speed of the last seconds, not of the whole run", () => {
    const { written, clock, options } = stage();
    const progress = new Progress({ total: 10_000, ...options });
    run(progress, clock, 0, 1000, 10);
    run(progress, clock, 1000, 1200, 100);
    expect(written.at(-1)).to.match(/ {2}10\.0 it\/s {2}ETA 14:\d\d\n$/);
    progress.finish();
    expect(written.at(-1)).to.include("  40.0 it/s  took 0:30\n");
  });

  it("tells seconds an iteration where they are long", () => {
    const { written, clock, options } = stage();
    const progress = new Progress({ total: 1000, ...options });
    run(progress, clock, 0, 3, 12_500, 1.5e-7);
    expect(written.at(-1)).to.equal("iteration    3/1000  loss 1.500e-7  12.5 s/it  ETA 3:27:43\n");
  });

  it("shows losses that are none", () => {
    const { written, options } = stage();
    const progress = new Progress({ total: 9, ...options });
    progress.update(1, NaN);
    progress.finish();
    expect(written).to.deep.equal(["iteration 1/9  loss NaN\n", "iteration 1/9  loss NaN  took 0:00\n"]);
  });

  it("goes without losses, as sampling does", () => {
    const { written, clock, options } = stage();
    const progress = new Progress({ total: 1000, ...options });
    run(progress, clock, 0, 0, 1);
    clock.time += 2000;
    progress.update(500);
    progress.finish();
    expect(written).to.deep.equal([
      "iteration  500/1000  250 it/s  ETA 0:02\n",
      "iteration  500/1000  250 it/s  took 0:02\n",
    ]);
  });

  it("survives a run that does nothing", () => {
    const { written, options } = stage();
    new Progress({ total: 0, ...options }).finish();
    expect(written).to.deep.equal(["iteration 0/0  took 0:00\n"]);
  });

  it("writes durations as clocks do", () => {
    expect([0, 0.4, 59.6, 107, 3599.4, 3600, 7500, 360_000].map(showDuration)).to.deep.equal([
      "0:00",
      "0:00",
      "1:00",
      "1:47",
      "59:59",
      "1:00:00",
      "2:05:00",
      "100:00:00",
    ]);
  });
});
