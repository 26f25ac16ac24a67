// Matrix products of integers whose scale is found in each run.
#include "provider/graph/groups.h"

namespace netsurgeon::sparse {
namespace {

// Floats that are constant: one, or one of each of `rows`.
std::optional<std::vector<float>> row_floats(const Ort& ort, const OrtValueInfo* info, int64_t rows) {
  const auto constant = constant_of(ort, info);
  if (!constant || constant->type != kFloat || constant->shape.size() > 1) return std::nullopt;
  if (constant->count != 1 && constant->count != rows) return std::nullopt;
  const auto* first = static_cast<const float*>(constant->data);
  std::vector<float> floats(first, first + constant->count);
  floats.resize(static_cast<size_t>(rows), floats.front());
  return floats;
}

// Of an operator of two inputs the place of the one that is not `value`.
std::optional<size_t> other_input(const NodeView& node, const std::string& value) {
  if (node.input_names.size() != 2 || node.input_names[0] == node.input_names[1]) return std::nullopt;
  return node.input_names[0] == value ? 1 : 0;
}

// The product of the input's scale and those of the rows, which `sums` reads beside its integers.
struct Factors {
  const NodeView* node = nullptr;
  std::string step;
  std::vector<float> rows;
};

std::optional<Factors> factors_of(const GraphView& graph, const std::string& value, int64_t rows) {
  const NodeView* node = graph.producer(value);
  if (!is_operator(node, "Mul") || node->inputs.size() != 2) return std::nullopt;
  for (const size_t place : {0, 1}) {
    const auto floats = row_floats(graph.ort, node->inputs[place], rows);
    if (floats) return Factors{node, node->input_names[1 - place], *floats};
  }
  return std::nullopt;
}

// Whether a MatMulInteger's input and its zero point are those of one DynamicQuantizeLinear; with the name of its scale.
bool is_measured(const GraphView& graph, const NodeView& node, const std::string& step) {
  const NodeView* quantizer = graph.producer(node.input_names[0]);
  if (!quantizer) return graph.part;
  return is_operator(quantizer, "DynamicQuantizeLinear") &&
         quantizer->output_names == std::vector<std::string>{node.input_names[0], step, node.input_names[2]};
}

}  // namespace

void take_bias(const GraphView& graph, const NodeView& last, Group& group) {
  const NodeView* add = graph.only_reader(last.output_names[0]);
  if (!is_operator(add, "Add")) return;
  const auto place = other_input(*add, last.output_names[0]);
  if (!place) return;
  const auto floats = row_floats(graph.ort, input_info(*add, *place), group.layer.rows);
  if (!floats) return;
  group.layer.added = *floats;
  group.nodes.push_back(add->node);
  group.output = add->output_names[0];
}

std::optional<Group> dynamic_matrix(const GraphView& graph, const NodeView& node,
                                    const std::unordered_set<const OrtNode*>&) {
  const Ort& ort = graph.ort;
  if (node.input_names.size() < 3 || node.input_names.size() > 4) return std::nullopt;
  const auto weight = constant_of(ort, input_info(node, 1));
  if (!weight || weight->type != kInt8 || weight->shape.size() != 2 || weight->count == 0) return std::nullopt;
  if (input_info(node, 3) && !node.input_names[3].empty()) {
    const auto zero_points = constant_of(ort, input_info(node, 3));
    if (!zero_points || zero_points->type != kInt8 || !all_zero(*zero_points, 1)) return std::nullopt;
  }
  std::vector<int64_t> input_shape;
  if (ort.element_type(node.inputs[0], &input_shape) != kUint8 || input_shape.size() < 2 ||
      input_shape.back() != weight->shape[0])
    return std::nullopt;
  const NodeView* cast = graph.only_reader(node.output_names[0]);
  if (!is_operator(cast, "Cast") || ort.attribute(cast->node, "to", int64_t{0}) != kFloat) return std::nullopt;
  const NodeView* product = graph.only_reader(cast->output_names[0]);
  if (!is_operator(product, "Mul")) return std::nullopt;
  const auto place = other_input(*product, cast->output_names[0]);
  if (!place) return std::nullopt;
  const std::string& scale = product->input_names[*place];
  const auto factors = factors_of(graph, scale, weight->shape[1]);
  if (!factors || graph.only_reader(scale) != product || !is_measured(graph, node, factors->step)) return std::nullopt;
  Group group;
  group.kind = Kind::kMatrix;
  group.nodes = {node.node, cast->node, factors->node->node, product->node};
  group.input = node.input_names[0];
  group.step = factors->step;
  group.zero_point = node.input_names[2];
  group.output = product->output_names[0];
  group.layer.rows = weight->shape[1];
  group.layer.geometry.channels = weight->shape[0];
  group.layer.scale = factors->rows;
  group.layer.epilogue.output = Output::kFloats;
  take_bias(graph, *product, group);
  group.weight = transposed(*weight);
  return group;
}

}  // namespace netsurgeon::sparse
