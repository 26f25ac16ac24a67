// ONNX Runtime's C interface, as far as the provider calls it: functions by their slot in OrtApi and OrtEpApi, which
// stay where they are from version to version, and the structs that the provider fills.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

extern "C" {
struct OrtStatus;
struct OrtValue;
struct OrtTypeInfo;
struct OrtTensorTypeAndShapeInfo;
struct OrtKernelContext;
struct OrtSessionOptions;
struct OrtLogger;
struct OrtOpAttr;
struct OrtValueInfo;
struct OrtNode;
struct OrtGraph;
struct OrtHardwareDevice;
struct OrtKeyValuePairs;
struct OrtEpDevice;
struct OrtEpGraphSupportInfo;
struct OrtMemoryInfo;
struct OrtAllocator;
struct OrtDataTransferImpl;
struct OrtNodeComputeContext;
struct OrtApi;
struct OrtEpApi;

struct OrtApiBase {
  const OrtApi* (*GetApi)(uint32_t version);
  const char* (*GetVersionString)();
};

struct OrtNodeFusionOptions {
  uint32_t version;
  bool drop_constant_initializers;
};

struct OrtNodeComputeInfo {
  uint32_t version;
  OrtStatus* (*CreateState)(OrtNodeComputeInfo*, OrtNodeComputeContext*, void** state);
  OrtStatus* (*Compute)(OrtNodeComputeInfo*, void* state, OrtKernelContext*);
  void (*ReleaseState)(OrtNodeComputeInfo*, void* state);
};

enum OrtEpDataLayout { OrtEpDataLayout_NCHW = 0, OrtEpDataLayout_NHWC = 1 };

struct OrtEp {
  uint32_t version;
  const char* (*GetName)(const OrtEp*);
  OrtStatus* (*GetCapability)(OrtEp*, const OrtGraph*, OrtEpGraphSupportInfo*);
  OrtStatus* (*Compile)(OrtEp*, const OrtGraph** graphs, const OrtNode** fused_nodes, size_t count,
                        OrtNodeComputeInfo** infos, OrtNode** ep_context_nodes);
  void (*ReleaseNodeComputeInfos)(OrtEp*, OrtNodeComputeInfo** infos, size_t count);
  OrtStatus* (*GetPreferredDataLayout)(OrtEp*, OrtEpDataLayout*);
  OrtStatus* (*ShouldConvertDataLayoutForOp)(OrtEp*, const char* domain, const char* op_type, OrtEpDataLayout, int*);
  void* not_used[16];  // dynamic options, start and end of a run, allocators, streams, and what later versions add
};

struct OrtEpFactory {
  uint32_t version;
  const char* (*GetName)(const OrtEpFactory*);
  const char* (*GetVendor)(const OrtEpFactory*);
  OrtStatus* (*GetSupportedDevices)(OrtEpFactory*, const OrtHardwareDevice* const* devices, size_t count,
                                    OrtEpDevice** ep_devices, size_t most, size_t* ep_count);
  OrtStatus* (*CreateEp)(OrtEpFactory*, const OrtHardwareDevice* const* devices, const OrtKeyValuePairs* const* metadata,
                         size_t count, const OrtSessionOptions*, const OrtLogger*, OrtEp**);
  void (*ReleaseEp)(OrtEpFactory*, OrtEp*);
  uint32_t (*GetVendorId)(const OrtEpFactory*);
  const char* (*GetVersion)(const OrtEpFactory*);
  void* validate_compiled_model;
  OrtStatus* (*CreateAllocator)(OrtEpFactory*, const OrtMemoryInfo*, const OrtKeyValuePairs*, OrtAllocator**);
  void (*ReleaseAllocator)(OrtEpFactory*, OrtAllocator*);
  OrtStatus* (*CreateDataTransfer)(OrtEpFactory*, OrtDataTransferImpl**);
  bool (*IsStreamAware)(const OrtEpFactory*);
  void* create_sync_stream;
};
}

namespace netsurgeon::sparse {

constexpr uint32_t kApiVersion = 23;  // the first one with providers from libraries that compile nodes

enum ErrorCode { kFail = 1, kInvalidArgument = 2, kNotImplemented = 9 };
enum ElementType { kFloat = 1, kUint8 = 2, kInt8 = 3, kInt32 = 6 };
enum AttributeType { kInt = 1, kInts = 2, kFloatNumber = 3, kString = 5 };

// Makes C++ of the C interface: what fails throws std::runtime_error with ONNX Runtime's message.
class Ort {
 public:
  explicit Ort(const OrtApi* api) : slots_(reinterpret_cast<void* const*>(api)) {}

  OrtStatus* status(ErrorCode code, const char* message) const {
    return slot<OrtStatus* (*)(int, const char*)>(0)(code, message);
  }
  void check(OrtStatus* failure) const;
  // Whether it succeeded.
  bool tried(OrtStatus* failure) const;

  // Tensors.
  const void* data(const OrtValue* value) const;
  void* data(OrtValue* value) const;
  int element_type(const OrtValue* value, std::vector<int64_t>* shape) const;
  // Of a tensor's value in a graph: 0 where it is none or not known; dimensions that are not known are -1.
  int element_type(const OrtValueInfo* value, std::vector<int64_t>* shape) const;

  // Graphs.
  std::vector<const OrtNode*> nodes(const OrtGraph* graph) const;
  std::vector<const OrtValueInfo*> graph_inputs(const OrtGraph* graph) const;
  std::vector<const OrtValueInfo*> graph_outputs(const OrtGraph* graph) const;
  std::vector<const OrtValueInfo*> node_inputs(const OrtNode* node) const;
  std::vector<const OrtValueInfo*> node_outputs(const OrtNode* node) const;
  // What graphs inside a node (of an If or Loop) read from around it.
  std::vector<const OrtValueInfo*> implicit_inputs(const OrtNode* node) const;
  std::string name(const OrtNode* node) const;
  std::string op_type(const OrtNode* node) const;
  std::string domain(const OrtNode* node) const;
  bool in_subgraph(const OrtGraph* graph) const;
  std::string name(const OrtValueInfo* value) const;
  // The tensor of an initializer that nothing can change, or nullptr.
  const OrtValue* constant(const OrtValueInfo* value) const;
  int64_t attribute(const OrtNode* node, const char* name, int64_t otherwise) const;
  float attribute(const OrtNode* node, const char* name, float otherwise) const;
  std::vector<int64_t> attribute(const OrtNode* node, const char* name, std::vector<int64_t> otherwise) const;
  std::string attribute(const OrtNode* node, const char* name, const char* otherwise) const;

  // Kernels.
  const OrtValue* input(const OrtKernelContext* context, size_t index) const;
  OrtValue* output(OrtKernelContext* context, size_t index, const std::vector<int64_t>& shape) const;
  void parallel_for(const OrtKernelContext* context, void (*function)(void*, size_t), size_t count, void* data) const;

  // The value of an option of a session, or `otherwise`.
  std::string option(const OrtSessionOptions* options, const std::string& key, const std::string& otherwise) const;
  bool is_cpu(const OrtHardwareDevice* device) const;
  OrtEpDevice* device(OrtEpFactory* factory, const OrtHardwareDevice* device) const;
  void fuse(OrtEpGraphSupportInfo* info, const std::vector<const OrtNode*>& nodes) const;

 private:
  template <typename Function>
  Function slot(int number) const {
    return reinterpret_cast<Function>(slots_[number]);
  }
  template <typename Function>
  Function provider_slot(int number) const {
    return reinterpret_cast<Function>(slot<void* const* (*)()>(317)()[number]);
  }
  template <typename Item, typename Owner>
  std::vector<const Item*> items(const Owner* owner, int count_slot) const;
  std::string text(const void* owner, int number) const;
  const OrtOpAttr* find(const OrtNode* node, const char* name) const;
  int shape_and_type(const OrtTensorTypeAndShapeInfo* info, std::vector<int64_t>* shape) const;

  void* const* slots_;
};

}  // namespace netsurgeon::sparse
