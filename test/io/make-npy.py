# Writes the NPY files of test/io/npy and what they hold (cases.json). Run once with: python3 test/io/make-npy.py
import json
import os
import numpy as np

folder = os.path.join(os.path.dirname(__file__), "npy")
os.makedirs(folder, exist_ok=True)
cases = []


def case(name, array, version=None):
    with open(os.path.join(folder, f"{name}.npy"), "wb") as file:
        np.lib.format.write_array(file, array, version=version)
    bits = array.view(array.dtype.str.replace("f2", "u2")) if array.dtype.kind == "f" and array.dtype.itemsize == 2 else array
    elements = [str(x) if bits.dtype.kind == "f" else str(int(x)) for x in bits.ravel(order="C")]
    cases.append({"name": name, "dtype": array.dtype.name, "shape": list(array.shape), "elements": " ".join(elements)})


matrix = np.array([[0, 1, 2], [3, 100, 7]])
for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"):
    for order in ("<", ">"):
        if kind.endswith("1") and order == ">":
            continue
        name = ("little-" if order == "<" else "big-") + kind
        case(name, (matrix / 4 if kind[0] == "f" else matrix).astype(order + kind))
case("bool", np.array([True, False, True]))
case("extremes-f4", np.array([np.inf, -np.inf, -0.0, 1e-45, 3.4028235e38], np.float32))
case("extremes-i8", np.array([-(2**63), 2**63 - 1]))
case("extremes-u8", np.array([2**64 - 1], np.uint64))
case("scalar", np.array(2.5, np.float32))
case("empty", np.zeros((0, 3), np.float32))
case("fortran", np.asfortranarray(np.arange(24, dtype=np.float32).reshape(2, 3, 4)))
case("fortran-big", np.asfortranarray(np.arange(6, dtype=">i2").reshape(2, 3)))
case("version-2", np.arange(3, dtype=np.float32), (2, 0))
case("version-3", np.arange(3, dtype=np.float32), (3, 0))
with open(os.path.join(folder, "cases.json"), "w") as file:
    file.write(json.dumps({"source": f"numpy {np.__version__}, by test/io/make-npy.py", "cases": cases}, indent=1) + "\n")
