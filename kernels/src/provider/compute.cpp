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

using Shape = std::vector<int64_t>;

int64_t count_of(const Shape& shape) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

// The shape of a sum: either one is repeated along axes of which it has 1.
Shape sum_shape(const Shape& first, const Shape& second) {
  Shape whole = first;
  for (size_t axis = 0; axis < whole.size(); ++axis) {
    expect(first[axis] == second[axis] || first[axis] == 1 || second[axis] == 1,
           "netsurgeon-sparse: what is added to a layer's output has a shape that does not fit it");
    if (first[axis] == 1) whole[axis] = second[axis];
  }
  return whole;
}

// Where a value of `shape`, repeated to `whole`, has its element for that of an index into the whole.
int64_t place_in(const Shape& shape, const Shape& whole, int64_t index) {
  int64_t place = 0, step = 1;
  for (size_t axis = shape.size(); axis-- > 0;) {
    if (shape[axis] > 1) place += index % whole[axis] * step;
    index /= whole[axis];
    step *= shape[axis];
  }
  return place;
}

// The index into `whole` of an element of one of the copies that make it of a value of `shape`.
int64_t index_of(const Shape& shape, const Shape& whole, int64_t element, int64_t copy) {
  int64_t index = 0, step = 1;
  for (size_t axis = shape.size(); axis-- > 0;) {
    int64_t& rest = shape[axis] == whole[axis] ? element : copy;
    index += rest % whole[axis] * step;
    rest /= whole[axis];
    step *= whole[axis];
  }
  return index;
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
    Shape shape;
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
  void* output(OrtKernelContext* context, const Shape& shape) const {
    OrtValue* value = ort_.output(context, 0, shape);
    expect(ort_.element_type(value, nullptr) == (layer_.output() == Output::kFloats ? kFloat : kUint8),
           "netsurgeon-sparse: the output of a layer has another type");
    return ort_.data(value);
  }

  template <typename Number>
  Number number(OrtKernelContext* context, size_t place, int type) const {
    const OrtValue* value = ort_.input(context, place);
    std::vector<int64_t> shape;
    expect(ort_.element_type(value, &shape) == type && shape.empty(), "netsurgeon-sparse: a scale that is no number");
    return *static_cast<const Number*>(ort_.data(value));
  }

  void compute_matrix(OrtKernelContext* context, const uint8_t* input, Shape shape, const Parallel& parallel) const {
    expect(shape.size() >= 2 && shape.back() == layer_.channels(),
           "netsurgeon-sparse: the input of a matrix product has another number of columns");
    int64_t pixels = 1;
    for (size_t axis = 0; axis + 1 < shape.size(); ++axis) pixels *= shape[axis];
    shape.back() = layer_.rows();
    const Sizes sizes = layer_.sizes(pixels, 1, 1);
    if (measures_) {
      const InputScale scale{number<float>(context, places_.step, kFloat),
                             number<uint8_t>(context, places_.zero_point, kUint8)};
      layer_.run(sizes, input, scale, static_cast<float*>(output(context, shape)), parallel);
      return;
    }
    finish(context, sizes, input, shape, parallel);
  }

  void compute_convolution(OrtKernelContext* context, const uint8_t* input, const Shape& shape,
                           const Parallel& parallel) const {
    expect(shape.size() == 4 && shape[nhwc_ ? 3 : 1] == layer_.channels(),
           "netsurgeon-sparse: the input of a convolution has another number of channels");
    const Sizes sizes = layer_.sizes(shape[0], shape[nhwc_ ? 1 : 2], shape[nhwc_ ? 2 : 3]);
    const int64_t rows = layer_.rows(), height = sizes.out_height, width = sizes.out_width;
    finish(context, sizes, input, nhwc_ ? Shape{shape[0], height, width, rows} : Shape{shape[0], rows, height, width},
           parallel);
  }

  // Makes the output, of the layer's shape or of that of its sum with what is added.
  void finish(OrtKernelContext* context, const Sizes& sizes, const uint8_t* input, const Shape& shape,
              const Parallel& parallel) const {
    if (!adds_) {
      run(sizes, input, nullptr, output(context, shape), parallel);
      return;
    }
    const OrtValue* value = ort_.input(context, places_.residual);
    Shape added_shape;
    expect(ort_.element_type(value, &added_shape) == kUint8 && added_shape.size() == shape.size(),
           "netsurgeon-sparse: what is added to a layer's output has another shape");
    const auto* added = static_cast<const uint8_t*>(ort_.data(value));
    if (added_shape == shape) {
      run(sizes, input, added, output(context, shape), parallel);
      return;
    }
    // Extents that no graph told, in which one of both is repeated: right, and not fast.
    const Shape whole = sum_shape(shape, added_shape);
    auto* sums = static_cast<uint8_t*>(output(context, whole));
    const int64_t all = count_of(whole), count = count_of(shape);
    if (all == 0) return;
    std::vector<uint8_t> part(static_cast<size_t>(count)), result(part.size());
    for (int64_t copy = 0; copy < all / count; ++copy) {
      for (int64_t element = 0; element < count; ++element)
        part[static_cast<size_t>(element)] =
            added[place_in(added_shape, whole, index_of(shape, whole, element, copy))];
      run(sizes, input, part.data(), result.data(), parallel);
      for (int64_t element = 0; element < count; ++element)
        sums[index_of(shape, whole, element, copy)] = result[static_cast<size_t>(element)];
    }
  }

  // `added` and `result` are of the layer's shape.
  void run(const Sizes& sizes, const uint8_t* input, const uint8_t* added, void* result, const Parallel& parallel) const {
    if (is_matrix_ || nhwc_) {
      layer_.run(sizes, input, added, result, parallel);
      return;
    }
    // Where ONNX Runtime left the layout as it was: right, and not fast.
    const int64_t batch = sizes.batch, rows = layer_.rows(), pixels = sizes.out_height * sizes.out_width;
    const std::vector<uint8_t> last = turned(input, batch, layer_.channels(), sizes.height * sizes.width);
    const std::vector<uint8_t> added_last = added ? turned(added, batch, rows, pixels) : std::vector<uint8_t>();
    std::vector<uint8_t> result_last(static_cast<size_t>(batch * pixels * rows));
    layer_.run(sizes, last.data(), added ? added_last.data() : nullptr, result_last.data(), parallel);
    const std::vector<uint8_t> first = turned(result_last.data(), batch, pixels, rows);
    std::copy(first.begin(), first.end(), static_cast<uint8_t*>(result));
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
