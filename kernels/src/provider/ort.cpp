#include "provider/ort.h"

namespace netsurgeon::sparse {

void Ort::check(OrtStatus* failure) const {
  if (!failure) return;
  const std::string message = slot<const char* (*)(const OrtStatus*)>(2)(failure);
  slot<void (*)(OrtStatus*)>(93)(failure);
  throw std::runtime_error(message);
}

bool Ort::tried(OrtStatus* failure) const {
  if (failure) slot<void (*)(OrtStatus*)>(93)(failure);
  return !failure;
}

void* Ort::data(OrtValue* value) const {
  void* data = nullptr;
  check(slot<OrtStatus* (*)(OrtValue*, void**)>(51)(value, &data));
  return data;
}

const void* Ort::data(const OrtValue* value) const { return data(const_cast<OrtValue*>(value)); }

int Ort::shape_and_type(const OrtTensorTypeAndShapeInfo* info, std::vector<int64_t>* shape) const {
  int type = 0;
  check(slot<OrtStatus* (*)(const OrtTensorTypeAndShapeInfo*, int*)>(60)(info, &type));
  if (shape) {
    size_t rank = 0;
    check(slot<OrtStatus* (*)(const OrtTensorTypeAndShapeInfo*, size_t*)>(61)(info, &rank));
    shape->assign(rank, 0);
    check(slot<OrtStatus* (*)(const OrtTensorTypeAndShapeInfo*, int64_t*, size_t)>(62)(info, shape->data(), rank));
  }
  return type;
}

int Ort::element_type(const OrtValue* value, std::vector<int64_t>* shape) const {
  OrtTensorTypeAndShapeInfo* info = nullptr;
  check(slot<OrtStatus* (*)(const OrtValue*, OrtTensorTypeAndShapeInfo**)>(65)(value, &info));
  const auto release = slot<void (*)(OrtTensorTypeAndShapeInfo*)>(99);
  try {
    const int type = shape_and_type(info, shape);
    release(info);
    return type;
  } catch (...) {
    release(info);
    throw;
  }
}

int Ort::element_type(const OrtValueInfo* value, std::vector<int64_t>* shape) const {
  const OrtTypeInfo* type = nullptr;
  const OrtTensorTypeAndShapeInfo* info = nullptr;
  if (!tried(slot<OrtStatus* (*)(const OrtValueInfo*, const OrtTypeInfo**)>(290)(value, &type)) || !type) return 0;
  if (!tried(slot<OrtStatus* (*)(const OrtTypeInfo*, const OrtTensorTypeAndShapeInfo**)>(55)(type, &info)) || !info)
    return 0;
  return shape_and_type(info, shape);
}

template <typename Item, typename Owner>
std::vector<const Item*> Ort::items(const Owner* owner, int count_slot) const {
  size_t count = 0;
  check(slot<OrtStatus* (*)(const Owner*, size_t*)>(count_slot)(owner, &count));
  std::vector<const Item*> items(count);
  if (count) check(slot<OrtStatus* (*)(const Owner*, const Item**, size_t)>(count_slot + 1)(owner, items.data(), count));
  return items;
}

std::vector<const OrtNode*> Ort::nodes(const OrtGraph* graph) const { return items<OrtNode>(graph, 344); }
std::vector<const OrtValueInfo*> Ort::graph_inputs(const OrtGraph* graph) const {
  return items<OrtValueInfo>(graph, 338);
}
std::vector<const OrtValueInfo*> Ort::graph_outputs(const OrtGraph* graph) const {
  return items<OrtValueInfo>(graph, 340);
}
std::vector<const OrtValueInfo*> Ort::node_inputs(const OrtNode* node) const { return items<OrtValueInfo>(node, 353); }
std::vector<const OrtValueInfo*> Ort::node_outputs(const OrtNode* node) const { return items<OrtValueInfo>(node, 355); }
std::vector<const OrtValueInfo*> Ort::implicit_inputs(const OrtNode* node) const {
  return items<OrtValueInfo>(node, 357);
}

std::string Ort::text(const void* owner, int number) const {
  const char* text = nullptr;
  check(slot<OrtStatus* (*)(const void*, const char**)>(number)(owner, &text));
  return text ? text : "";
}

std::string Ort::name(const OrtNode* node) const { return text(node, 349); }
std::string Ort::op_type(const OrtNode* node) const { return text(node, 350); }
std::string Ort::domain(const OrtNode* node) const { return text(node, 351); }
std::string Ort::name(const OrtValueInfo* value) const { return value ? text(value, 289) : ""; }

bool Ort::in_subgraph(const OrtGraph* graph) const {
  const OrtNode* parent = nullptr;
  return !tried(slot<OrtStatus* (*)(const OrtGraph*, const OrtNode**)>(346)(graph, &parent)) || parent;
}

const OrtValue* Ort::constant(const OrtValueInfo* value) const {
  if (!value) return nullptr;
  bool is_constant = false;
  const OrtValue* tensor = nullptr;
  if (!tried(slot<OrtStatus* (*)(const OrtValueInfo*, bool*)>(331)(value, &is_constant)) || !is_constant) return nullptr;
  if (!tried(slot<OrtStatus* (*)(const OrtValueInfo*, const OrtValue**)>(326)(value, &tensor))) return nullptr;
  return tensor;
}

const OrtOpAttr* Ort::find(const OrtNode* node, const char* name) const {
  const OrtOpAttr* attribute = nullptr;
  const bool found = tried(slot<OrtStatus* (*)(const OrtNode*, const char*, const OrtOpAttr**)>(361)(node, name, &attribute));
  return found ? attribute : nullptr;
}

int64_t Ort::attribute(const OrtNode* node, const char* name, int64_t otherwise) const {
  const OrtOpAttr* found = find(node, name);
  int64_t value = otherwise;
  size_t size = 0;
  using Read = OrtStatus* (*)(const OrtOpAttr*, int, void*, size_t, size_t*);
  if (found) check(slot<Read>(272)(found, kInt, &value, sizeof(value), &size));
  return value;
}

float Ort::attribute(const OrtNode* node, const char* name, float otherwise) const {
  const OrtOpAttr* found = find(node, name);
  float value = otherwise;
  size_t size = 0;
  using Read = OrtStatus* (*)(const OrtOpAttr*, int, void*, size_t, size_t*);
  if (found) check(slot<Read>(272)(found, kFloatNumber, &value, sizeof(value), &size));
  return value;
}

std::vector<int64_t> Ort::attribute(const OrtNode* node, const char* name, std::vector<int64_t> otherwise) const {
  const OrtOpAttr* found = find(node, name);
  if (!found) return otherwise;
  using Read = OrtStatus* (*)(const OrtOpAttr*, int, void*, size_t, size_t*);
  int64_t values[16];
  size_t size = 0;
  check(slot<Read>(272)(found, kInts, values, sizeof(values), &size));
  if (size > sizeof(values) || size % sizeof(int64_t)) throw std::runtime_error("an attribute of another size");
  return {values, values + size / sizeof(int64_t)};
}

std::string Ort::attribute(const OrtNode* node, const char* name, const char* otherwise) const {
  const OrtOpAttr* found = find(node, name);
  if (!found) return otherwise;
  using Read = OrtStatus* (*)(const OrtOpAttr*, int, void*, size_t, size_t*);
  char text[64] = {};
  size_t size = 0;
  check(slot<Read>(272)(found, kString, text, sizeof(text) - 1, &size));
  return {text, size < sizeof(text) ? size : 0};
}

const OrtValue* Ort::input(const OrtKernelContext* context, size_t index) const {
  const OrtValue* value = nullptr;
  check(slot<OrtStatus* (*)(const OrtKernelContext*, size_t, const OrtValue**)>(90)(context, index, &value));
  if (!value) throw std::runtime_error("an input that is not there");
  return value;
}

OrtValue* Ort::output(OrtKernelContext* context, size_t index, const std::vector<int64_t>& shape) const {
  OrtValue* value = nullptr;
  using Make = OrtStatus* (*)(OrtKernelContext*, size_t, const int64_t*, size_t, OrtValue**);
  check(slot<Make>(91)(context, index, shape.data(), shape.size(), &value));
  if (!value) throw std::runtime_error("an output that is not there");
  return value;
}

void Ort::parallel_for(const OrtKernelContext* context, void (*function)(void*, size_t), size_t count,
                       void* data) const {
  using For = OrtStatus* (*)(const OrtKernelContext*, void (*)(void*, size_t), size_t, size_t, void*);
  check(slot<For>(274)(context, function, count, 0, data));
}

std::string Ort::option(const OrtSessionOptions* options, const std::string& key, const std::string& otherwise) const {
  using Get = OrtStatus* (*)(const OrtSessionOptions*, const char*, char*, size_t*);
  std::string value(4096, '\0');  // a path may be so long
  size_t size = value.size();
  if (!options || !tried(slot<Get>(238)(options, key.c_str(), value.data(), &size))) return otherwise;
  value.back() = '\0';
  return value.c_str();
}

bool Ort::is_cpu(const OrtHardwareDevice* device) const {
  return slot<int (*)(const OrtHardwareDevice*)>(307)(device) == 0;
}

OrtEpDevice* Ort::device(OrtEpFactory* factory, const OrtHardwareDevice* hardware) const {
  using Create = OrtStatus* (*)(OrtEpFactory*, const OrtHardwareDevice*, const OrtKeyValuePairs*, const OrtKeyValuePairs*,
                                OrtEpDevice**);
  OrtEpDevice* device = nullptr;
  check(provider_slot<Create>(0)(factory, hardware, nullptr, nullptr, &device));
  return device;
}

void Ort::fuse(OrtEpGraphSupportInfo* info, const std::vector<const OrtNode*>& nodes) const {
  using Fuse = OrtStatus* (*)(OrtEpGraphSupportInfo*, const OrtNode* const*, size_t, const OrtNodeFusionOptions*);
  const OrtNodeFusionOptions options{kApiVersion, true};
  check(provider_slot<Fuse>(2)(info, nodes.data(), nodes.size(), &options));
}

}  // namespace netsurgeon::sparse
