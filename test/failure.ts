// What a call that must fail fails with.

import { AssertionError } from "chai";

/** The error that `call` throws; it is an assertion's failure if it throws none. */
export function failure(call: () => unknown): Error {
  try {
    call();
  } catch (error) {
    return error as Error;
  }
  throw new AssertionError("expected an error, and none was thrown");
}

/** The error that a promise is rejected with; it is an assertion's failure if it is fulfilled. */
export async function rejection(promise: PromiseLike<unknown>): Promise<Error> {
  return promise.then(
    () => {
      throw new AssertionError("expected a rejection, and the promise was fulfilled");
    },
    (error: unknown) => error as Error,
  );
}
