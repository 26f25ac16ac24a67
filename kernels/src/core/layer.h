// A layer that is ready to run: encoded weights, and how its sums become outputs. Immutable, so that any number of
// threads can run it at a time.
#pragma once

#include <cstdint>
#include <vector>

#include "engine.h"
#include "format.h"
#include "isa.h"

namespace netsurgeon::sparse {

// Calls function(data, i) for each i below count, perhaps at a time on several threads; returns when all are done.
struct Parallel {
  void* context = nullptr;
  void (*run)(void* context, void (*function)(void* data, size_t index), size_t count, void* data) = nullptr;
};

// Dense weights [rows, kernel_height, kernel_width, channels] and what turns sums into outputs.
struct LayerSource {
  const int8_t* weight = nullptr;
  int64_t rows = 0;
  Geometry geometry;
  int64_t pad_bottom = 0, pad_right = 0;
  uint8_t input_zero_point = 0;
  std::vector<int32_t> bias;   // [rows] in units of the sum, or empty
  std::vector<float> scale;    // [rows] sum to output: input scale * weight scale / output scale, in ONNX Runtime's order
  std::vector<float> added;    // [rows] to outputs that are floats, or empty
  Epilogue epilogue;
};

// Throws std::invalid_argument for what makes no layer, or one that is too large.
void check_source(const LayerSource& source);

// Pieces of at most 64 bytes that are copied for each pixel where windows of so many columns do not lie in the image as
// they are; 0 where they do.
int64_t pieces_of(const Geometry& geometry, int32_t width);

// Whether a layer of so many steps of that width runs faster with all of its weights, a line at a time: few channels.
bool has_lines(const LayerSource& source, int64_t steps, int32_t width);

struct InputScale {
  float step = 1;
  uint8_t zero_point = 0;
};

struct Sizes {
  int64_t batch = 1, height = 1, width = 1, out_height = 1, out_width = 1;
};

class Layer {
 public:
  // Throws std::invalid_argument for sizes that make no layer, std::bad_alloc.
  Layer(const LayerSource& source, Isa isa);

  // Output sizes for an input; throws std::invalid_argument where there would be none.
  Sizes sizes(int64_t batch, int64_t height, int64_t width) const;

  // NHWC in, NHWC out; `residual` is of the output's shape, for Output::kBytesWithResidual.
  void run(const Sizes& sizes, const uint8_t* input, const uint8_t* residual, void* output,
           const Parallel& parallel) const;

  // A matrix product whose input has a scale that is known now, by which each row's scale is multiplied.
  void run(const Sizes& sizes, const uint8_t* input, const InputScale& scale, float* output,
           const Parallel& parallel) const;

  int64_t rows() const { return encoded_.rows; }
  int64_t channels() const { return geometry_.channels; }
  int64_t steps() const { return encoded_.steps; }
  Output output() const { return epilogue_.output; }
  const Encoded& encoded() const { return encoded_; }
  const char* engine() const { return engine_->name; }

 private:
  bool is_padded() const;
  bool is_pointwise() const;
  bool runs_in_rows(int64_t out_width) const;
  Task task(const Sizes& sizes, const uint8_t* input, void* output) const;
  void run(Task task, const Parallel& parallel) const;

  Encoded encoded_;
  const Engine* engine_ = nullptr;
  Geometry geometry_;
  int64_t pad_bottom_ = 0, pad_right_ = 0;
  uint8_t input_zero_point_ = 0;
  int32_t sub_tiles_ = 1;
  bool in_rows_ = false;    // each window is a line of one pixel's channels, and there are few
  Aligned<uint8_t> lines_;  // null where the encoded weights are used
  int32_t line_words_ = 0;
  std::vector<int32_t> start_;
  std::vector<int32_t> row_sums_;  // of the weights
  std::vector<float> scale_, added_;
  Epilogue epilogue_;
};

// Pixels that a kernel reaches along one axis; 0 where it reaches none. Throws std::invalid_argument.
int64_t output_size(int64_t size, int64_t kernel, int64_t stride, int64_t dilation, int64_t before, int64_t after);

// NHWC largest values of bytes.
void run_pool(const Pool& pool, int64_t batch, int64_t out_height, Isa isa, const Parallel& parallel);

}  // namespace netsurgeon::sparse
