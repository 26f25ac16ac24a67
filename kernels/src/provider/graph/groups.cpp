#include "provider/graph/groups.h"

#include <algorithm>
#include <cmath>

#include "provider/graph/quantizers.h"

namespace netsurgeon::sparse {
namespace {

// Rows' scales and bias; false where they are not what sums can take.
bool set_rows(const GraphView& graph, const NodeView& node, const Integers& weight, const Bytes& input, size_t bias_index,
              Group& group) {
  LayerSource& layer = group.layer;
  layer.scale.assign(static_cast<size_t>(layer.rows), 0.0f);
  for (size_t row = 0; row < layer.scale.size(); ++row)
    layer.scale[row] = input.scale.step * weight.steps[weight.steps.size() == 1 ? 0 : row];
  layer.input_zero_point = input.scale.zero_point;
  if (!input_info(node, bias_index)) return true;
  const auto bias = constant_integers(graph, node, bias_index, kInt32, 0);
  if (!bias || bias->values.count != layer.rows || bias->values.shape.size() != 1) return false;
  for (size_t row = 0; row < layer.scale.size(); ++row) {
    const float step = bias->steps[bias->steps.size() == 1 ? 0 : row];
    if (std::fabs(step - layer.scale[row]) > 1e-4f * layer.scale[row]) return false;
  }
  const auto* first = static_cast<const int32_t*>(bias->values.data);
  layer.bias.assign(first, first + layer.rows);
  group.nodes.push_back(bias->node->node);
  return true;
}

bool same_shape(const Ort& ort, const OrtValueInfo* a, const OrtValueInfo* b) {
  std::vector<int64_t> first, second;
  if (!ort.element_type(a, &first) || !ort.element_type(b, &second)) return false;
  return first == second && first.size() >= 2;
}

// DequantizeLinear, Add with other bytes, [Relu], QuantizeLinear behind the bytes of a layer, where they can be had.
void add_residual(const GraphView& graph, const Ending& product, const std::unordered_set<const OrtNode*>& taken,
                  Group& group) {
  const std::string& bytes = product.quantizer->output_names[0];
  const NodeView* restored = graph.only_reader(bytes);
  if (!is_quantizer(restored, "DequantizeLinear") || restored->input_names[0] != bytes) return;
  const NodeView* add = graph.only_reader(restored->output_names[0]);
  if (!is_operator(add, "Add") || taken.count(add->node) || add->input_names.size() != 2) return;
  const size_t place = add->input_names[0] == restored->output_names[0] ? 0 : 1;
  const auto own = dequantized(graph, *add, place), other = dequantized(graph, *add, 1 - place);
  if (!own || !other || own->node != restored || !same_shape(graph.ort, add->inputs[0], add->inputs[1])) return;
  if (own->scale.step != product.scale.step || own->scale.zero_point != product.scale.zero_point) return;
  if (taken.count(other->node->node)) return;
  const auto end = ending(graph, *add);
  if (!end) return;
  const Scale& first = place == 0 ? own->scale : other->scale;
  const Scale& second = place == 0 ? other->scale : own->scale;
  Epilogue& epilogue = group.layer.epilogue;
  const float first_ratio = first.step / end->scale.step, second_ratio = second.step / end->scale.step;
  const float fixed = static_cast<float>(end->scale.zero_point) - (first_ratio * static_cast<float>(first.zero_point) +
                                                                   second_ratio * static_cast<float>(second.zero_point));
  if (!is_positive(first_ratio) || !is_positive(second_ratio) || !std::isfinite(fixed)) return;
  epilogue.output = Output::kBytesWithResidual;
  epilogue.product_ratio = place == 0 ? first_ratio : second_ratio;
  epilogue.residual_ratio = place == 0 ? second_ratio : first_ratio;
  epilogue.fixed = fixed;
  epilogue.product_first = place == 0;
  epilogue.added_low = end->low;
  epilogue.added_high = end->high;
  group.nodes.insert(group.nodes.end(), {restored->node, other->node->node, add->node});
  group.nodes.insert(group.nodes.end(), end->nodes.begin(), end->nodes.end());
  group.residual = other->node->input_names[0];
  group.output = end->quantizer->output_names[0];
}

// The rest of a layer's group, from its output on; false where it does not end in bytes.
bool finish_layer(const GraphView& graph, const NodeView& node, const std::unordered_set<const OrtNode*>& taken,
                  Group& group) {
  const auto product = ending(graph, node);
  if (!product) return false;
  std::vector<float> scales = group.layer.scale;
  for (float& scale : scales) {
    scale = scale / product->scale.step;
    if (!is_positive(scale)) return false;
  }
  group.layer.scale = std::move(scales);
  Epilogue& epilogue = group.layer.epilogue;
  epilogue.output = Output::kBytes;
  epilogue.zero_point = product->scale.zero_point;
  epilogue.low = product->low;
  epilogue.high = product->high;
  group.nodes.insert(group.nodes.end(), product->nodes.begin(), product->nodes.end());
  group.output = product->quantizer->output_names[0];
  add_residual(graph, *product, taken, group);
  return true;
}

// Pads of an operator that may name a way to find them; false for one whose pads depend on the input.
bool read_pads(const Ort& ort, const OrtNode* node, std::vector<int64_t>& pads) {
  const std::string automatic = ort.attribute(node, "auto_pad", "NOTSET");
  pads = ort.attribute(node, "pads", std::vector<int64_t>{0, 0, 0, 0});
  if (automatic == "VALID") pads = {0, 0, 0, 0};
  return (automatic == "NOTSET" || automatic == "VALID" || automatic.empty()) && pads.size() == 4 &&
         std::all_of(pads.begin(), pads.end(), [](int64_t pad) { return pad >= 0 && pad <= 65536; });
}

bool sizes_between(const std::vector<int64_t>& sizes, int64_t low, int64_t high) {
  return sizes.size() == 2 && std::all_of(sizes.begin(), sizes.end(), [=](int64_t s) { return s >= low && s <= high; });
}

// [rows, channels, height, width] to [rows, height, width, channels].
std::vector<int8_t> channels_last(const Constant& weight) {
  const auto* from = static_cast<const int8_t*>(weight.data);
  const int64_t rows = weight.shape[0], channels = weight.shape[1], taps = weight.shape[2] * weight.shape[3];
  std::vector<int8_t> to(static_cast<size_t>(weight.count));
  for (int64_t row = 0; row < rows; ++row) {
    const int8_t* source = from + row * channels * taps;
    int8_t* target = to.data() + row * channels * taps;
    for (int64_t channel = 0; channel < channels; ++channel)
      for (int64_t tap = 0; tap < taps; ++tap) target[tap * channels + channel] = source[channel * taps + tap];
  }
  return to;
}

bool starts_free(const Bytes& input, const Integers& weight, const std::unordered_set<const OrtNode*>& taken) {
  return !taken.count(input.node->node) && !taken.count(weight.node->node);
}

std::optional<Group> convolution(const GraphView& graph, const NodeView& node,
                                 const std::unordered_set<const OrtNode*>& taken) {
  const Ort& ort = graph.ort;
  const auto input = dequantized(graph, node, 0);
  const auto weight = constant_integers(graph, node, 1, kInt8, 0);
  if (!input || !weight || !starts_free(*input, *weight, taken) || weight->values.shape.size() != 4) return std::nullopt;
  if (weight->values.count == 0 || ort.attribute(node.node, "group", int64_t{1}) != 1) return std::nullopt;
  const auto strides = ort.attribute(node.node, "strides", std::vector<int64_t>{1, 1});
  const auto dilations = ort.attribute(node.node, "dilations", std::vector<int64_t>{1, 1});
  const std::vector<int64_t>& shape = weight->values.shape;
  const std::vector<int64_t> kernel{shape[2], shape[3]};
  if (ort.attribute(node.node, "kernel_shape", kernel) != kernel || !sizes_between(kernel, 1, 4096)) return std::nullopt;
  std::vector<int64_t> pads;
  if (!sizes_between(strides, 1, 65536) || !sizes_between(dilations, 1, 65536) || !read_pads(ort, node.node, pads))
    return std::nullopt;
  Group group;
  group.kind = Kind::kConvolution;
  group.nhwc = node.domain == kNhwcDomain;
  group.nodes = {input->node->node, weight->node->node, node.node};
  group.input = input->node->input_names[0];
  LayerSource& layer = group.layer;
  layer.rows = shape[0];
  layer.geometry = {shape[1], shape[2], shape[3], strides[0], strides[1], dilations[0], dilations[1], pads[0], pads[1]};
  layer.pad_bottom = pads[2];
  layer.pad_right = pads[3];
  if (!set_rows(graph, node, *weight, *input, 2, group) || !finish_layer(graph, node, taken, group)) return std::nullopt;
  group.weight = channels_last(weight->values);
  return group;
}

bool is_plain_gemm(const Ort& ort, const OrtNode* node) {
  const float alpha = ort.attribute(node, "alpha", 1.0f), beta = ort.attribute(node, "beta", 1.0f);
  return alpha == 1.0f && beta == 1.0f && ort.attribute(node, "transA", int64_t{0}) == 0;
}

std::optional<Group> matrix(const GraphView& graph, const NodeView& node,
                            const std::unordered_set<const OrtNode*>& taken) {
  const Ort& ort = graph.ort;
  const bool is_gemm = node.op == "Gemm";
  if (is_gemm && !is_plain_gemm(ort, node.node)) return std::nullopt;
  const bool by_rows = is_gemm && ort.attribute(node.node, "transB", int64_t{0}) != 0;
  const auto input = dequantized(graph, node, 0);
  const auto weight = constant_integers(graph, node, 1, kInt8, by_rows ? 0 : 1);
  if (!input || !weight || !starts_free(*input, *weight, taken)) return std::nullopt;
  if (weight->values.shape.size() != 2 || weight->values.count == 0) return std::nullopt;
  std::vector<int64_t> input_shape;
  if (!ort.element_type(input_info(node, 0), &input_shape)) return std::nullopt;
  const int64_t columns = weight->values.shape[by_rows ? 1 : 0];
  if (input_shape.size() < 2 || input_shape.back() != columns) return std::nullopt;
  Group group;
  group.kind = Kind::kMatrix;
  group.nodes = {input->node->node, weight->node->node, node.node};
  group.input = input->node->input_names[0];
  group.layer.rows = weight->values.shape[by_rows ? 0 : 1];
  group.layer.geometry.channels = columns;
  if (!set_rows(graph, node, *weight, *input, is_gemm ? 2 : 3, group)) return std::nullopt;
  if (!finish_layer(graph, node, taken, group)) {
    group.layer.epilogue.output = Output::kFloats;
    group.output = node.output_names[0];
    if (!is_gemm) take_bias(graph, node, group);
  }
  if (by_rows) {
    const auto* from = static_cast<const int8_t*>(weight->values.data);
    group.weight.assign(from, from + weight->values.count);
  } else {
    group.weight = transposed(weight->values);
  }
  return group;
}

// MaxPool of bytes; between DequantizeLinear and QuantizeLinear of one scale, or as such.
std::optional<Group> pooling(const GraphView& graph, const NodeView& node,
                             const std::unordered_set<const OrtNode*>& taken) {
  const Ort& ort = graph.ort;
  if (node.output_names.size() > 1 && !node.output_names[1].empty()) return std::nullopt;
  std::vector<int64_t> shape, pads;
  const int type = ort.element_type(input_info(node, 0), &shape);
  const auto kernel = ort.attribute(node.node, "kernel_shape", std::vector<int64_t>{});
  const auto strides = ort.attribute(node.node, "strides", std::vector<int64_t>{1, 1});
  const auto dilations = ort.attribute(node.node, "dilations", std::vector<int64_t>{1, 1});
  if (shape.size() != 4 || ort.attribute(node.node, "ceil_mode", int64_t{0}) != 0) return std::nullopt;
  if (ort.attribute(node.node, "storage_order", int64_t{0}) != 0 || !read_pads(ort, node.node, pads)) return std::nullopt;
  if (!sizes_between(kernel, 1, 4096) || !sizes_between(strides, 1, 65536) || !sizes_between(dilations, 1, 65536))
    return std::nullopt;
  // every pixel of the output has one of the input
  for (size_t axis = 0; axis < 2; ++axis)
    if (dilations[axis] != 1 || pads[axis] >= kernel[axis] || pads[axis + 2] >= kernel[axis]) return std::nullopt;
  Group group;
  group.kind = Kind::kPool;
  group.nhwc = node.domain == kNhwcDomain;
  group.nodes = {node.node};
  group.input = node.input_names[0];
  group.output = node.output_names[0];
  if (type != kUint8) {
    const auto input = dequantized(graph, node, 0);
    const auto end = ending(graph, node);
    if (!input || !end || end->nodes.size() != 1 || taken.count(input->node->node)) return std::nullopt;
    if (end->scale.step != input->scale.step || end->scale.zero_point != input->scale.zero_point) return std::nullopt;
    group.nodes.insert(group.nodes.end(), {input->node->node, end->nodes[0]});
    group.input = input->node->input_names[0];
    group.output = end->quantizer->output_names[0];
  }
  group.pool.kernel_height = kernel[0];
  group.pool.kernel_width = kernel[1];
  group.pool.stride_height = strides[0];
  group.pool.stride_width = strides[1];
  group.pool.dilation_height = group.pool.dilation_width = 1;
  group.pool.pad_top = pads[0];
  group.pool.pad_left = pads[1];
  group.pool_pad_bottom = pads[2];
  group.pool_pad_right = pads[3];
  return group;
}

}  // namespace

std::optional<Group> find_group(const GraphView& graph, const NodeView& node,
                                const std::unordered_set<const OrtNode*>& taken) {
  const bool nhwc = node.domain == kNhwcDomain;
  if (taken.count(node.node) || (!is_onnx(node) && !nhwc) || node.output_names.empty()) return std::nullopt;
  try {
    std::optional<Group> group;
    if (node.op == "Conv") group = convolution(graph, node, taken);
    if (!nhwc && (node.op == "Gemm" || node.op == "MatMul")) group = matrix(graph, node, taken);
    if (!nhwc && node.op == "MatMulInteger") group = dynamic_matrix(graph, node, taken);
    if (node.op == "MaxPool") group = pooling(graph, node, taken);
    if (!group) return std::nullopt;
    for (const OrtNode* member : group->nodes)
      if (taken.count(member)) return std::nullopt;
    group->layer_output = node.output_names[0];
    graph.ort.element_type(node.outputs[0], &group->output_shape);
    if (group->kind != Kind::kPool) {  // what the core refuses must run dense: once claimed, it would fail the session
      LayerSource layer = group->layer;
      layer.weight = group->weight.data();
      check_source(layer);
    }
    return group;
  } catch (const std::exception&) {
    return std::nullopt;  // an attribute or a tensor of a form that is none of ours
  }
}

}  // namespace netsurgeon::sparse
