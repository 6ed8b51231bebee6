// The queue of the `ts` device: work that waits for its turn on the main thread, and what callers are then told, in order.

/** Does the next piece of some work, and says whether that was the last one. */
export type Work = () => boolean;

/** After so long the event loop has its turn: a 60th of a second still has room for other things. */
const sliceMilliseconds = 5;

/** So many may wait. The next caller blocks until all is done, as on a device with a thread, rather than fill the memory. */
const maxWaiting = 16_384;

/**
 * Does work in the order in which it was added, in slices between the turns of the event loop. Nobody is told anything in
 * the middle of work: news waits for the event loop, so that a caller who blocks is not called back meanwhile.
 */
export class WorkQueue {
  /** A Set, because work leaves at the front while more joins at the back. */
  readonly #waiting = new Set<Work>();
  readonly #news: (() => void)[] = [];
  #failure: Error | undefined;
  #scheduled = false;

  /** Whether no work waits, so that what comes next may be done at once. */
  get idle(): boolean {
    return this.#waiting.size === 0;
  }

  /** Appends work, which must be a function of its own. What it throws ends it, and is kept for `takeFailure`. */
  add(work: Work): void {
    if (this.#waiting.size >= maxWaiting) this.drain();
    this.#waiting.add(work);
    this.#schedule();
  }

  /** Does all work that waits, and blocks the event loop meanwhile. */
  drain(): void {
    this.#workUntil(Infinity);
  }

  /** Calls `news` on the event loop, after all that was to be told before. What it throws is an uncaught exception. */
  tell(news: () => void): void {
    this.#news.push(news);
    this.#schedule();
  }

  /** Resolves once all work is done that was added before; rejects with what went wrong in it. */
  settled(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.add(() => {
        const failure = this.takeFailure();
        this.tell(() => (failure ? reject(failure) : resolve()));
        return true;
      });
    });
  }

  /** The first failure of the work done so far that nobody was told of. It counts as told then. */
  takeFailure(): Error | undefined {
    const failure = this.#failure;
    this.#failure = undefined;
    return failure;
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => this.#turn());
  }

  #turn(): void {
    this.#scheduled = false;
    this.#workUntil(performance.now() + sliceMilliseconds);
    this.#tellAll();
    if (!this.idle) this.#schedule();
  }

  #workUntil(deadline: number): void {
    for (const work of this.#waiting) {
      for (let done = false; !done;) {
        done = this.#doPiece(work);
        if (done) this.#waiting.delete(work);
        if (performance.now() >= deadline) return;
      }
    }
  }

  #doPiece(work: Work): boolean {
    try {
      return work();
    } catch (error) {
      this.#failure ??= error as Error;
      return true;
    }
  }

  /** Tells what there is, and what comes up meanwhile: whoever is told may well block on this queue. */
  #tellAll(): void {
    for (const news of this.#news) {
      try {
        news();
      } catch (error) {
        // Thrown where nothing of the queue is in its way, as from any other callback of the event loop.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
    this.#news.length = 0;
  }
}
