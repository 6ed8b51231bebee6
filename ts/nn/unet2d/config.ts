// The options of UNet2D as diffusers' config.json has them: its keys, its checks, and back.

import { ArgumentError, FormatError, showValue } from "../../errors/index.ts";
import type { ResolvedUNet2DOptions } from "./options.ts";
import { optionNames, resolveOptions } from "./options.ts";

type SnakeCase<Name extends string> = Name extends `${infer First}${infer Rest}`
  ? First extends Lowercase<First>
    ? `${First}${SnakeCase<Rest>}`
    : `_${Lowercase<First>}${SnakeCase<Rest>}`
  : Name;

/** What diffusers notes in the file about itself; kept, and otherwise ignored. */
export type ConfigNotes = Readonly<Record<`_${string}`, unknown>>;

/** The content of a config.json of diffusers' `UNet2DModel`. */
export type UNet2DConfig = {
  readonly [Name in keyof ResolvedUNet2DOptions as SnakeCase<Name>]: ResolvedUNet2DOptions[Name];
} & ConfigNotes;

/** The class that the file names. */
const className = "UNet2DModel";

const snakeCase = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

const keyOf = new Map<string, string>(optionNames.map((name) => [name, snakeCase(name)]));
const nameOf = new Map<string, string>([...keyOf].map(([name, key]) => [key, name]));

const refuse = (problem: string): FormatError =>
  new FormatError({
    op: "UNet2D.fromConfig",
    problem: `${problem}.`,
    advice: `A config.json of diffusers' ${className} is expected.`,
  });

/**
 * Options of a file's content, and its notes. Keys that are missing have diffusers' defaults. Throws FormatError that names every
 * key that is not known, but for those that begin with "_", and every value that is wrong or does not fit the others.
 */
export function readConfig(config: unknown): { readonly options: ResolvedUNet2DOptions; readonly notes: ConfigNotes } {
  if (typeof config !== "object" || config === null || Array.isArray(config))
    throw refuse(`the config is ${showValue(config)}, expected an object`);
  const entries = Object.entries(config);
  const notes = Object.fromEntries(entries.filter(([key]) => key.startsWith("_")));
  if (notes._class_name !== undefined && notes._class_name !== className)
    throw refuse(`_class_name is ${showValue(notes._class_name)}, expected "${className}"`);
  // A name that is no key must not pass for an option that is spelled so.
  const unknown = entries.map(([key]) => key).filter((key) => !key.startsWith("_") && !nameOf.has(key));
  if (unknown.length > 0) throw refuse(`unknown keys: ${unknown.join(", ")}`);
  const named = entries.filter(([key]) => nameOf.has(key)).map(([key, value]) => [nameOf.get(key)!, value] as const);
  const options = resolveOptions(Object.fromEntries(named), {
    name: (option) => keyOf.get(option) ?? option,
    error: refuse,
  });
  return { options, notes };
}

/** The content of the file, with its keys in diffusers' order. */
export function writeConfig(options: ResolvedUNet2DOptions, notes: ConfigNotes): UNet2DConfig {
  const entries = Object.entries(options).map(([name, value]): [string, unknown] => [keyOf.get(name)!, value]);
  const all = [...Object.entries({ _class_name: className, ...notes }), ...entries];
  const content = all.sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, value]) => [key, copied(value)] as const);
  return Object.fromEntries(content) as unknown as UNet2DConfig;
}

/** Lists are the caller's to change. */
const copied = (value: unknown): unknown => (Array.isArray(value) ? [...(value as readonly unknown[])] : value);

/** Options that the constructor was given. */
export function checkOptions(options: unknown): ResolvedUNet2DOptions {
  return resolveOptions(options, {
    name: (option) => option,
    error: (problem) => new ArgumentError({ op: "UNet2D", problem: `${problem}.` }),
  });
}
