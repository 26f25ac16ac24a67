#include "provider/compute.h"

#include <algorithm>
#include <atomic>
#include <new>

namespace netsurgeon::sparse {
namespace {

// ONNX Runtime's threads for one call. What a part throws does not cross ONNX Runtime.
struct Threads {
  const Ort* ort;
  const OrtKernelContext* context;
  void (*function)(void*, size_t) = nullptr;
  void* data = nullptr;
  std::atomic<bool> failed{false};
};

void run_part(void* data, size_t index) {
  Threads& threads = *static_cast<Threads*>(data);
  try {
    threads.function(threads.data, index);
  } catch (...) {
    threads.failed = true;
  }
}

void run_parallel(void* context, void (*function)(void*, size_t), size_t count, void* data) {
  Threads& threads = *static_cast<Threads*>(context);
  threads.function = function;
  threads.data = data;
  threads.ort->parallel_for(threads.context, run_part, count, &threads);
  if (threads.failed) throw std::bad_alloc();
}

void expect(bool holds, const char* message) {
  if (!holds) throw std::runtime_error(message);
}

// Bytes of one shape, repeated along the axes of which it has 1 where the other has more.
std::vector<uint8_t> repeated_bytes(const uint8_t* from, const std::vector<int64_t>& shape,
                                    const std::vector<int64_t>& larger) {
  int64_t count = 1;
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    expect(shape[axis] == larger[axis] || shape[axis] == 1,
           "netsurgeon-sparse: what is added to a layer's output has a larger shape than it");
    count *= larger[axis];
  }
  std::vector<uint8_t> to(static_cast<size_t>(count));
  for (int64_t index = 0; index < count; ++index) {
    int64_t rest = index, place = 0, step = 1;
    for (size_t axis = shape.size(); axis-- > 0;) {
      const int64_t at = rest % larger[axis];
      rest /= larger[axis];
      if (shape[axis] > 1) place += at * step;
      step *= shape[axis];
    }
    to[static_cast<size_t>(index)] = from[place];
  }
  return to;
}

// [batch, rows of memory, columns] to [batch, columns, rows].
std::vector<uint8_t> turned(const uint8_t* from, int64_t batch, int64_t rows, int64_t columns) {
  std::vector<uint8_t> to(static_cast<size_t>(batch * rows * columns));
  for (int64_t image = 0; image < batch; ++image)
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t column = 0; column < columns; ++column)
        to[static_cast<size_t>((image * columns + column) * rows + row)] = from[(image * rows + row) * columns + column];
  return to;
}

// Of values among the inputs of a fused node.
struct Places {
  size_t input = 0, residual = 0, step = 0, zero_point = 0;
};

class LayerKernel final : public Kernel {
 public:
  LayerKernel(const Ort& ort, const Group& group, const Places& places, Isa isa)
      : ort_(ort),
        layer_(group.layer, isa),
        is_matrix_(group.kind == Kind::kMatrix),
        nhwc_(group.nhwc),
        adds_(!group.residual.empty()),
        measures_(!group.step.empty()),
        places_(places) {}

  void compute(OrtKernelContext* context) const override {
    const OrtValue* input = ort_.input(context, places_.input);
    std::vector<int64_t> shape;
    expect(ort_.element_type(input, &shape) == kUint8, "netsurgeon-sparse: the input of a layer is not of bytes");
    Threads threads{&ort_, context};
    const Parallel parallel{&threads, run_parallel};
    if (is_matrix_) {
      compute_matrix(context, static_cast<const uint8_t*>(ort_.data(input)), shape, parallel);
    } else {
      compute_convolution(context, static_cast<const uint8_t*>(ort_.data(input)), shape, parallel);
    }
  }

 private:
  // What is added to the output; in `repeated` where it is repeated along axes whose extents no graph told.
  const uint8_t* residual(OrtKernelContext* context, const std::vector<int64_t>& output_shape,
                          std::vector<uint8_t>& repeated) const {
    if (!adds_) return nullptr;
    const OrtValue* value = ort_.input(context, places_.residual);
    std::vector<int64_t> shape;
    expect(ort_.element_type(value, &shape) == kUint8 && shape.size() == output_shape.size(),
           "netsurgeon-sparse: what is added to a layer's output has another shape");
    const auto* bytes = static_cast<const uint8_t*>(ort_.data(value));
    if (shape == output_shape) return bytes;
    repeated = repeated_bytes(bytes, shape, output_shape);
    return repeated.data();
  }

  template <typename Number>
  Number number(OrtKernelContext* context, size_t place, int type) const {
    const OrtValue* value = ort_.input(context, place);
    std::vector<int64_t> shape;
    expect(ort_.element_type(value, &shape) == type && shape.empty(), "netsurgeon-sparse: a scale that is no number");
    return *static_cast<const Number*>(ort_.data(value));
  }

  void compute_matrix(OrtKernelContext* context, const uint8_t* input, std::vector<int64_t> shape,
                      const Parallel& parallel) const {
    expect(shape.size() >= 2 && shape.back() == layer_.channels(),
           "netsurgeon-sparse: the input of a matrix product has another number of columns");
    int64_t pixels = 1;
    for (size_t axis = 0; axis + 1 < shape.size(); ++axis) pixels *= shape[axis];
    shape.back() = layer_.rows();
    OrtValue* output = ort_.output(context, 0, shape);
    expect(ort_.element_type(output, nullptr) == (layer_.output() == Output::kFloats ? kFloat : kUint8),
           "netsurgeon-sparse: the output of a matrix product has another type");
    const Sizes sizes = layer_.sizes(pixels, 1, 1);
    if (measures_) {
      const InputScale scale{number<float>(context, places_.step, kFloat),
                             number<uint8_t>(context, places_.zero_point, kUint8)};
      layer_.run(sizes, input, scale, static_cast<float*>(ort_.data(output)), parallel);
      return;
    }
    std::vector<uint8_t> repeated;
    layer_.run(sizes, input, residual(context, shape, repeated), ort_.data(output), parallel);
  }

  void compute_convolution(OrtKernelContext* context, const uint8_t* input, const std::vector<int64_t>& shape,
                           const Parallel& parallel) const {
    expect(shape.size() == 4 && shape[nhwc_ ? 3 : 1] == layer_.channels(),
           "netsurgeon-sparse: the input of a convolution has another number of channels");
    const int64_t batch = shape[0], channels = layer_.channels(), rows = layer_.rows();
    const Sizes sizes = layer_.sizes(batch, shape[nhwc_ ? 1 : 2], shape[nhwc_ ? 2 : 3]);
    std::vector<uint8_t> repeated;
    if (nhwc_) {
      const std::vector<int64_t> output_shape{batch, sizes.out_height, sizes.out_width, rows};
      OrtValue* output = ort_.output(context, 0, output_shape);
      layer_.run(sizes, input, residual(context, output_shape, repeated), ort_.data(output), parallel);
      return;
    }
    // Where ONNX Runtime left the layout as it was: right, and not fast.
    const std::vector<int64_t> output_shape{batch, rows, sizes.out_height, sizes.out_width};
    const int64_t pixels = sizes.out_height * sizes.out_width;
    auto* output = static_cast<uint8_t*>(ort_.data(ort_.output(context, 0, output_shape)));
    const uint8_t* added = residual(context, output_shape, repeated);
    const std::vector<uint8_t> last = turned(input, batch, channels, sizes.height * sizes.width);
    const std::vector<uint8_t> added_last = added ? turned(added, batch, rows, pixels) : std::vector<uint8_t>();
    std::vector<uint8_t> result(static_cast<size_t>(batch * pixels * rows));
    layer_.run(sizes, last.data(), added ? added_last.data() : nullptr, result.data(), parallel);
    const std::vector<uint8_t> first = turned(result.data(), batch, pixels, rows);
    std::copy(first.begin(), first.end(), output);
  }

  const Ort& ort_;
  Layer layer_;
  bool is_matrix_, nhwc_, adds_, measures_;
  Places places_;
};

class PoolKernel final : public Kernel {
 public:
  PoolKernel(const Ort& ort, const Group& group, size_t input, Isa isa)
      : ort_(ort),
        pool_(group.pool),
        pad_bottom_(group.pool_pad_bottom),
        pad_right_(group.pool_pad_right),
        nhwc_(group.nhwc),
        input_(input),
        isa_(isa) {}

  void compute(OrtKernelContext* context) const override {
    const OrtValue* input = ort_.input(context, input_);
    std::vector<int64_t> shape;
    expect(ort_.element_type(input, &shape) == kUint8 && shape.size() == 4,
           "netsurgeon-sparse: the input of a pooling is not of bytes");
    Pool pool = pool_;
    const int64_t batch = shape[0];
    pool.height = shape[nhwc_ ? 1 : 2];
    pool.width = shape[nhwc_ ? 2 : 3];
    pool.channels = shape[nhwc_ ? 3 : 1];
    const int64_t out_height =
        output_size(pool.height, pool.kernel_height, pool.stride_height, 1, pool.pad_top, pad_bottom_);
    pool.out_width = output_size(pool.width, pool.kernel_width, pool.stride_width, 1, pool.pad_left, pad_right_);
    std::vector<int64_t> output_shape{batch, out_height, pool.out_width, pool.channels};
    if (!nhwc_) output_shape = {batch, pool.channels, out_height, pool.out_width};
    const auto* from = static_cast<const uint8_t*>(ort_.data(input));
    auto* to = static_cast<uint8_t*>(ort_.data(ort_.output(context, 0, output_shape)));
    int64_t images = batch;
    if (!nhwc_) {  // a channel is an image of its own
      images *= pool.channels;
      pool.channels = 1;
    }
    pool.input = from;
    pool.output = to;
    Threads threads{&ort_, context};
    run_pool(pool, images, out_height, isa_, Parallel{&threads, run_parallel});
  }

 private:
  const Ort& ort_;
  Pool pool_;
  int64_t pad_bottom_, pad_right_;
  bool nhwc_;
  size_t input_;
  Isa isa_;
};

size_t place_of(const std::vector<std::string>& inputs, const std::string& name) {
  const auto found = std::find(inputs.begin(), inputs.end(), name);
  expect(found != inputs.end(), "netsurgeon-sparse: an input of a group is not among those of its node");
  return static_cast<size_t>(found - inputs.begin());
}

}  // namespace

std::unique_ptr<Kernel> make_kernel(const Ort& ort, Group group, const std::vector<std::string>& inputs, Isa isa) {
  const size_t input = place_of(inputs, group.input);
  if (group.kind == Kind::kPool) return std::make_unique<PoolKernel>(ort, group, input, isa);
  Places places{input};
  if (!group.residual.empty()) places.residual = place_of(inputs, group.residual);
  if (!group.step.empty()) {
    places.step = place_of(inputs, group.step);
    places.zero_point = place_of(inputs, group.zero_point);
  }
  group.layer.weight = group.weight.data();
  return std::make_unique<LayerKernel>(ort, group, places, isa);
}

}  // namespace netsurgeon::sparse
