// A process that is measured, as the measuring one sees it: started, asked for rounds, ended.

import type { ChildProcessByStdio } from "node:child_process";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import type { Ended, Job, Ready, Round, RoundTimes } from "./protocol.ts";

/** How a library's process is started. */
export interface Launch {
  /** The library, as in results: langevin, torch, torch-tuned, onnxruntime-node. */
  readonly peer: string;
  readonly command: string;
  /** Before the job, which is the last argument. */
  readonly args: readonly string[];
  /** Beside the variables of this process; those that are undefined are not handed on. */
  readonly env?: Readonly<Record<string, string | undefined>>;
}

/** A library at work on a task. */
export class Competitor {
  readonly peer: string;
  private readonly child: ChildProcessByStdio<Writable, Readable, Readable>;
  private readonly answers: AsyncIterator<string>;
  private complaints = "";

  constructor({ peer, command, args, env }: Launch, job: Job) {
    this.peer = peer;
    this.child = spawn(command, [...args, JSON.stringify(job)], {
      stdio: ["pipe", "pipe", "pipe"],
      env: { ...process.env, ...env },
    });
    this.child.stderr.setEncoding("utf8").on("data", (text: string) => (this.complaints += text));
    this.child.stdin.on("error", () => undefined); // its end is told by its answers, which end as well
    this.child.on("error", ({ message }) => (this.complaints += message));
    this.answers = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
  }

  /** Resolves when it is set up and warm; throws with what it complained of if it ended before. */
  ready(): Promise<Ready> {
    return this.answer<Ready>();
  }

  /** Has it run for a while. */
  run(round: Round): Promise<RoundTimes> {
    this.child.stdin.write(`${JSON.stringify(round)}\n`);
    return this.answer<RoundTimes>();
  }

  /** Ends it; how much memory it took. */
  end(): Promise<Ended> {
    this.child.stdin.end();
    return this.answer<Ended>();
  }

  /** Ends it at once, if it still runs. */
  stop(): void {
    this.child.kill();
  }

  private async answer<T>(): Promise<T> {
    const answer = await this.answers.next();
    if (answer.done !== true) return JSON.parse(answer.value) as T;
    if (this.child.exitCode === null && this.child.signalCode === null)
      await new Promise((resolve) => this.child.once("close", resolve));
    throw new Error(reasonIn(this.complaints) || `the process ended with exit code ${this.child.exitCode}`);
  }
}

/** The line of an error's output that says what is wrong: the error's own in JavaScript, the last one in Python. */
function reasonIn(complaints: string): string {
  const lines = complaints.split("\n").map((line) => line.trim());
  const error = lines.find((line) => /^[\w.]*Error\b.*:/.test(line)) ?? lines.findLast((line) => line !== "") ?? "";
  return error.replace(/^Error: |\.$/g, "");
}
