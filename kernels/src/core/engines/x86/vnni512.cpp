// AVX-512 with VNNI and without VBMI: vpshufb chooses among 16 columns, in each quarter of a vector the same ones.
#include <immintrin.h>

#include "core/engine.h"

namespace netsurgeon::sparse {
namespace {

struct Isa {
  static constexpr int kWidth = 16, kPixels = 25, kSums = 25, kLineGroups = 4, kLinePixels = 6;
  using Sum = __m512i;
  struct Step {
    __m512i index, weight;
  };

  static Step load(const uint8_t* stream) {
    return {_mm512_loadu_si512(stream), _mm512_loadu_si512(stream + kStepWeights)};
  }
  static Sum zero() { return _mm512_setzero_si512(); }
  static Sum load_sums(const int32_t* from) { return _mm512_loadu_si512(from); }
  static void store_sums(int32_t* to, Sum sums) { _mm512_storeu_si512(to, sums); }
  static Sum join(Sum a, Sum b) { return _mm512_add_epi32(a, b); }
  static Sum add(Sum sums, const Step& step, const uint8_t* window) {
    const __m512i columns = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(window)));
    return _mm512_dpbusd_epi32(sums, _mm512_shuffle_epi8(columns, step.index), step.weight);
  }
  static Sum add_line(Sum sums, const uint8_t* weights, const uint8_t* four) {
    int32_t word;
    __builtin_memcpy(&word, four, sizeof(word));
    return _mm512_dpbusd_epi32(sums, _mm512_set1_epi32(word), _mm512_loadu_si512(weights));
  }
};

inline int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }
inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

#include "finish_512.inl"
#include "core/engines/loops.inl"
#include "core/engines/lines.inl"
#include "core/engines/roof.inl"

}  // namespace

const Engine kVnni512Engine = {
    "avx512-vnni", Isa::kWidth, Isa::kPixels, pack, multiply, multiply_rows, multiply_lines, pool_row,
    repeat};

}  // namespace netsurgeon::sparse
