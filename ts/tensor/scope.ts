// Scopes: tensors made inside one are freed when it ends, except those that it returns.

import { ArgumentError, showValue } from "../errors/index.ts";

/** What a scope can own. */
export interface Owned {
  /** The scope that will free this, or undefined when the garbage collector has to. */
  owner: Scope | undefined;
  dispose(): void;
  /** Called when no scope owns this any longer. */
  onOrphaned(): void;
}

class Scope {
  readonly parent: Scope | undefined;
  readonly members: Owned[] = [];
  constructor(parent: Scope | undefined) {
    this.parent = parent;
  }
}
export type { Scope };

let current: Scope | undefined;

/** Gives a new value to the innermost open scope. */
export function adopt(value: Owned): void {
  value.owner = current;
  if (current) current.members.push(value);
  else value.onOrphaned();
}

/** The same, for a value to be used at once. */
export function adopted<T extends Owned>(value: T): T {
  adopt(value);
  return value;
}

/** Takes a value out of its scope, so that it outlives it. */
export function disown(value: Owned): void {
  if (!value.owner) return;
  value.owner = undefined;
  value.onOrphaned();
}

/** Hands a value to the scope's parent. */
function handUp(value: Owned, from: Scope): void {
  if (value.owner !== from) return;
  value.owner = from.parent;
  if (from.parent) from.parent.members.push(value);
  else value.onOrphaned();
}

/** The owned values in a result: in arrays, Maps, Sets and plain objects, however deep, and also where these form a circle. */
function ownedIn(result: unknown): Set<Owned> {
  const seen = new Set<unknown>();
  const owned = new Set<Owned>();
  const waiting = [result];
  while (waiting.length > 0) {
    const value = waiting.pop();
    if (typeof value !== "object" || value === null || seen.has(value)) continue;
    seen.add(value);
    if (isOwned(value)) owned.add(value);
    else for (const part of partsOf(value)) waiting.push(part);
  }
  return owned;
}

function partsOf(value: object): Iterable<unknown> {
  if (Array.isArray(value) || value instanceof Set) return value as Iterable<unknown>;
  if (value instanceof Map) return [...(value as Map<unknown, unknown>)];
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null ? (Object.values(value) as unknown[]) : [];
}

const isOwned = (value: object): value is Owned => "onOrphaned" in value && "dispose" in value;

/**
 * Runs `fn` and frees the tensors made in it, except those in its result (a tensor, or arrays, Maps, Sets and plain
 * objects of them). Scopes nest. `fn` must be synchronous: a promise throws ArgumentError, because what it would still compute
 * with would be freed already.
 */
export function scope<T>(fn: () => T): T {
  expectFunction("scope", fn);
  const inner = new Scope(current);
  current = inner;
  try {
    const result = fn();
    refusePromise("scope", result);
    for (const value of ownedIn(result)) handUp(value, inner);
    return result;
  } finally {
    current = inner.parent;
    for (const member of inner.members)
      if (member.owner === inner) {
        member.owner = undefined;
        member.dispose();
      }
  }
}

/** Refuses what cannot be called. */
export function expectFunction(op: string, fn: unknown): void {
  if (typeof fn !== "function")
    throw new ArgumentError({ op, problem: `was given ${showValue(fn)}, expected a function.` });
}

/** Refuses the result of an asynchronous function where only a synchronous one makes sense. */
export function refusePromise(op: string, result: unknown): void {
  if (typeof result !== "object" || result === null || !("then" in result)) return;
  if (result instanceof Promise) result.catch(() => undefined);
  throw new ArgumentError({
    op,
    problem: "the function returned a promise.",
    advice: `Pass a synchronous function; await outside of ${op}.`,
  });
}
