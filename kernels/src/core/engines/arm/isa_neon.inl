// Four vectors of four rows; vqtbl4q chooses among 64 columns. Columns are multiplied as signed bytes, by 128 less than
// they are: what that leaves out is in the sums' start (Engine::offset). NETSURGEON_SPARSE_MULTIPLY adds products of
// sixteen pairs of bytes to four sums.

struct Sums128 {
  int32x4_t of[4];
};

struct Isa {
  static constexpr int kWidth = 64, kPixels = 3, kSums = 2, kLineGroups = 1, kLinePixels = 5;
  using Sum = Sums128;
  struct Step {
    uint8x16_t index[4];
    int8x16_t weight[4];
  };

  static Step load(const uint8_t* stream) {
    const int8_t* weights = reinterpret_cast<const int8_t*>(stream + kStepWeights);
    return {{vld1q_u8(stream), vld1q_u8(stream + 16), vld1q_u8(stream + 32), vld1q_u8(stream + 48)},
            {vld1q_s8(weights), vld1q_s8(weights + 16), vld1q_s8(weights + 32), vld1q_s8(weights + 48)}};
  }
  static Sum zero() {
    const int32x4_t none = vdupq_n_s32(0);
    return {{none, none, none, none}};
  }
  static Sum load_sums(const int32_t* from) {
    return {{vld1q_s32(from), vld1q_s32(from + 4), vld1q_s32(from + 8), vld1q_s32(from + 12)}};
  }
  static void store_sums(int32_t* to, const Sum& sums) {
    for (int i = 0; i < 4; ++i) vst1q_s32(to + 4 * i, sums.of[i]);
  }
  static Sum join(Sum a, const Sum& b) {
    for (int i = 0; i < 4; ++i) a.of[i] = vaddq_s32(a.of[i], b.of[i]);
    return a;
  }
  static int8x16_t as_signed(uint8x16_t bytes) { return vreinterpretq_s8_u8(veorq_u8(bytes, vdupq_n_u8(128))); }
  static Sum add(Sum sums, const Step& step, const uint8_t* window) {
    const uint8x16x4_t columns = vld1q_u8_x4(window);  // into the registers beside each other that the choice wants
    for (int i = 0; i < 4; ++i) {
      const int8x16_t chosen = as_signed(vqtbl4q_u8(columns, step.index[i]));
      sums.of[i] = NETSURGEON_SPARSE_MULTIPLY(sums.of[i], chosen, step.weight[i]);
    }
    return sums;
  }
  static Sum add_line(Sum sums, const uint8_t* weights, const uint8_t* four) {
    int32_t word;
    __builtin_memcpy(&word, four, sizeof(word));
    const int8x16_t columns = as_signed(vreinterpretq_u8_s32(vdupq_n_s32(word)));
    for (int i = 0; i < 4; ++i)
      sums.of[i] = NETSURGEON_SPARSE_MULTIPLY(sums.of[i], columns,
                                              vld1q_s8(reinterpret_cast<const int8_t*>(weights + 16 * i)));
    return sums;
  }
};

inline int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }
inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

#include "finish_neon.inl"
#include "core/engines/loops.inl"
#include "core/engines/lines.inl"
#include "core/engines/roof.inl"
