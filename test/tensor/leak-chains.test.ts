// A few seconds of what `node --import tsx test/tensor/leak-chains.ts --minutes 60` does for an hour.

import { expect } from "chai";
import { onEveryDevice } from "./devices.ts";
import { searchLeaks } from "./leak-chains.ts";

onEveryDevice("random programs", (device) => {
  it("leave no memory in use, however their tensors are freed and whatever fails", async () => {
    const { rounds } = await searchLeaks(device, 3);
    expect(rounds).to.be.greaterThan(20);
  });
});
