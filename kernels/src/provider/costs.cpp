#include "provider/costs.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <stdexcept>
#include <system_error>
#include <unordered_map>

#include "core/format.h"

namespace netsurgeon::sparse {
namespace {

constexpr double kLines = 0.7;     // of the dense kernel's multiplications, in lines
constexpr double kDenseTap = 0.8;  // nanoseconds that a position of the kernel takes, however few its channels are
constexpr int64_t kUnknownSize = 14;

}  // namespace

// By least squares over 28 layers on a processor with AVX-512 VBMI and VNNI (AMD, Zen 5). Others are taken to have the
// ratios that their instruction sets have on the same processor.
Rates usual_rates(Isa isa) {
  switch (isa) {
    case Isa::kVbmi:
      return {250, 27, 7, 460, 27, 11};
    case Isa::kVnni512:
      return {170, 27, 7, 460, 27, 11};
    case Isa::kVnni256:
      return {150, 27, 7, 300, 27, 11};
    case Isa::kAvx2:
      return {80, 27, 7, 110, 27, 11};
    case Isa::kScalar:
      break;
  }
  return {0.4, 27, 7, 110, 27, 11};
}

Rates read_rates(const std::string& text, Isa isa) {
  Rates rates = usual_rates(isa);
  const std::unordered_map<std::string, double Rates::*> members{
      {"slots", &Rates::slots},
      {"gathered", &Rates::gathered},
      {"finished", &Rates::finished},
      {"dense", &Rates::dense},
      {"dense_gathered", &Rates::dense_gathered},
      {"dense_finished", &Rates::dense_finished},
  };
  for (size_t at = text.find_first_not_of(' '); at != std::string::npos; at = text.find_first_not_of(' ', at)) {
    const size_t end = std::min(text.find(' ', at), text.size()), equals = std::min(text.find('=', at), end);
    const std::string name = text.substr(at, equals - at);
    const auto member = members.find(name);
    double rate = 0;
    const char* last = text.data() + end;
    const auto read = std::from_chars(text.data() + std::min(equals + 1, end), last, rate);
    if (member == members.end() || read.ec != std::errc() || read.ptr != last || !(rate > 0) || !std::isfinite(rate))
      throw std::invalid_argument("netsurgeon-sparse: the option rates has '" + name +
                                  "', expected slots=250 dense=460 and the like, numbers above 0");
    rates.*member->second = rate;
    at = end;
  }
  return rates;
}

Cost cost_of(const Group& group, Isa isa, const Rates& rates) {
  double pixels = 1;
  const std::vector<int64_t>& shape = group.output_shape;
  if (group.kind == Kind::kConvolution) {
    for (size_t axis = 1; axis < shape.size(); ++axis)
      if (axis != (group.nhwc ? 3u : 1u)) pixels *= static_cast<double>(shape[axis] > 0 ? shape[axis] : kUnknownSize);
  } else {
    for (size_t axis = 0; axis + 1 < shape.size(); ++axis) pixels *= static_cast<double>(std::max<int64_t>(shape[axis], 1));
  }
  const int32_t width = isa == Isa::kVbmi || isa == Isa::kScalar ? 64 : 16;
  const Geometry& geometry = group.layer.geometry;
  const double taps = static_cast<double>(geometry.kernel_height * geometry.kernel_width);
  const double columns = taps * static_cast<double>(geometry.channels), rows = static_cast<double>(group.layer.rows);
  const int64_t steps =
      count_steps(group.weight.data(), group.layer.rows, static_cast<int64_t>(columns), width);
  Cost cost;
  cost.in_lines = has_lines(group.layer, steps);
  const double gathered = std::ceil(columns / width) * width, finished = std::ceil(rows / kRows) * kRows;
  const double tap = std::max(static_cast<double>(geometry.channels) / rates.dense_gathered, kDenseTap);
  cost.sparse = cost.in_lines ? finished * columns / (kLines * rates.dense)
                              : static_cast<double>(steps) * kStepWeights / rates.slots + gathered / rates.gathered;
  cost.sparse = pixels * (cost.sparse + finished / rates.finished);
  cost.dense = pixels * (rows * columns / rates.dense + (taps > 1 ? taps * tap : 0) + rows / rates.dense_finished);
  return cost;
}

}  // namespace netsurgeon::sparse
