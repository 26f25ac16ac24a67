// Layers of few channels, all of whose weights are kept: four neighbouring columns of a pixel at a time, for as many
// pixels and row groups as registers hold. Included behind loops.inl.
//
// Isa: kLineGroups, kLinePixels; add_line(sums, 64 weights, 4 columns).

struct Block {
  const uint8_t* input;      // of the first pixel
  const uint8_t* weights;    // of the first row group
  const int32_t* start;
  int64_t pixel_bytes, row_bytes, line_bytes;  // from one pixel, row of the kernel, line of that row to the next
  int32_t* sums;             // [group][kLinePixels][16]
};

template <int G, int P>
void multiply_block(const Task& task, const Block& block) {
  typename Isa::Sum sums[G][P];
#pragma GCC unroll 4
  for (int g = 0; g < G; ++g)
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) sums[g][p] = Isa::load_sums(block.start + g * kRows);
  const uint8_t* weights = block.weights;
  const uint8_t* row = block.input;
  for (int64_t i = 0; i < task.geometry.kernel_height; ++i, row += block.row_bytes) {
    const uint8_t* line = row;
    for (int64_t tap = 0; tap < task.geometry.kernel_width; tap += task.line_taps, line += block.line_bytes) {
      const uint8_t* four = line;
      for (int32_t word = 0; word < task.line_words; ++word, four += kSlots) {
#pragma GCC unroll 8
        for (int p = 0; p < P; ++p)
#pragma GCC unroll 4
          for (int g = 0; g < G; ++g)
            sums[g][p] = Isa::add_line(sums[g][p], weights + g * kStepWeights, four + p * block.pixel_bytes);
        weights += static_cast<int64_t>(task.groups) * kStepWeights;
      }
    }
  }
#pragma GCC unroll 4
  for (int g = 0; g < G; ++g)
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) Isa::store_sums(block.sums + (g * Isa::kLinePixels + p) * kRows, sums[g][p]);
}

using MultiplyBlock = void (*)(const Task&, const Block&);

struct BlockFunctions {
  MultiplyBlock of[Isa::kLineGroups + 1][Isa::kLinePixels + 1] = {};

  template <int G, int P>
  constexpr void set() {
    of[G][P] = multiply_block<G, P>;
    if constexpr (P > 1) {
      set<G, P - 1>();
    } else if constexpr (G > 1) {
      set<G - 1, Isa::kLinePixels>();
    }
  }
  constexpr BlockFunctions() { set<Isa::kLineGroups, Isa::kLinePixels>(); }
};
constexpr BlockFunctions block_functions;

void multiply_lines(const Task& task, const Strip& strip) {
  const Geometry& geometry = task.geometry;
  alignas(64) int32_t sums[Isa::kLineGroups * Isa::kLinePixels * kRows];
  Block block;
  block.pixel_bytes = geometry.stride_width * geometry.channels;
  block.row_bytes = geometry.dilation_height * strip.row_bytes;
  block.line_bytes = geometry.dilation_width * geometry.channels;
  block.sums = sums;
  for (int64_t row = 0; row < strip.rows; ++row) {
    const uint8_t* input = strip.input + row * geometry.stride_height * strip.row_bytes;
    for (int32_t pixels, column = 0; column < strip.width; column += pixels) {
      pixels = static_cast<int32_t>(least(int64_t{Isa::kLinePixels}, strip.width - column));
      block.input = input + column * block.pixel_bytes;
      for (int32_t groups, group = 0; group < task.groups; group += groups) {
        groups = least(Isa::kLineGroups, task.groups - group);
        block.weights = task.lines + static_cast<int64_t>(group) * kStepWeights;
        block.start = task.start + static_cast<int64_t>(group) * kRows;
        block_functions.of[groups][pixels](task, block);
        finish(task, Sums{sums, Isa::kLinePixels * kRows, strip.first_pixel + row * strip.width + column,
                          static_cast<int64_t>(group) * kRows, pixels, groups});
      }
    }
  }
}
