// The executor in plain TypeScript: the oracle of every test, and the fallback where nothing is compiled.

import { DeviceError } from "../../errors/index.ts";
import type { AnyOp } from "../../ops/index.ts";
import { opList } from "../../ops/index.ts";
import type {
  BufferId,
  Command,
  ElementArray,
  Executor,
  MemoryStats,
  Precision,
  Program,
  ProgramId,
  Replay,
  ReplayEnd,
  ReplayOptions,
} from "../executor.ts";
import { expectPrecision } from "../executor.ts";
import type { AnyKernel } from "./bound-command.ts";
import { Binder, execute } from "./bound-command.ts";
import { BufferTable, bytesOfArray } from "./buffers.ts";
import { kernels as ownKernels } from "./kernels/index.ts";
import { LoadedProgram, ProgramRun } from "./program.ts";
import { WorkQueue } from "./queue.ts";

/**
 * Runs commands on the calling thread as they are submitted. A replay goes on in the turns of the event loop; until it has
 * ended, what is submitted after it waits in a queue.
 */
export class TsExecutor implements Executor {
  readonly name = "ts";
  readonly threads = 1;
  readonly precisions: readonly Precision[] = ["float32"];
  readonly #buffers = new BufferTable();
  readonly #queue = new WorkQueue();
  readonly #binder: Binder;
  readonly #programs = new Map<ProgramId, LoadedProgram>();
  #lastProgram = 0;

  /** Refuses a table of kernels that does not fit the list of ops. */
  constructor(kernels: Readonly<Record<string, AnyKernel>> = ownKernels, ops: readonly AnyOp[] = opList) {
    expectSameNames(Object.keys(kernels), ops);
    this.#binder = new Binder(kernels, this.#buffers);
  }

  supports(): boolean {
    return true;
  }

  allocate(bytes: number): BufferId {
    return this.#buffers.allocate(bytes);
  }

  /** Commands that wait hold on to the memory itself, and to what is submitted later it is free at once. */
  release(buffer: BufferId): void {
    this.#buffers.release(buffer);
  }

  /** Throws what goes wrong in commands that run at once. Of commands that wait, the first failure ends their list. */
  submit(commands: readonly Command[]): void {
    if (this.#queue.idle) {
      for (const command of commands) execute(this.#binder.bind(command));
      return;
    }
    const bound = commands.map((command) => this.#binder.bindForLater(command));
    if (bound.length === 0) return;
    let next = 0;
    this.#queue.add(() => {
      execute(bound[next++]);
      return next === bound.length;
    });
  }

  write(buffer: BufferId, byteOffset: number, source: ElementArray): void {
    const target = this.#buffers.range("write", buffer, byteOffset, source);
    const bytes = bytesOfArray(source);
    if (this.#queue.idle) target.set(bytes);
    else this.#addCopy(target, bytes.slice());
  }

  async read(buffer: BufferId, byteOffset: number, target: ElementArray): Promise<void> {
    if (this.#queue.idle) return this.readSync(buffer, byteOffset, target);
    const source = this.#buffers.range("read", buffer, byteOffset, target);
    this.#addCopy(bytesOfArray(target), source);
    return this.#queue.settled();
  }

  readSync(buffer: BufferId, byteOffset: number, target: ElementArray): void {
    const source = this.#buffers.range("read", buffer, byteOffset, target);
    this.#queue.drain();
    bytesOfArray(target).set(source);
    const failure = this.#queue.takeFailure();
    if (failure) throw failure;
  }

  /** Even where nothing waits, work was done on this thread: the event loop gets a turn, for timers and aborts. */
  async synchronize(): Promise<void> {
    if (!this.#queue.idle) return this.#queue.settled();
    const failure = this.#queue.takeFailure();
    await new Promise((resolve) => setImmediate(resolve));
    if (failure) throw failure;
  }

  memory(): MemoryStats {
    return this.#buffers.stats();
  }

  load(program: Program): ProgramId {
    expectPrecision("load", this, program.precision ?? "float32");
    const loaded = new LoadedProgram(program, this.#binder);
    this.#programs.set(++this.#lastProgram, loaded);
    return this.#lastProgram;
  }

  unload(program: ProgramId): void {
    this.#program("unload", program);
    this.#programs.delete(program);
  }

  /** Throws what goes wrong where it runs at once, as `submit` does. */
  run(program: ProgramId, values: Float64Array): void {
    const run = new ProgramRun("run", this.#program("run", program), { steps: 1, values });
    const work = (): boolean => {
      const done = run.advance();
      if (done) run.throwFailure();
      return done;
    };
    if (!this.#queue.idle) this.#queue.add(work);
    else while (!work());
  }

  /** An exception in `onProgress` is an uncaught one, as in any callback of the event loop; the replay goes on. */
  replay(program: ProgramId, { onProgress, ...options }: ReplayOptions): Replay {
    const run = new ProgramRun("replay", this.#program("replay", program), options);
    let announced = false;
    const tellProgress = (): void => {
      announced = false;
      onProgress?.(run.steps);
    };
    const ended = new Promise<ReplayEnd>((resolve) => {
      this.#queue.add(() => {
        const before = run.steps;
        const done = run.advance();
        if (onProgress && run.steps > before && !announced) {
          announced = true;
          this.#queue.tell(tellProgress);
        }
        if (done) this.#queue.tell(() => resolve(run.end));
        return done;
      });
    });
    return { ended, stop: () => (run.stopped = true) };
  }

  #addCopy(target: Uint8Array, source: Uint8Array): void {
    this.#queue.add(() => {
      target.set(source);
      return true;
    });
  }

  #program(op: string, id: ProgramId): LoadedProgram {
    const program = this.#programs.get(id);
    if (!program) throw new DeviceError({ op, problem: `program ${id} does not exist.` });
    return program;
  }
}

function expectSameNames(kernels: readonly string[], ops: readonly AnyOp[]): void {
  const expected = new Set(ops.filter((op) => !op.view).map((op) => op.name));
  const missing = [...expected].filter((name) => !kernels.includes(name));
  const extra = kernels.filter((name) => !expected.has(name));
  if (missing.length > 0 || extra.length > 0)
    throw new DeviceError({
      op: "TsExecutor",
      problem: `kernels do not fit the ops: missing [${missing.join(", ")}], without an op [${extra.join(", ")}].`,
      advice: "Every op that is no view needs one kernel in ts/device/ts/kernels/index.ts.",
    });
}
