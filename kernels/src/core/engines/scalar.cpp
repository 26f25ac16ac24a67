// Plain C++: what the others must equal to the last bit, and what runs where no instruction set is known.
#include <cmath>

#include "core/engine.h"

namespace netsurgeon::sparse {
namespace {

struct Isa {
  static constexpr int kWidth = 64, kPixels = 4, kSums = 8, kLineGroups = 1, kLinePixels = 4;
  struct Sum {
    uint32_t of[kRows];  // unsigned: sums wrap, as those of the processors do
  };
  using Step = const uint8_t*;

  static Step load(const uint8_t* stream) { return stream; }
  static Sum zero() { return Sum{}; }
  static Sum load_sums(const int32_t* from) {
    Sum sums;
    for (int r = 0; r < kRows; ++r) sums.of[r] = static_cast<uint32_t>(from[r]);
    return sums;
  }
  static void store_sums(int32_t* to, const Sum& sums) {
    for (int r = 0; r < kRows; ++r) to[r] = static_cast<int32_t>(sums.of[r]);
  }
  static Sum join(Sum a, const Sum& b) {
    for (int r = 0; r < kRows; ++r) a.of[r] += b.of[r];
    return a;
  }
  static Sum add(Sum sums, Step step, const uint8_t* window) {
    for (int slot = 0; slot < kStepWeights; ++slot) {
      const int32_t weight = static_cast<int8_t>(step[kStepWeights + slot]);
      sums.of[slot / kSlots] += static_cast<uint32_t>(weight * static_cast<int32_t>(window[step[slot] % kWidth]));
    }
    return sums;
  }
  static Sum add_line(Sum sums, const uint8_t* weights, const uint8_t* four) {
    for (int slot = 0; slot < kStepWeights; ++slot) {
      const int32_t weight = static_cast<int8_t>(weights[slot]);
      sums.of[slot / kSlots] += static_cast<uint32_t>(weight * static_cast<int32_t>(four[slot % kSlots]));
    }
    return sums;
  }
};

inline int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }
inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

int32_t clamped(int32_t value, int32_t low, int32_t high) { return value < low ? low : value > high ? high : value; }

int32_t rounded(float value) {
  // out of range as in the processors' conversions: below everything
  return value < 2147483648.0f && value >= -2147483648.0f ? static_cast<int32_t>(std::nearbyint(value)) : INT32_MIN;
}

int32_t with_zero_point(int32_t value, int32_t zero_point) {
  return value < INT32_MIN + 256 ? value : value + zero_point;
}

uint8_t with_residual(const Epilogue& epilogue, int32_t byte, uint8_t other) {
  const float product = static_cast<float>(byte), residual = static_cast<float>(other);
  const float added =
      epilogue.product_first
          ? std::fma(product, epilogue.product_ratio, std::fma(residual, epilogue.residual_ratio, epilogue.fixed))
          : std::fma(residual, epilogue.residual_ratio, std::fma(product, epilogue.product_ratio, epilogue.fixed));
  return static_cast<uint8_t>(clamped(rounded(added), epilogue.added_low, epilogue.added_high));
}

void finish_pixel(const Task& task, const int32_t* sums, int64_t pixel, int64_t first_row) {
  const Epilogue& epilogue = task.epilogue;
  for (int32_t r = 0; r < kRows && first_row + r < task.rows; ++r) {
    const int64_t at = pixel * task.rows + first_row + r;
    const float value = static_cast<float>(sums[r]) * task.scale[first_row + r];
    if (epilogue.output == Output::kFloats) {
      static_cast<float*>(task.output)[at] = task.added ? value + task.added[first_row + r] : value;
      continue;
    }
    int32_t byte = rounded(value < epilogue.most ? value : epilogue.most);
    byte = clamped(with_zero_point(byte, epilogue.zero_point), epilogue.low, epilogue.high);
    static_cast<uint8_t*>(task.output)[at] = epilogue.output == Output::kBytesWithResidual
                                                 ? with_residual(epilogue, byte, task.residual[at])
                                                 : static_cast<uint8_t>(byte);
  }
}

void finish(const Task& task, const Sums& sums) {
  for (int32_t group = 0; group < sums.groups; ++group)
    for (int32_t p = 0; p < sums.pixels; ++p)
      finish_pixel(task, sums.of + group * sums.group_stride + p * kRows, sums.first_pixel + p,
                   sums.first_row + int64_t{group} * kRows);
}

#include "core/engines/loops.inl"
#include "core/engines/lines.inl"
#include "core/engines/roof.inl"

}  // namespace

const Engine kScalarEngine = {
    "scalar", Isa::kWidth, Isa::kPixels, pack, multiply, multiply_rows, multiply_lines, pool_row,
    repeat};

}  // namespace netsurgeon::sparse
