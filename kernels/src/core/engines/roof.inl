// What the instructions allow. Included behind loops.inl, for the same reasons.

// Takes some steps, each of a window of its own, for all pixels that registers hold, so many times over: as `multiply`
// does, with nothing else to do.
void repeat(const uint8_t* stream, int32_t steps, const uint8_t* panel, int64_t times, int32_t* to) {
  typename Isa::Sum sums[Isa::kPixels];
#pragma GCC unroll 32
  for (int p = 0; p < Isa::kPixels; ++p) sums[p] = Isa::zero();
  for (int64_t time = 0; time < times; ++time)
    for (int32_t step = 0; step < steps; ++step) {
      const typename Isa::Step weights = Isa::load(stream + step * kStepBytes);
      const uint8_t* columns = panel + step * (Isa::kPixels * Isa::kWidth);
#pragma GCC unroll 32
      for (int p = 0; p < Isa::kPixels; ++p) sums[p] = Isa::add(sums[p], weights, columns + p * Isa::kWidth);
    }
#pragma GCC unroll 32
  for (int p = 0; p < Isa::kPixels; ++p) Isa::store_sums(to + p * kRows, sums[p]);
}
