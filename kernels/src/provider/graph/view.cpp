#include "provider/graph/view.h"

#include <algorithm>
#include <cmath>

namespace netsurgeon::sparse {

namespace {

int64_t count_of(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

}  // namespace

bool is_onnx(const NodeView& node) { return node.domain.empty() || node.domain == "ai.onnx"; }

bool is_operator(const NodeView* node, const char* op) { return node && is_onnx(*node) && node->op == op; }

bool is_quantizer(const NodeView* node, const char* op) {
  return node && (is_onnx(*node) || node->domain == "com.microsoft") && node->op == op;
}

std::optional<Constant> constant_of(const Ort& ort, const OrtValueInfo* info) {
  const OrtValue* value = ort.constant(info);
  if (!value) return std::nullopt;
  Constant constant;
  constant.type = ort.element_type(value, &constant.shape);
  if (std::any_of(constant.shape.begin(), constant.shape.end(), [](int64_t size) { return size < 0; }))
    return std::nullopt;
  constant.data = ort.data(value);
  constant.count = count_of(constant.shape);
  if (!constant.data && constant.count) return std::nullopt;
  return constant;
}

const OrtValueInfo* input_info(const NodeView& node, size_t index) {
  return index < node.inputs.size() ? node.inputs[index] : nullptr;
}

bool is_positive(float value) { return std::isfinite(value) && value > 0; }

bool all_zero(const Constant& constant, size_t item_bytes) {
  const auto* bytes = static_cast<const uint8_t*>(constant.data);
  return std::all_of(bytes, bytes + static_cast<size_t>(constant.count) * item_bytes, [](uint8_t b) { return b == 0; });
}

std::vector<int8_t> transposed(const Constant& weight) {
  const auto* from = static_cast<const int8_t*>(weight.data);
  const int64_t columns = weight.shape[0], rows = weight.shape[1];
  std::vector<int8_t> to(static_cast<size_t>(weight.count));
  for (int64_t column = 0; column < columns; ++column)
    for (int64_t row = 0; row < rows; ++row) to[static_cast<size_t>(row * columns + column)] = from[column * rows + row];
  return to;
}

GraphView::GraphView(const Ort& ort_, const OrtGraph* graph, bool part_) : ort(ort_), part(part_) {
  for (const OrtNode* node : ort.nodes(graph)) {
    NodeView view{node, ort.name(node), ort.op_type(node), ort.domain(node), ort.node_inputs(node), ort.node_outputs(node),
                  {},   {}};
    for (const OrtValueInfo* value : view.inputs) view.input_names.push_back(ort.name(value));
    for (const OrtValueInfo* value : view.outputs) view.output_names.push_back(ort.name(value));
    for (const std::string& name : view.output_names)
      if (!name.empty()) producers[name] = nodes.size();
    for (const std::string& name : view.input_names)
      if (!name.empty()) readers[name].push_back(nodes.size());
    for (const OrtValueInfo* value : ort.implicit_inputs(node)) readers[ort.name(value)].push_back(nodes.size());
    nodes.push_back(std::move(view));
  }
  for (const OrtValueInfo* value : ort.graph_outputs(graph)) outputs.insert(ort.name(value));
}

const NodeView* GraphView::producer(const std::string& value) const {
  const auto found = producers.find(value);
  return found == producers.end() ? nullptr : &nodes[found->second];
}

const NodeView* GraphView::only_reader(const std::string& value) const {
  const auto found = readers.find(value);
  if (found == readers.end() || found->second.size() != 1 || outputs.count(value)) return nullptr;
  return &nodes[found->second.front()];
}

}  // namespace netsurgeon::sparse
