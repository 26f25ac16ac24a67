#include "layer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "jobs.h"

namespace netsurgeon::sparse {
namespace {

constexpr int64_t kPanelBytes = 32000;        // of a chunk: what stays in the nearest cache beside the weights
constexpr int64_t kLargeStream = 192 * 1024;  // of weights: read for twice as many pixels at a time from here on
constexpr int64_t kFewTiles = 8;              // fewer are divided by row groups, so that threads have something to do
constexpr int64_t kMostNumbers = int64_t{1} << 46;  // of a tensor: more than any memory holds
constexpr int64_t kMostColumns = int64_t{1} << 24, kMostWeights = int64_t{1} << 33;
constexpr int64_t kMostKernel = int64_t{1} << 20, kMostSize = int64_t{1} << 30;

constexpr int64_t kMostLine = 1024, kMostLines = 64 * 1024;  // bytes of weights, a row of the kernel and all, that are
                                                             // read again for every few pixels
constexpr double kStepWords = 1.3, kPieceWords = 12;  // a step, and a piece that is gathered, take as long as so many
                                                      // words of a line
constexpr int64_t kStripRows = 4, kStrips = 14;  // most rows of the output that share what is copied; strips, if they can be
constexpr int64_t kMostStrip = int64_t{1} << 24;  // bytes that are copied
constexpr double kGathered = 27, kLoaded = 0.5;  // bytes a nanosecond into a panel; nanoseconds that a step's weights take

void check(bool holds, const char* what) {
  if (!holds) throw std::invalid_argument(what);
}

bool in_range(int64_t value, int64_t low, int64_t high) { return value >= low && value <= high; }

int64_t columns_of(const Geometry& geometry) {
  return geometry.kernel_height * geometry.kernel_width * geometry.channels;  // below 2^44 where both are checked
}

int64_t line_taps(const Geometry& g) { return g.dilation_width == 1 ? g.kernel_width : 1; }

int64_t line_count(const Geometry& g) { return g.kernel_height * (g.kernel_width / line_taps(g)); }

int64_t line_words(const Geometry& g) { return (line_taps(g) * g.channels + kSlots - 1) / kSlots; }

}  // namespace

void check_source(const LayerSource& source) {
  const Geometry& g = source.geometry;
  check(source.weight != nullptr, "a layer without weights");
  check(source.rows >= 1 && g.channels >= 1, "a layer without channels");
  check(source.rows <= kMostKernel && g.channels <= kMostKernel, "a weight that is too large");
  check(in_range(g.kernel_height, 1, 4096) && in_range(g.kernel_width, 1, 4096), "a kernel size that is not 1 to 4096");
  check(in_range(g.stride_height, 1, 65536) && in_range(g.stride_width, 1, 65536), "a stride that is not 1 to 65536");
  check(in_range(g.dilation_height, 1, 65536) && in_range(g.dilation_width, 1, 65536),
        "a dilation that is not 1 to 65536");
  for (const int64_t pad : {g.pad_top, g.pad_left, source.pad_bottom, source.pad_right})
    check(in_range(pad, 0, 65536), "a padding that is not 0 to 65536");
  check(source.bias.empty() || source.bias.size() == static_cast<size_t>(source.rows), "a bias of another size");
  check(source.scale.size() == static_cast<size_t>(source.rows), "scales of another size");
  check(source.added.empty() || source.added.size() == source.scale.size(), "a bias of another size");
  for (const float scale : source.scale) check(std::isfinite(scale) && scale > 0, "a scale that is not positive");
  const Epilogue& e = source.epilogue;
  check(in_range(e.zero_point, 0, 255) && in_range(e.low, 0, 255) && in_range(e.high, e.low, 255), "bounds of no byte");
  check(in_range(e.added_low, 0, 255) && in_range(e.added_high, e.added_low, 255), "bounds of no byte");
  check(e.output != Output::kBytesWithResidual ||
            (std::isfinite(e.product_ratio) && std::isfinite(e.residual_ratio) && std::isfinite(e.fixed)),
        "scales of a sum that are not finite");
  check(columns_of(g) <= kMostColumns && columns_of(g) <= kMostWeights / source.rows, "a weight that is too large");
}

int64_t pieces_of(const Geometry& geometry, int32_t width) {
  if (geometry.channels % width == 0) return 0;
  return line_count(geometry) * ((line_taps(geometry) * geometry.channels + 63) / 64);
}

bool has_lines(const LayerSource& source, int64_t steps, int32_t width) {
  const Geometry& g = source.geometry;
  const int64_t groups = (source.rows + kRows - 1) / kRows, words = line_count(g) * line_words(g) * groups;
  const int64_t pieces = pieces_of(g, width);
  const double others = kStepWords * static_cast<double>(steps) + kPieceWords * static_cast<double>(pieces);
  return g.kernel_height * g.kernel_width > 1 && line_taps(g) * g.channels <= kMostLine &&
         words * kStepWeights <= kMostLines && static_cast<double>(words) <= others;
}

namespace {

int32_t wrapped(int64_t value) { return static_cast<int32_t>(static_cast<uint32_t>(static_cast<uint64_t>(value))); }

std::vector<int32_t> row_sums(const LayerSource& source, int64_t columns, int32_t groups) {
  std::vector<int32_t> sums(static_cast<size_t>(groups) * kRows, 0);
  for (int64_t row = 0; row < source.rows; ++row) {
    int64_t sum = 0;
    for (int64_t column = 0; column < columns; ++column) sum += source.weight[row * columns + column];
    sums[static_cast<size_t>(row)] = wrapped(sum);  // exact: at most 2^24 columns
  }
  return sums;
}

// The bias less the input's zero point, beyond what the engine takes away, times the weights of each row: what the sums
// have too much.
std::vector<int32_t> starts(const std::vector<int32_t>& sums, const std::vector<int32_t>& bias, int32_t zero_point) {
  std::vector<int32_t> start(sums.size());
  for (size_t row = 0; row < sums.size(); ++row)
    start[row] = wrapped((row < bias.size() ? bias[row] : 0) - int64_t{sums[row]} * zero_point);
  return start;
}

Aligned<uint8_t> lines_of(const LayerSource& source, int64_t groups) {
  const Geometry& g = source.geometry;
  const int64_t line = line_taps(g) * g.channels, count = line_count(g), words = line_words(g);
  const size_t bytes = static_cast<size_t>(count * words * groups * kStepWeights);
  Aligned<uint8_t> lines = aligned<uint8_t>(bytes);
  std::memset(lines.get(), 0, bytes);
  for (int64_t row = 0; row < source.rows; ++row)
    for (int64_t i = 0; i < count; ++i)
      for (int64_t at = 0; at < line; ++at) {
        const int64_t group = (i * words + at / kSlots) * groups + row / kRows;
        lines[static_cast<size_t>(group * kStepWeights + row % kRows * kSlots + at % kSlots)] =
            static_cast<uint8_t>(source.weight[(row * count + i) * line + at]);
      }
  return lines;
}

}  // namespace

int64_t output_size(int64_t size, int64_t kernel, int64_t stride, int64_t dilation, int64_t before, int64_t after) {
  check(stride > 0 && kernel > 0 && dilation > 0 && before >= 0 && after >= 0, "a kernel without a size");
  const int64_t reach = dilation * (kernel - 1) + 1, padded = size + before + after;
  return padded < reach ? 0 : (padded - reach) / stride + 1;
}

Layer::Layer(const LayerSource& source, Isa isa)
    : geometry_(source.geometry),
      pad_bottom_(source.pad_bottom),
      pad_right_(source.pad_right),
      input_zero_point_(source.input_zero_point),
      epilogue_(source.epilogue) {
  check_source(source);
  const int64_t columns = columns_of(geometry_);
  engine_ = &engine_of(isa, false);
  const int32_t width = engine_->width;
  const int64_t stream = count_steps(source.weight, source.rows, columns, width) * kStepBytes;
  sub_tiles_ = stream > kLargeStream ? 2 : 1;
  const int64_t window_bytes = int64_t{engine_->pixels} * sub_tiles_ * width;
  encoded_ = encode(source.weight, source.rows, columns, width,
                    static_cast<int32_t>(std::max<int64_t>(1, kPanelBytes / window_bytes)));
  bool narrow = is_narrow(encoded_);
  if (has_lines(source, encoded_.steps, width)) {  // beside the encoded ones, for rows that are too long to be copied
    lines_ = lines_of(source, encoded_.groups);
    line_words_ = static_cast<int32_t>(line_words(geometry_));
    narrow = narrow && is_narrow(lines_.get(), line_count(geometry_) * line_words_ * encoded_.groups * kStepWeights);
  }
  engine_ = &engine_of(isa, narrow);
  in_rows_ = geometry_.channels % width == 0 && encoded_.all_windows <= kMostRowWindows;
  row_sums_ = row_sums(source, columns, encoded_.groups);
  start_ = starts(row_sums_, source.bias, input_zero_point_ - engine_->offset);
  scale_ = source.scale;
  scale_.resize(start_.size(), 1.0f);
  added_ = source.added;
  if (!added_.empty()) added_.resize(start_.size(), 0.0f);
  epilogue_.most = static_cast<float>(255 - epilogue_.zero_point);
}

Sizes Layer::sizes(int64_t batch, int64_t height, int64_t width) const {
  check(batch >= 0 && height >= 0 && width >= 0, "a size below 0");
  check(batch <= kMostSize && height <= kMostSize && width <= kMostSize,
        "an input of more than 1,073,741,824 images, rows or columns");
  Sizes sizes{batch, height, width, 0, 0};
  const Geometry& g = geometry_;
  sizes.out_height =
      output_size(height, g.kernel_height, g.stride_height, g.dilation_height, g.pad_top, pad_bottom_);
  sizes.out_width = output_size(width, g.kernel_width, g.stride_width, g.dilation_width, g.pad_left, pad_right_);
  const int64_t pixels = height * width, out_pixels = sizes.out_height * sizes.out_width;  // below 2^61
  check(pixels == 0 || batch * g.channels <= kMostNumbers / pixels, "an input that no memory holds");
  check(out_pixels == 0 || batch * encoded_.rows <= kMostNumbers / out_pixels, "an output that no memory holds");
  return sizes;
}

Task Layer::task(const Sizes& sizes, const uint8_t* input, void* output) const {
  Task task;
  task.stream = encoded_.stream.get();
  task.windows = encoded_.windows.data();
  task.pointers = encoded_.pointers.data();
  task.groups = encoded_.groups;
  task.chunks = encoded_.chunks;
  task.chunk_windows = encoded_.chunk_windows;
  task.all_windows = encoded_.all_windows;
  task.rows = encoded_.rows;
  task.columns = encoded_.columns;
  task.line_taps = line_taps(geometry_);
  task.lines = lines_.get();
  task.line_words = line_words_;
  task.start = start_.data();
  task.scale = scale_.data();
  task.added = added_.empty() ? nullptr : added_.data();
  task.input_zero_point = input_zero_point_;
  task.geometry = geometry_;
  task.epilogue = epilogue_;
  task.input = input;
  task.output = output;
  task.batch = sizes.batch;
  task.height = sizes.height;
  task.width = sizes.width;
  task.out_height = sizes.out_height;
  task.out_width = sizes.out_width;
  return task;
}

void Layer::run(const Sizes& sizes, const uint8_t* input, const uint8_t* residual, void* output,
                const Parallel& parallel) const {
  check(epilogue_.output != Output::kBytesWithResidual || residual, "a residual that is not there");
  Task now = task(sizes, input, output);
  now.residual = residual;
  run(now, parallel);
}

void Layer::run(const Sizes& sizes, const uint8_t* input, const InputScale& scale, float* output,
                const Parallel& parallel) const {
  check(epilogue_.output == Output::kFloats && columns_of(geometry_) == geometry_.channels, "no matrix product of floats");
  const std::vector<int32_t> start = starts(row_sums_, {}, scale.zero_point - engine_->offset);
  std::vector<float> scales = scale_;
  for (float& row : scales) row *= scale.step;
  Task now = task(sizes, input, output);
  now.start = start.data();
  now.scale = scales.data();
  run(now, parallel);
}

bool Layer::is_padded() const {
  return (geometry_.pad_top | geometry_.pad_left | pad_bottom_ | pad_right_) != 0;
}

bool Layer::is_pointwise() const {
  const Geometry& g = geometry_;
  return !is_padded() && g.kernel_height * g.kernel_width * g.stride_height * g.stride_width == 1;
}

// Rows of an image are cut into parts of fewer pixels than tiles have: weights are loaded more often, and nothing is packed.
bool Layer::runs_in_rows(int64_t out_width) const {
  if (!in_rows_ || is_pointwise()) return false;
  const int64_t parts = (out_width + engine_->pixels - 1) / engine_->pixels;
  const double often = static_cast<double>(parts) / static_cast<double>(out_width) - 1.0 / engine_->pixels;
  const double loaded = sub_tiles_ > 1 ? 2 * kLoaded : kLoaded;
  return static_cast<double>(encoded_.columns) / kGathered > loaded * often * static_cast<double>(encoded_.steps);
}

void Layer::run(Task task, const Parallel& parallel) const {
  const int64_t pixels = task.batch * task.out_height * task.out_width;
  if (pixels == 0) return;
  const int64_t together = int64_t{engine_->pixels} * sub_tiles_;
  Job job{};
  job.task = &task;
  job.engine = engine_;
  job.pixels = pixels;
  job.tiles = (pixels + together - 1) / together;
  job.window_bytes = engine_->width;
  job.strip_rows = std::clamp<int64_t>(task.batch * task.out_height / kStrips, 1, kStripRows);
  job.strips = (task.out_height + job.strip_rows - 1) / job.strip_rows;
  job.is_padded = task.lines || is_padded();
  const bool copies = strip_input_rows(task, job.strip_rows) <= kMostStrip / strip_row_bytes(task);
  if (!copies) task.lines = nullptr;
  const size_t strips = static_cast<size_t>(task.batch * job.strips);
  if (task.lines || (strips >= kFewTiles && (copies || !job.is_padded) && runs_in_rows(task.out_width))) {
    parallel.run(parallel.context, whole_strip, strips, &job);
    return;
  }
  if (job.tiles >= kFewTiles) {
    const bool as_it_is = in_rows_ && is_pointwise() && sub_tiles_ == 1;
    parallel.run(parallel.context, as_it_is ? pointwise_tile : whole_tile, static_cast<size_t>(job.tiles), &job);
    return;
  }
  const int64_t most_pixels = (pixels + job.tiles - 1) / job.tiles;
  job.tile_panel_bytes = most_pixels * job.window_bytes * encoded_.all_windows;
  job.panels = scratch(static_cast<size_t>(job.tile_panel_bytes * job.tiles), kSharedPanels);
  job.parts = std::min<int64_t>(encoded_.groups, (kFewTiles + job.tiles - 1) / job.tiles);
  parallel.run(parallel.context, pack_shared, static_cast<size_t>(job.tiles * task.chunks), &job);
  parallel.run(parallel.context, multiply_shared, static_cast<size_t>(job.tiles * job.parts), &job);
}

namespace {

struct PoolJob {
  const Pool* pool;
  const Engine* engine;
  int64_t out_height;
};

void pool_one_row(void* data, size_t index) {
  const PoolJob& job = *static_cast<const PoolJob*>(data);
  const int64_t image = static_cast<int64_t>(index) / job.out_height, row = static_cast<int64_t>(index) % job.out_height;
  Pool pool = *job.pool;
  pool.output += image * job.out_height * pool.out_width * pool.channels;
  job.engine->pool_row(pool, image, row);
}

}  // namespace

void run_pool(const Pool& pool, int64_t batch, int64_t out_height, Isa isa, const Parallel& parallel) {
  PoolJob job{&pool, &engine_of(isa, false), out_height};
  if (batch * out_height * pool.out_width * pool.channels == 0) return;
  parallel.run(parallel.context, pool_one_row, static_cast<size_t>(batch * out_height), &job);
}

}  // namespace netsurgeon::sparse
