#include "provider/costs.h"

#include <algorithm>
#include <cmath>

#include "core/format.h"

namespace netsurgeon::sparse {
namespace {

// Numbers a nanosecond on one core of a processor with AVX-512 VBMI and VNNI (AMD, Zen 5), by least squares over 28 layers:
// benchmarks/sparse.py. Others are taken to have the ratios that their instruction sets have on the same processor.
struct Rates {
  double slots;   // weights of steps, times pixels
  double dense;   // multiplications of ONNX Runtime's kernel
  int32_t width;
};

Rates rates_of(Isa isa) {
  switch (isa) {
    case Isa::kVbmi:
      return {250, 460, 64};
    case Isa::kVnni512:
      return {170, 460, 16};
    case Isa::kVnni256:
      return {150, 300, 16};
    case Isa::kAvx2:
      return {80, 110, 16};
    case Isa::kScalar:
      break;
  }
  return {0.4, 110, 64};
}

constexpr double kGathered = 27, kFinished = 7;  // bytes of windows into a panel, outputs
constexpr double kDenseGathered = 27, kDenseFinished = 11;
constexpr double kLines = 0.7;     // of the dense kernel's multiplications, in lines
constexpr double kDenseTap = 0.8;  // nanoseconds that a position of the kernel takes, however few its channels are
constexpr int64_t kUnknownSize = 14;

}  // namespace

Cost cost_of(const Group& group, Isa isa) {
  double pixels = 1;
  const std::vector<int64_t>& shape = group.output_shape;
  if (group.kind == Kind::kConvolution) {
    for (size_t axis = 1; axis < shape.size(); ++axis)
      if (axis != (group.nhwc ? 3u : 1u)) pixels *= static_cast<double>(shape[axis] > 0 ? shape[axis] : kUnknownSize);
  } else {
    for (size_t axis = 0; axis + 1 < shape.size(); ++axis) pixels *= static_cast<double>(std::max<int64_t>(shape[axis], 1));
  }
  const Rates rates = rates_of(isa);
  const Geometry& geometry = group.layer.geometry;
  const double taps = static_cast<double>(geometry.kernel_height * geometry.kernel_width);
  const double columns = taps * static_cast<double>(geometry.channels), rows = static_cast<double>(group.layer.rows);
  const int64_t steps =
      count_steps(group.weight.data(), group.layer.rows, static_cast<int64_t>(columns), rates.width);
  Cost cost;
  cost.in_lines = has_lines(group.layer, steps);
  const double gathered = std::ceil(columns / rates.width) * rates.width, finished = std::ceil(rows / kRows) * kRows;
  const double tap = std::max(static_cast<double>(geometry.channels) / kDenseGathered, kDenseTap);
  cost.sparse = cost.in_lines ? finished * columns / (kLines * rates.dense)
                              : static_cast<double>(steps) * kStepWeights / rates.slots + gathered / kGathered;
  cost.sparse = pixels * (cost.sparse + finished / kFinished);
  cost.dense = pixels * (rows * columns / rates.dense + (taps > 1 ? taps * tap : 0) + rows / kDenseFinished);
  return cost;
}

}  // namespace netsurgeon::sparse
