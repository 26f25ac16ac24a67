// Vectors of eight rows; NETSURGEON_SPARSE_MULTIPLY adds products of bytes to sums.

struct Sums256 {
  __m256i first, second;
};

struct Isa {
  static constexpr int kWidth = 16, kPixels = 5, kSums = 8, kLineGroups = 1, kLinePixels = 5;
  using Sum = Sums256;
  struct Step {
    __m256i first_index, second_index, first_weight, second_weight;
  };

  static __m256i at(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }
  static Step load(const uint8_t* stream) {
    return {at(stream), at(stream + 32), at(stream + kStepWeights), at(stream + kStepWeights + 32)};
  }
  static Sum zero() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
  static Sum load_sums(const int32_t* from) { return {at(from), at(from + 8)}; }
  static void store_sums(int32_t* to, const Sum& sums) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), sums.first);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + 8), sums.second);
  }
  static Sum join(const Sum& a, const Sum& b) {
    return {_mm256_add_epi32(a.first, b.first), _mm256_add_epi32(a.second, b.second)};
  }
  static Sum add(const Sum& sums, const Step& step, const uint8_t* window) {
    const __m256i columns = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(window)));
    const __m256i first = _mm256_shuffle_epi8(columns, step.first_index);
    const __m256i second = _mm256_shuffle_epi8(columns, step.second_index);
    return {NETSURGEON_SPARSE_MULTIPLY(sums.first, first, step.first_weight),
            NETSURGEON_SPARSE_MULTIPLY(sums.second, second, step.second_weight)};
  }
  static Sum add_line(const Sum& sums, const uint8_t* weights, const uint8_t* four) {
    int32_t word;
    __builtin_memcpy(&word, four, sizeof(word));
    const __m256i columns = _mm256_set1_epi32(word);
    return {NETSURGEON_SPARSE_MULTIPLY(sums.first, columns, at(weights)),
            NETSURGEON_SPARSE_MULTIPLY(sums.second, columns, at(weights + 32))};
  }
};

inline int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }
inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

#include "finish_256.inl"
#include "core/engines/loops.inl"
#include "core/engines/lines.inl"
#include "core/engines/roof.inl"
