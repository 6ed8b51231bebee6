// More memory than any machine has: a DeviceError that says how much, and everything goes on.

import { expect } from "chai";
import { DeviceError, memoryStats, ones } from "langevin";
import { openDevice } from "../../ts/device/devices.ts";
import { failure } from "../failure.ts";
import { onEveryDevice } from "../tensor/devices.ts";

onEveryDevice("32 TiB that are not there", (device) => {
  it("are a DeviceError, and what was made before lives on", () => {
    const small = ones([4]);
    const before = memoryStats();
    // Asked of the executor: a shape of 2^31 - 1 elements takes 8 GiB, which this machine may have.
    const error = failure(() => openDevice(device).allocate(2 ** 45));
    expect(error).to.be.instanceOf(DeviceError);
    expect(error.message).to.match(/^allocate: .*\b35184372088832 bytes/);
    expect(memoryStats().liveBytes).to.equal(before.liveBytes);
    expect(small.add(1).toArray()).to.deep.equal([2, 2, 2, 2]);
  });
});
