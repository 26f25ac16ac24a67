#include "provider/costs.h"

#include <algorithm>

#include "core/format.h"

namespace netsurgeon::sparse {
namespace {

// Numbers a nanosecond, measured on one core of a processor with each of them (AMD Zen 5), other processors are taken
// to have the same ratios: only these matter.
struct Rates {
  double slots;   // weights of steps, times pixels
  double dense;   // multiplications of ONNX Runtime's kernel on the same processor
  int32_t width;
};

Rates rates_of(Isa isa) {
  switch (isa) {
    case Isa::kVbmi:
      return {250, 400, 64};
    case Isa::kVnni512:
      return {170, 400, 16};
    case Isa::kVnni256:
      return {150, 300, 16};
    case Isa::kAvx2:
      return {80, 110, 16};
    case Isa::kScalar:
      break;
  }
  return {0.4, 110, 64};
}

constexpr double kGathered = 40;  // bytes a nanosecond into a panel
constexpr double kFinished = 8;   // outputs a nanosecond
constexpr double kDenseGathered = 12, kDenseFinished = 10;
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
  const double steps = static_cast<double>(
      count_steps(group.weight.data(), group.layer.rows, static_cast<int64_t>(columns), rates.width));
  Cost cost;
  cost.sparse = pixels * (steps * kStepWeights / rates.slots + columns / kGathered + rows / kFinished);
  cost.dense = pixels * (rows * columns / rates.dense + (taps > 1 ? columns / kDenseGathered : 0) + rows / kDenseFinished);
  return cost;
}

}  // namespace netsurgeon::sparse
