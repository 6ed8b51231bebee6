# Writes printing.json: texts of numpy's array2string(array, separator=", ", prefix="tensor(") for many arrays.
# Run once with: python3 test/tensor/make-printing.py > test/tensor/printing.json
import json
import numpy as np

f4, f8, i4 = np.float32, np.float64, np.int32
cases = []


def case(name, array):
    kept = np.asarray(array)
    elements = " ".join(str(x) for x in kept.ravel())
    text = np.array2string(kept, separator=", ", prefix="tensor(")
    cases.append({"name": name, "dtype": str(kept.dtype), "shape": list(kept.shape), "elements": elements, "text": text})


rng = np.random.default_rng(20)
for dtype in (f4, f8):
    def a(*values):
        return np.array(values, dtype)
    case("whole numbers", a(1, 2, 300))
    case("negative zero", a(0.0, -0.0))
    case("quarters", np.array([[1, 2.5], [3.25, -4]], dtype))
    case("tenths", a(0.1, 0.2, 0.3))
    case("thirds", a(1 / 3, 2 / 3, 100 / 3))
    case("nine digits after the point", a(0.123456789, 1.5))
    case("ties at the ninth digit", a(0.001953125, 0.005859375, -0.009765625))
    case("ties in an exponent", a(1.000000005e9, 2**-37, 3 * 2.0**-37))
    case("trailing zeros after rounding", a(0.5, 0.30000000000000004, 0.299999999999))
    case("not a number", a(np.nan, 1, -2.5))
    case("infinities", a(np.inf, -np.inf, 1))
    case("only infinity", a(np.inf))
    case("only nan", a(np.nan, np.nan))
    case("nan and minus infinity", a(np.nan, -np.inf))
    case("infinity beside wide numbers", a(np.inf, -1234.5678, 1e3))
    case("infinity beside exponents", a(-np.inf, np.nan, 1e-10, 1e10))
    case("large", a(1e8, 2e8))
    case("just below the large", a(99999999.0, 12345678.0))
    case("units beyond the dtype's digits", a(67108872, 16777217 * 5.0))
    case("tiny", a(1e-5, 2e-5))
    case("not quite tiny", a(0.00011, 0.05))
    case("ratio of 1000", a(1, 1000))
    case("ratio above 1000", a(1, 1001))
    case("ratio of 1000 in tenths", a(0.1, 100))
    case("mixed magnitudes", a(1e-12, 1, 1e12, 0, -3.5))
    case("mixed with many digits", a(1.2345678e-5, 0.1, 3, -123.456))
    case("extremes", a(np.finfo(dtype).max, np.finfo(dtype).tiny, np.finfo(dtype).smallest_subnormal))
    case("scalar", np.array(2.5, dtype))
    case("scalar zero", np.array(0, dtype))
    case("scalar tiny", np.array(1e-20, dtype))
    case("scalar nan", np.array(np.nan, dtype))
    case("one element of rank 3", np.array([[[7]]], dtype))
    case("no elements", np.zeros((0,), dtype))
    case("no rows of three", np.zeros((0, 3), dtype))
    case("rows of nothing", np.zeros((3, 0, 2), dtype))
    case("zeros", np.zeros((2, 3), dtype))
    case("a line that wraps", (np.arange(30) / 8).astype(dtype))
    case("rows that wrap", (np.arange(60).reshape(2, 30) / 7).astype(dtype))
    case("rank 3", rng.standard_normal((2, 3, 4)).astype(dtype))
    case("rank 4", rng.standard_normal((2, 2, 2, 3)).astype(dtype))
    case("rank 5", rng.integers(-9, 9, (2, 1, 2, 1, 2)).astype(dtype))
    case("1000 elements", rng.integers(0, 99, (1000,)).astype(dtype))
    case("1001 elements", np.arange(1001).astype(dtype))
    case("summarised matrix", rng.standard_normal((30, 40)).astype(dtype))
    case("summarised, few columns", rng.standard_normal((501, 2)).astype(dtype))
    case("summarised, 6 and 7", rng.standard_normal((6, 7, 24)).astype(dtype))
    case("summarised images", rng.standard_normal((1, 8, 43, 3)).astype(dtype))
    case("summarised rows that wrap", (rng.standard_normal((8, 126)) * 10.0 ** rng.integers(-20, 20, (8, 126))).astype(dtype))
    hidden = np.ones(1001, dtype)
    hidden[500] = 1e30
    case("a hidden element does not matter", hidden)
    case("powers of two", (2.0 ** np.arange(-100, 100)).astype(dtype))
    for k in range(60):
        spread = [0, 1, 2, 5, 20][k % 5]
        size = int(rng.integers(1, 12))
        values = rng.standard_normal(size) * 10.0 ** rng.integers(-spread, spread + 1, size)
        case(f"random {k}", values.astype(dtype))
    for k in range(20):
        case(f"rounded {k}", np.round(rng.standard_normal((3, 4)) * 100, k % 5).astype(dtype))

case("integers", np.array([[1, -20], [300, 4]], i4))
case("integer extremes", np.array([2**31 - 1, -(2**31), 0], i4))
case("integer scalar", np.array(-7, i4))
case("no integers", np.zeros((2, 0), i4))
case("many integers", np.arange(1080, dtype=i4).reshape(3, 9, 40))
case("integers that wrap", np.arange(100, dtype=i4))

source = f"numpy {np.__version__}: array2string(array, separator=', ', prefix='tensor('), by test/tensor/make-printing.py"
print('{"source": ' + json.dumps(source) + ',\n"cases": [')
print(",\n".join(json.dumps(c) for c in cases))
print("]}")
