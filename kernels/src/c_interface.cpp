// Plain functions over the core, for tests and measurements in other languages.
#include <atomic>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "core/isa.h"
#include "core/layer.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

using namespace netsurgeon::sparse;

namespace {

thread_local std::string last_error;

template <typename Result, typename Function>
Result guarded(Result failed, Function function) {
  try {
    return function();
  } catch (const std::exception& error) {
    last_error = error.what();
  } catch (...) {
    last_error = "an unknown failure";
  }
  return failed;
}

// What a part throws ends the process where there are several threads: this is for tests.
void run_on_threads(void* context, void (*function)(void*, size_t), size_t count, void* data) {
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t i = next++; i < count; i = next++) function(data, i);
  };
  std::vector<std::jthread> others;
  for (int32_t i = 1; i < *static_cast<const int32_t*>(context); ++i) others.emplace_back(work);
  work();
}

Isa isa_named(const char* name) {
  if (!name || !*name) return chosen_isa();
  for (const Isa isa : available_isas())
    if (std::strcmp(name, isa_name(isa)) == 0) return isa;
  throw std::invalid_argument(std::string("the instruction set '") + name + "' is not here");
}

}  // namespace

// What a layer is made of; weight [rows, kernel_height, kernel_width, channels].
struct NetsurgeonSparseLayer {
  int64_t rows, channels, kernel_height, kernel_width, stride_height, stride_width, dilation_height, dilation_width;
  int64_t pad_top, pad_left, pad_bottom, pad_right;
  int32_t input_zero_point, output, zero_point, low, high;
  float product_ratio, residual_ratio, fixed;
  int32_t product_first, added_low, added_high;
};

// Why the last function of this thread gave null or a negative number.
EXPORT const char* netsurgeon_sparse_error() { return last_error.c_str(); }

// Names of the instruction sets that are here, the best one first, with commas; the one that is chosen.
EXPORT const char* netsurgeon_sparse_isas() {
  static const std::string names = [] {
    std::string joined;
    for (const Isa isa : available_isas()) {
      if (!joined.empty()) joined += ',';
      joined += isa_name(isa);
    }
    return joined;
  }();
  return names.c_str();
}

EXPORT const char* netsurgeon_sparse_isa() {
  return guarded<const char*>(nullptr, [] { return isa_name(chosen_isa()); });
}

EXPORT void* netsurgeon_sparse_create(const NetsurgeonSparseLayer* layer, const int8_t* weight, const int32_t* bias,
                                      const float* scale, const char* isa) {
  return guarded<void*>(nullptr, [&]() -> void* {
    if (!layer || !scale || layer->rows < 0 || layer->rows > (1 << 24)) throw std::invalid_argument("no layer");
    if (layer->input_zero_point < 0 || layer->input_zero_point > 255)
      throw std::invalid_argument("a zero point of no byte");
    if (layer->output < 0 || layer->output > 2) throw std::invalid_argument("no kind of output");
    LayerSource source;
    source.weight = weight;
    source.rows = layer->rows;
    source.geometry = {layer->channels,        layer->kernel_height,   layer->kernel_width,
                       layer->stride_height,   layer->stride_width,    layer->dilation_height,
                       layer->dilation_width,  layer->pad_top,         layer->pad_left};
    source.pad_bottom = layer->pad_bottom;
    source.pad_right = layer->pad_right;
    source.input_zero_point = static_cast<uint8_t>(layer->input_zero_point);
    if (bias) source.bias.assign(bias, bias + layer->rows);
    source.scale.assign(scale, scale + layer->rows);
    source.epilogue = {static_cast<Output>(layer->output), layer->zero_point,    layer->low,   layer->high, 0.0f,
                       layer->product_ratio,               layer->residual_ratio, layer->fixed, layer->product_first,
                       layer->added_low,                   layer->added_high};
    return new Layer(source, isa_named(isa));
  });
}

EXPORT void netsurgeon_sparse_destroy(void* layer) { delete static_cast<Layer*>(layer); }

// Output height and width; 0, or -1 where the sizes make no output.
EXPORT int32_t netsurgeon_sparse_sizes(const void* layer, int64_t batch, int64_t height, int64_t width, int64_t* out) {
  return guarded<int32_t>(-1, [&] {
    const Sizes sizes = static_cast<const Layer*>(layer)->sizes(batch, height, width);
    out[0] = sizes.out_height;
    out[1] = sizes.out_width;
    return 0;
  });
}

// On so many threads, at most 64.
EXPORT int32_t netsurgeon_sparse_run(const void* layer, int64_t batch, int64_t height, int64_t width, int32_t threads,
                                     const uint8_t* input, const uint8_t* residual, void* output) {
  return guarded<int32_t>(-1, [&] {
    if (threads < 1 || threads > 64) throw std::invalid_argument("a number of threads that is not 1 to 64");
    const Layer& sparse = *static_cast<const Layer*>(layer);
    sparse.run(sparse.sizes(batch, height, width), input, residual, output, Parallel{&threads, run_on_threads});
    return 0;
  });
}

EXPORT int64_t netsurgeon_sparse_steps(const void* layer) { return static_cast<const Layer*>(layer)->steps(); }

// Multiplies weights of steps by columns, as a layer does, with nothing else to do and all that is read in the nearest
// cache: about `slots` of them. Gives their number, or -1. Over the time that it took: what an instruction set allows.
EXPORT int64_t netsurgeon_sparse_repeat(const char* isa, int64_t slots) {
  return guarded<int64_t>(-1, [&] {
    constexpr size_t steps = 8;
    const Engine& engine = engine_of(isa_named(isa), true);
    const auto width = static_cast<size_t>(engine.width), pixels = static_cast<size_t>(engine.pixels);
    const auto stream = aligned<uint8_t>(steps * kStepBytes), panel = aligned<uint8_t>(steps * pixels * width);
    for (size_t i = 0; i < steps * kStepBytes; ++i) stream[i] = static_cast<uint8_t>(7 * i % width);
    std::memset(panel.get(), 1, steps * pixels * width);
    const auto sums = aligned<int32_t>(pixels * kRows);
    const auto once = static_cast<int64_t>(steps * pixels) * kStepWeights;
    const int64_t times = slots < once ? 1 : slots / once;
    engine.repeat(stream.get(), static_cast<int32_t>(steps), panel.get(), times, sums.get());
    return times * once;
  });
}

// The dense weights again, from the encoded ones.
EXPORT void netsurgeon_sparse_decode(const void* layer, int8_t* weight) {
  const std::vector<int8_t> decoded = decode(static_cast<const Layer*>(layer)->encoded());
  std::memcpy(weight, decoded.data(), decoded.size());
}
