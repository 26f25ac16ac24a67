#include "provider/costs.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <stdexcept>
#include <system_error>
#include <unordered_map>
#include <unordered_set>

#include "core/format.h"

namespace netsurgeon::sparse {
namespace {

constexpr double kDenseChannels = 22;  // that a position of the dense kernel takes time for, however few it has
constexpr int64_t kUnknownSize = 14;
constexpr double kFree = 1e9;  // calls a nanosecond

}  // namespace

// By least squares over 28 layers on a processor with AVX-512 VBMI and VNNI (AMD, Zen 5). Others are taken to have the
// ratios that their instruction sets have on the same processor. No ARM processor was measured: those are what its
// manuals let expect, for the parts that its own measurement is too coarse to see.
Rates usual_rates(Isa isa) {
  switch (isa) {
    case Isa::kVbmi:
      return {250, 27, 7, 0.5, 322, kFree, 460, 27, 11, kFree};
    case Isa::kVnni512:
      return {170, 27, 7, 0.5, 322, kFree, 460, 27, 11, kFree};
    case Isa::kVnni256:
      return {150, 27, 7, 0.5, 210, kFree, 300, 27, 11, kFree};
    case Isa::kAvx2:
      return {80, 27, 7, 0.5, 77, kFree, 110, 27, 11, kFree};
    case Isa::kNeonDot:
      return {20, 8, 3, 0.2, 40, kFree, 70, 8, 4, kFree, false};
    case Isa::kNeon:
      return {10, 8, 3, 0.2, 14, kFree, 20, 8, 4, kFree, false};
    case Isa::kScalar:
      break;
  }
  return {0.4, 27, 7, 0.5, 77, kFree, 110, 27, 11, kFree};
}

Rates read_rates(const std::string& text, Isa isa) {
  Rates rates = usual_rates(isa);
  const std::unordered_map<std::string, double Rates::*> members{
      {"slots", &Rates::slots},
      {"gathered", &Rates::gathered},
      {"finished", &Rates::finished},
      {"pieces", &Rates::pieces},
      {"lines", &Rates::lines},
      {"calls", &Rates::calls},
      {"dense", &Rates::dense},
      {"dense_gathered", &Rates::dense_gathered},
      {"dense_finished", &Rates::dense_finished},
      {"dense_calls", &Rates::dense_calls},
  };
  std::unordered_set<std::string> names;
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
    names.insert(name);
    at = end;
  }
  rates.measured |= names.contains("slots") && names.contains("dense");  // what the choice rests on
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
  const int32_t width = engine_of(isa, false).width;
  const Geometry& geometry = group.layer.geometry;
  const double taps = static_cast<double>(geometry.kernel_height * geometry.kernel_width);
  const double columns = taps * static_cast<double>(geometry.channels), rows = static_cast<double>(group.layer.rows);
  const int64_t steps =
      count_steps(group.weight.data(), group.layer.rows, static_cast<int64_t>(columns), width);
  Cost cost;
  cost.in_lines = has_lines(group.layer, steps, width);
  const double gathered = std::ceil(columns / width) * width, finished = std::ceil(rows / kRows) * kRows;
  const double tap = std::max(static_cast<double>(geometry.channels), kDenseChannels) / rates.dense_gathered;
  const double pieces = static_cast<double>(pieces_of(geometry, width));
  cost.sparse = cost.in_lines ? finished * columns / rates.lines
                              : static_cast<double>(steps) * kStepWeights / rates.slots + gathered / rates.gathered +
                                    pieces / rates.pieces;
  cost.sparse = pixels * (cost.sparse + finished / rates.finished) + 1 / rates.calls;
  cost.dense = pixels * (rows * columns / rates.dense + (taps > 1 ? taps * tap : 0) + rows / rates.dense_finished) +
               1 / rates.dense_calls;
  return cost;
}

}  // namespace netsurgeon::sparse
