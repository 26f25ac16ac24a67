// From sixteen sums, four vectors of four, to bytes.

inline int32x4_t product_of(int32x4_t sums, float32x4_t scale, float32x4_t limit) {
  return vcvtnq_s32_f32(vminq_f32(vmulq_f32(vcvtq_f32_s32(sums), scale), limit));
}

inline int32x4_t clamped(int32x4_t values, int32_t low, int32_t high) {
  return vminq_s32(vmaxq_s32(values, vdupq_n_s32(low)), vdupq_n_s32(high));
}

// `product` is a byte, and so is what it becomes.
inline int32x4_t with_residual(const Epilogue& epilogue, int32x4_t product, int32x4_t residual) {
  const float32x4_t value = vcvtq_f32_s32(product), other = vcvtq_f32_s32(residual);
  const float32x4_t value_ratio = vdupq_n_f32(epilogue.product_ratio);
  const float32x4_t other_ratio = vdupq_n_f32(epilogue.residual_ratio);
  const float32x4_t fixed = vdupq_n_f32(epilogue.fixed);
  const float32x4_t added = epilogue.product_first
                                ? vfmaq_f32(vfmaq_f32(fixed, other, other_ratio), value, value_ratio)
                                : vfmaq_f32(vfmaq_f32(fixed, value, value_ratio), other, other_ratio);
  // what no int32 holds, NaN among it, is below everything, as with the other instruction sets
  const uint32x4_t fits = vcltq_f32(added, vdupq_n_f32(2147483648.0f));
  const int32x4_t rounded = vbslq_s32(fits, vcvtnq_s32_f32(added), vdupq_n_s32(INT32_MIN));
  return clamped(rounded, epilogue.added_low, epilogue.added_high);
}

inline void finish_floats(const Task& task, const Sums128& sums, int64_t at, int64_t row, size_t rows) {
  alignas(16) float values[kRows];
  for (int i = 0; i < 4; ++i) {
    float32x4_t value = vmulq_f32(vcvtq_f32_s32(sums.of[i]), vld1q_f32(task.scale + row + 4 * i));
    if (task.added) value = vaddq_f32(value, vld1q_f32(task.added + row + 4 * i));
    vst1q_f32(values + 4 * i, value);
  }
  __builtin_memcpy(static_cast<float*>(task.output) + at, values, rows * sizeof(float));
}

inline void finish_pixel(const Task& task, const Sums128& sums, int64_t pixel, int64_t row) {
  const Epilogue& epilogue = task.epilogue;
  const int64_t at = pixel * task.rows + row;
  const size_t rows = static_cast<size_t>(least(task.rows - row, int64_t{kRows}));
  if (epilogue.output == Output::kFloats) {
    finish_floats(task, sums, at, row, rows);
    return;
  }
  const bool adds = epilogue.output == Output::kBytesWithResidual;
  alignas(16) uint8_t residual[kRows] = {}, bytes[kRows];
  if (adds) __builtin_memcpy(residual, task.residual + at, rows);
  const uint8x16_t others = vld1q_u8(residual);
  const uint16x8_t wide[2] = {vmovl_u8(vget_low_u8(others)), vmovl_high_u8(others)};
  const float32x4_t limit = vdupq_n_f32(epilogue.most);
  uint16x4_t quarters[4];
  for (int i = 0; i < 4; ++i) {
    int32x4_t value = product_of(sums.of[i], vld1q_f32(task.scale + row + 4 * i), limit);
    value = clamped(vaddq_s32(value, vdupq_n_s32(epilogue.zero_point)), epilogue.low, epilogue.high);
    const uint16x4_t other = i % 2 ? vget_high_u16(wide[i / 2]) : vget_low_u16(wide[i / 2]);
    if (adds) value = with_residual(epilogue, value, vreinterpretq_s32_u32(vmovl_u16(other)));
    quarters[i] = vmovn_u32(vreinterpretq_u32_s32(value));
  }
  const uint16x8_t first = vcombine_u16(quarters[0], quarters[1]), second = vcombine_u16(quarters[2], quarters[3]);
  vst1q_u8(bytes, vcombine_u8(vmovn_u16(first), vmovn_u16(second)));
  __builtin_memcpy(static_cast<uint8_t*>(task.output) + at, bytes, rows);
}

inline void finish(const Task& task, const Sums& sums) {
  for (int32_t group = 0; group < sums.groups; ++group)
    for (int32_t p = 0; p < sums.pixels; ++p)
      finish_pixel(task, Isa::load_sums(sums.of + group * sums.group_stride + p * kRows), sums.first_pixel + p,
                   sums.first_row + int64_t{group} * kRows);
}
