// What the parts of the core share with the code of each instruction set: plain data, so that no function that is
// compiled for one of them can end up in the rest of the library.
#pragma once

#include <cstddef>
#include <cstdint>

namespace netsurgeon::sparse {

constexpr int kRows = 16;                          // rows of a tile, lanes of a vector of sums
constexpr int kSlots = 4;                          // weights of one row in a step
constexpr int kStepWeights = kRows * kSlots;       // 64 index bytes, then 64 weights
constexpr int kStepBytes = 2 * kStepWeights;
constexpr int kMostRowWindows = 64;
constexpr int kGroups = 4;                         // row groups that become outputs together: a cache line of bytes
constexpr int32_t kSignedOffset = 128;             // what makes a byte a signed one, where only those are multiplied

enum class Output : int32_t { kBytes, kBytesWithResidual, kFloats };

// From sums to what is stored. Everything that is one number a layer; `scale` and `start` are numbers a row.
struct Epilogue {
  Output output = Output::kBytes;
  int32_t zero_point = 0, low = 0, high = 255;     // of the product: QuantizeLinear, with Relu or Clip as bounds
  float most = 255.0f;                             // 255 - zero_point: more would not fit an int32 for sure
  // Add behind it, as ONNX Runtime's QLinearAdd computes it: first * ratio + (second * ratio + fixed)
  float product_ratio = 0.0f, residual_ratio = 0.0f, fixed = 0.0f;
  int32_t product_first = 1, added_low = 0, added_high = 255;
};

struct Geometry {
  int64_t channels = 1, kernel_height = 1, kernel_width = 1;
  int64_t stride_height = 1, stride_width = 1, dilation_height = 1, dilation_width = 1;
  int64_t pad_top = 0, pad_left = 0;
};

// A prepared layer and one call of it.
struct Task {
  // weights, chunk by chunk: chunk c of row group g has the steps [pointers[c * groups + g], the next one)
  const uint8_t* stream = nullptr;
  const uint16_t* windows = nullptr;               // of each step, from the beginning of its chunk
  const int32_t* pointers = nullptr;
  int32_t groups = 0, chunks = 0, chunk_windows = 0, all_windows = 0;
  int64_t rows = 0, columns = 0;
  // a line is what lies together in an image: the taps of one row of the kernel, or one tap where these lie apart
  int64_t line_taps = 1;
  // all weights of a layer of few channels, or null: [lines][line_words][groups][16][4]; a line has zeros up to whole
  // words of four
  const uint8_t* lines = nullptr;
  int32_t line_words = 0;
  const int32_t* start = nullptr;                  // [groups * 16] bias less what the input's zero point adds, beyond offset
  const float* scale = nullptr;                    // [groups * 16]
  const float* added = nullptr;                    // [groups * 16] to outputs that are floats, or null
  uint8_t input_zero_point = 0;
  Geometry geometry;
  Epilogue epilogue;
  // the call
  const uint8_t* input = nullptr;                  // NHWC
  const uint8_t* residual = nullptr;               // as the output
  void* output = nullptr;                          // NHWC, uint8 or float
  int64_t batch = 0, height = 0, width = 0, out_height = 0, out_width = 0;
};

// Some pixels of the output, in one or two sub-tiles, whose columns lie in `panel` as [sub-tile][window][pixel][width].
struct Tile {
  int64_t first = 0;
  int32_t pixels = 0, sub_tiles = 1;
};

// Sums of some row groups, at most kGroups, and pixels: of[group * group_stride + pixel * 16 + row].
struct Sums {
  const int32_t* of = nullptr;
  int64_t group_stride = 0, first_pixel = 0, first_row = 0;
  int32_t pixels = 0, groups = 0;
};

struct Pool {
  const uint8_t* input;
  uint8_t* output;
  int64_t channels, height, width, out_width, kernel_height, kernel_width, stride_height, stride_width, pad_top, pad_left;
  int64_t dilation_height, dilation_width;
};

// Some rows of the output, of `width` pixels, and what they see of the input, with the padding around it: `row_bytes` from
// one row to the next. Layers in lines read up to four bytes behind it.
struct Strip {
  const uint8_t* input = nullptr;
  int64_t row_bytes = 0, first_pixel = 0, rows = 0, width = 0;
};

struct Engine {
  const char* name;
  int32_t width;                                   // columns of a window
  int32_t pixels;                                  // most pixels in registers at a time
  // Gather the columns of one chunk.
  void (*pack)(const Task&, const Tile&, int32_t chunk, uint8_t* panel);
  // Multiply a chunk by some row groups. `sums` [group][pixel][16] carries partial sums from chunk to chunk.
  void (*multiply)(const Task&, const Tile&, int32_t chunk, const uint8_t* panel, int32_t first_group,
                   int32_t last_group, int32_t* sums);
  // At most kMostRowWindows windows, each of which is a line of one pixel's channels: nothing is packed. `sums` has room for
  // those of all row groups and as many pixels as registers hold.
  void (*multiply_rows)(const Task&, const Strip&, int32_t* sums);
  // A layer that has `lines`.
  void (*multiply_lines)(const Task&, const Strip&);
  // Largest values of one row of the output of a pooling, NHWC.
  void (*pool_row)(const Pool&, int64_t image, int64_t row);
  // Take these steps, so many times over, by a panel [step][pixel][width], and keep the sums in `to` [pixel][16]: what the
  // instructions allow.
  void (*repeat)(const uint8_t* stream, int32_t steps, const uint8_t* panel, int64_t times, int32_t* to);
  // What is taken from each input before it is multiplied.
  int32_t offset = 0;
};

extern const Engine kScalarEngine;
#if defined(NETSURGEON_SPARSE_X86)
extern const Engine kVbmiEngine, kVnni512Engine, kVnni256Engine, kAvx2Engine, kAvx2WideEngine;
#elif defined(NETSURGEON_SPARSE_ARM)
extern const Engine kNeonEngine, kNeonDotEngine;
#endif

}  // namespace netsurgeon::sparse
