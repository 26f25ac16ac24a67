#include "provider/graph/quantizers.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace netsurgeon::sparse {
namespace {

std::optional<Scale> byte_scale(const Ort& ort, const NodeView& quantizer, const OrtValueInfo* bytes) {
  if (ort.element_type(bytes, nullptr) != kUint8) return std::nullopt;
  const auto step = constant_of(ort, input_info(quantizer, 1));
  if (!step || step->type != kFloat || step->count != 1) return std::nullopt;
  Scale scale;
  std::memcpy(&scale.step, step->data, sizeof(float));
  if (!is_positive(scale.step)) return std::nullopt;
  if (input_info(quantizer, 2)) {
    const auto zero_point = constant_of(ort, input_info(quantizer, 2));
    if (!zero_point || zero_point->type != kUint8 || zero_point->count != 1) return std::nullopt;
    scale.zero_point = *static_cast<const uint8_t*>(zero_point->data);
  }
  return scale;
}

// From operator set 23 on a DequantizeLinear may give another type than that of its scale.
bool gives_floats(const Ort& ort, const NodeView& dequantizer) {
  return ort.element_type(dequantizer.outputs[0], nullptr) == kFloat;
}

// What lies between a product and its bytes.
struct Bounds {
  float low = -INFINITY, high = INFINITY;
};

std::optional<Bounds> clip_bounds(const Ort& ort, const NodeView& clip) {
  Bounds bounds;
  bounds.low = ort.attribute(clip.node, "min", bounds.low);  // until operator set 10
  bounds.high = ort.attribute(clip.node, "max", bounds.high);
  for (size_t index = 1; index <= 2; ++index) {
    if (!input_info(clip, index)) continue;
    const auto bound = constant_of(ort, input_info(clip, index));
    if (!bound || bound->type != kFloat || bound->count != 1) return std::nullopt;
    std::memcpy(index == 1 ? &bounds.low : &bounds.high, bound->data, sizeof(float));
  }
  if (std::isnan(bounds.low) || std::isnan(bounds.high) || bounds.low > bounds.high) return std::nullopt;
  return bounds;
}

int32_t byte_of(float value, const Scale& scale) {
  const float scaled = std::nearbyint(value / scale.step) + static_cast<float>(scale.zero_point);
  return static_cast<int32_t>(std::clamp(scaled, 0.0f, 255.0f));
}

}  // namespace

std::optional<Bytes> dequantized(const GraphView& graph, const NodeView& reader, size_t index) {
  if (index >= reader.input_names.size()) return std::nullopt;
  const std::string& value = reader.input_names[index];
  const NodeView* node = graph.producer(value);
  if (!is_quantizer(node, "DequantizeLinear") || graph.only_reader(value) != &reader) return std::nullopt;
  if (std::count(reader.input_names.begin(), reader.input_names.end(), value) != 1) return std::nullopt;
  const auto scale = byte_scale(graph.ort, *node, input_info(*node, 0));
  if (!scale || !gives_floats(graph.ort, *node)) return std::nullopt;
  // ONNX Runtime gives the node of a group no constants to read
  if (constant_of(graph.ort, input_info(*node, 0))) return std::nullopt;
  return Bytes{node, *scale};
}

std::optional<Integers> constant_integers(const GraphView& graph, const NodeView& reader, size_t index, int type,
                                          int64_t axis) {
  if (index >= reader.input_names.size()) return std::nullopt;
  const NodeView* node = graph.producer(reader.input_names[index]);
  if (!is_quantizer(node, "DequantizeLinear") || graph.only_reader(reader.input_names[index]) != &reader)
    return std::nullopt;
  const Ort& ort = graph.ort;
  if (!gives_floats(ort, *node)) return std::nullopt;
  Integers integers;
  integers.node = node;
  const auto values = constant_of(ort, input_info(*node, 0)), steps = constant_of(ort, input_info(*node, 1));
  if (!values || values->type != type || !steps || steps->type != kFloat) return std::nullopt;
  if (input_info(*node, 2)) {
    const auto zero_points = constant_of(ort, input_info(*node, 2));
    if (!zero_points || zero_points->type != type || !all_zero(*zero_points, type == kInt32 ? 4 : 1)) return std::nullopt;
  }
  const int64_t rank = static_cast<int64_t>(values->shape.size());
  if (steps->count != 1) {
    int64_t of = ort.attribute(node->node, "axis", int64_t{1});
    if (of < 0) of += rank;
    if (of != axis || axis >= rank || steps->count != values->shape[static_cast<size_t>(axis)]) return std::nullopt;
    if (steps->shape.size() != 1 || ort.attribute(node->node, "block_size", int64_t{0}) != 0) return std::nullopt;
  }
  integers.values = *values;
  const auto* first = static_cast<const float*>(steps->data);
  integers.steps.assign(first, first + steps->count);
  if (!std::all_of(integers.steps.begin(), integers.steps.end(), is_positive)) return std::nullopt;
  return integers;
}

std::optional<Ending> ending(const GraphView& graph, const NodeView& node) {
  Ending end;
  Bounds bounds;
  const NodeView* last = &node;
  const NodeView* next = graph.only_reader(node.output_names[0]);
  if (is_operator(next, "Relu") || is_operator(next, "Clip")) {
    if (next->input_names[0] != node.output_names[0]) return std::nullopt;
    if (next->op == "Relu") {
      bounds.low = 0;
    } else {
      const auto clip = clip_bounds(graph.ort, *next);
      if (!clip) return std::nullopt;
      bounds = *clip;
    }
    end.nodes.push_back(next->node);
    last = next;
    next = graph.only_reader(next->output_names[0]);
  }
  if (!is_quantizer(next, "QuantizeLinear")) return std::nullopt;
  if (next->input_names[0] != last->output_names[0]) return std::nullopt;
  const auto scale = byte_scale(graph.ort, *next, next->outputs[0]);
  if (!scale) return std::nullopt;
  end.nodes.push_back(next->node);
  end.quantizer = next;
  end.scale = *scale;
  end.low = byte_of(bounds.low, *scale);
  end.high = byte_of(bounds.high, *scale);
  return end;
}

}  // namespace netsurgeon::sparse
