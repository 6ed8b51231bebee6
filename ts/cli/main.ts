// The command `langevin`: its subcommands, their help, and what they answer to mistakes.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Argument, Command, CommanderError, InvalidArgumentError, Option } from "commander";
import type { BuildWishes } from "../device/native/addon.ts";
import { packageRoot } from "../device/native/addon.ts";
import { LangevinError } from "../errors/index.ts";
import type { ProgramOptions } from "./program-options.ts";
import { addProgramOptions, folder, toArguments } from "./program-options.ts";
import { buildAddon, startProgram } from "./start-program.ts";

/** What the commands act on; tests put their own in place. */
export interface Surroundings {
  /** Starts an example program and resolves with its exit code. */
  readonly start: (name: string, args: readonly string[]) => Promise<number>;
  /** Compiles the addon and resolves with the exit code. */
  readonly build: (wishes: BuildWishes) => Promise<number>;
  /** Prints what works on this machine, as JSON if wanted, and resolves with the exit code. */
  readonly doctor: (json: boolean) => Promise<number>;
  readonly writeOut: (text: string) => void;
  readonly writeError: (text: string) => void;
}

const realSurroundings: Surroundings = {
  start: startProgram,
  build: buildAddon,
  // Loaded when it is wanted: it is the only command that needs tensors in this process.
  doctor: async (json) => (await import("./doctor.ts")).doctor(json, (text) => process.stdout.write(text)),
  writeOut: (text) => process.stdout.write(text),
  writeError: (text) => process.stderr.write(text),
};

/** Files in examples/ that `langevin example` starts. */
const exampleNames = ["class-conditional", "compare-schedulers", "editing", "load-pipeline"] as const;

/** Exit code of a command line that makes no sense. */
const usageError = 2;

/** Runs a command line (without `node` and the script) and resolves with its exit code. */
export async function main(args: readonly string[], surroundings: Surroundings = realSurroundings): Promise<number> {
  let exitCode = 0;
  const program = createProgram(surroundings, (code) => (exitCode = code));
  try {
    await program.parseAsync(args, { from: "user" });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : usageError; // its text is printed already
    if (!(error instanceof LangevinError)) throw error;
    surroundings.writeError(`${error.message}\n`);
    return 1;
  }
}

function createProgram(surroundings: Surroundings, end: (code: number) => void): Command {
  const program = new Command("langevin")
    .description("Train and sample diffusion models from TypeScript, at the speed of the machine.")
    .version(packageVersion(), "--version", "print the version")
    .helpOption("--help", "print this help")
    .helpCommand(false)
    .showHelpAfterError("(langevin --help lists commands and options)")
    .configureOutput({ writeOut: surroundings.writeOut, writeErr: surroundings.writeError })
    .exitOverride();

  const tutorial = program
    .command("tutorial")
    .description(
      "run a program of the DDPM tutorial: a (sampling), b (overfitting one picture), c (a U-Net that samples)",
    )
    .addArgument(new Argument("<part>", "which program").choices(["a", "b", "c"]))
    .action(async (part: string, options: ProgramOptions) => {
      end(await surroundings.start(`tutorial-${part}`, toArguments(options)));
    });
  addProgramOptions(tutorial);

  const demo = program
    .command("demo")
    .description("train a U-Net on real handwritten digits and draw new ones")
    .option("--sample-only", "draw from the weights of an earlier run")
    .action(async (options: ProgramOptions) => {
      end(await surroundings.start("demo", toArguments(options)));
    });
  addProgramOptions(demo);

  const example = program
    .command("example")
    .description("run an example: classes and guidance, twelve schedulers, a folder of diffusers, edited pictures")
    .addArgument(new Argument("<name>", "which program").choices(exampleNames))
    .option("--model <folder>", "where the model lies", folder)
    .option("--sample-only", "draw from the model of an earlier run (class-conditional)")
    .action(async (name: string, options: ProgramOptions) => {
      end(await surroundings.start(name, toArguments(options)));
    });
  addProgramOptions(example);

  program
    .command("doctor")
    .description("say which devices work here, why others do not, and what to do about it")
    .option("--json", "print one JSON object")
    .action(async ({ json = false }: { json?: boolean }) => {
      end(await surroundings.doctor(json));
    });

  program
    .command("build")
    .description("compile the native addon again, and show what the compilers say")
    .addOption(
      new Option("--cuda <wish>", "with CUDA, or fail (on); without (off); default: where there is a toolkit").choices([
        "on",
        "off",
      ]),
    )
    .option(
      "--arch <list>",
      'GPUs to compile for: "all", or compute capabilities such as "80,90"; default: those in this machine, else 80',
      architectures,
    )
    .action(async ({ cuda = "auto", arch = "auto" }: Partial<BuildWishes>) => {
      end(await surroundings.build({ cuda, arch }));
    });
  return program;
}

/** Reads GPU architectures: "all", or compute capabilities without their points. */
function architectures(text: string): string {
  if (text === "all" || /^\d{2,3}(,\d{2,3})*$/.test(text)) return text;
  throw new InvalidArgumentError('Expected "all", or compute capabilities such as "80,90".');
}

function packageVersion(): string {
  const manifest = readFileSync(join(packageRoot(), "package.json"), "utf8");
  return (JSON.parse(manifest) as { version: string }).version;
}
