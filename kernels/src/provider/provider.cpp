// The execution provider: what ONNX Runtime calls from the time it loads the library until a session is gone.
#include <cstdio>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "provider/compute.h"
#include "provider/costs.h"
#include "provider/graph/explain.h"
#include "provider/graph/groups.h"
#include "provider/ort.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace netsurgeon::sparse {
namespace {

constexpr const char* kName = "NetsurgeonSparse";
constexpr const char* kOptions = "ep.netsurgeonsparse.";  // as ONNX Runtime writes a provider's options into a session's
constexpr double kGain = 0.95;  // of the dense time: what is expected to gain less stays where it is
constexpr const char* kVersion = NETSURGEON_SPARSE_VERSION;

// Nothing that C++ throws may reach ONNX Runtime.
template <typename Function>
OrtStatus* guarded(const Ort& ort, Function function) noexcept {
  try {
    function();
    return nullptr;
  } catch (const std::exception& error) {
    return ort.status(kFail, error.what());
  } catch (...) {
    return ort.status(kFail, "netsurgeon-sparse: an unknown failure");
  }
}

enum class Claim { kAuto, kAll, kNone };

// Dense layers of few channels are taken only beside sparse ones: alone they would cost the layout of what is around.
enum class Gain { kNo, kBesideOthers, kYes };

struct Provider : OrtEp {
  Provider(const Ort& ort_, Isa isa_, Claim claim_, const Rates& rates_, const std::string& explain)
      : OrtEp{}, ort(ort_), isa(isa_), claim(claim_), rates(rates_), explanation(explain) {}

  const Ort& ort;
  Isa isa;
  Claim claim;
  Rates rates;
  Explanation explanation;
  // By the name of a layer's output: a second look at the same graph must end as the first did.
  std::unordered_map<std::string, Gain> decisions;
};

struct Factory : OrtEpFactory {
  explicit Factory(const OrtApi* api) : OrtEpFactory{}, ort(api) {}

  Ort ort;
};

struct ComputeInfo : OrtNodeComputeInfo {
  ComputeInfo(const Ort& ort_, std::unique_ptr<Kernel> kernel_)
      : OrtNodeComputeInfo{}, ort(ort_), kernel(std::move(kernel_)) {}

  const Ort& ort;
  std::unique_ptr<Kernel> kernel;
};

std::string microseconds(double nanoseconds) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.3g", nanoseconds / 1000);
  return text;
}

Gain gain_of(Provider& provider, const NodeView& node, const Group& group) {
  if (provider.claim != Claim::kAuto) return provider.claim == Claim::kAll ? Gain::kYes : Gain::kNo;
  if (group.nhwc) return Gain::kYes;  // only what was claimed has this layout
  const auto known = provider.decisions.find(group.layer_output);
  if (known != provider.decisions.end()) return known->second;
  const Cost cost = cost_of(group, provider.isa, provider.rates);
  const bool gains = provider.rates.measured && cost.sparse < kGain * cost.dense;
  if (!provider.rates.measured) {
    provider.explanation.left(layer_name(node), "nothing says how fast this processor is: python -m netsurgeon_sparse");
  } else if (!gains) {
    provider.explanation.left(layer_name(node), "it gains too little: " + microseconds(cost.sparse) + " us expected, " +
                                                    microseconds(cost.dense) + " us dense");
  }
  return provider.decisions[group.layer_output] = !gains ? Gain::kNo : cost.in_lines ? Gain::kBesideOthers : Gain::kYes;
}

// Groups of a graph, without overlaps.
std::vector<Group> choose(Provider& provider, const GraphView& graph) {
  std::vector<Group> groups;
  std::unordered_set<const OrtNode*> taken;
  std::unordered_set<std::string> made;
  const auto take = [&](Group group) {
    taken.insert(group.nodes.begin(), group.nodes.end());
    made.insert(group.output);
    group.weight = {};
    groups.push_back(std::move(group));
  };
  std::vector<const NodeView*> beside;
  for (const NodeView& node : graph.nodes) {
    if (node.op == "MaxPool") continue;
    std::optional<Group> group = find_group(graph, node, taken);
    if (!group && is_layer(node)) provider.explanation.left(layer_name(node), why_not(graph, node));
    const Gain gain = group ? gain_of(provider, node, *group) : Gain::kNo;
    if (gain == Gain::kYes) take(std::move(*group));
    if (gain == Gain::kBesideOthers) beside.push_back(&node);
  }
  for (const NodeView* node : beside) {
    std::optional<Group> group = groups.empty() ? std::nullopt : find_group(graph, *node, taken);
    if (!group) provider.explanation.left(layer_name(*node), "it gains beside sparse layers alone");
    if (group) take(std::move(*group));
  }
  // A pooling that no layer of ours feeds would cost the CPU provider its own layout.
  for (const NodeView& node : graph.nodes) {
    if (node.op != "MaxPool") continue;
    std::optional<Group> group = find_group(graph, node, taken);
    if (group && (group->nhwc || made.count(group->input))) take(std::move(*group));
  }
  return groups;
}

const char* provider_name(const OrtEp*) { return kName; }

OrtStatus* get_capability(OrtEp* self, const OrtGraph* graph, OrtEpGraphSupportInfo* info) {
  Provider& provider = *static_cast<Provider*>(self);
  return guarded(provider.ort, [&] {
    if (provider.claim == Claim::kNone || provider.ort.in_subgraph(graph)) return;
    const GraphView view(provider.ort, graph);
    for (const Group& group : choose(provider, view)) provider.ort.fuse(info, group.nodes);
  });
}

OrtStatus* create_state(OrtNodeComputeInfo* self, OrtNodeComputeContext*, void** state) {
  *state = self;
  return nullptr;
}

OrtStatus* compute(OrtNodeComputeInfo* self, void*, OrtKernelContext* context) {
  const ComputeInfo& info = *static_cast<const ComputeInfo*>(self);
  return guarded(info.ort, [&] { info.kernel->compute(context); });
}

void release_state(OrtNodeComputeInfo*, void*) {}

std::unique_ptr<Kernel> compile_graph(const Provider& provider, const OrtGraph* graph, const OrtNode* fused) {
  const Ort& ort = provider.ort;
  const GraphView view(ort, graph, true);
  std::vector<std::string> inputs;
  for (const OrtValueInfo* value : ort.node_inputs(fused)) inputs.push_back(ort.name(value));
  for (const NodeView& node : view.nodes) {
    std::optional<Group> group = find_group(view, node, {});
    if (!group || group->nodes.size() != view.nodes.size()) continue;
    provider.explanation.taken(layer_name(node), ort.name(fused));
    return make_kernel(ort, std::move(*group), inputs, provider.isa);
  }
  throw std::runtime_error("netsurgeon-sparse: a group of nodes is not what it was when it was claimed");
}

OrtStatus* compile(OrtEp* self, const OrtGraph** graphs, const OrtNode** fused, size_t count, OrtNodeComputeInfo** infos,
                   OrtNode**) {
  const Provider& provider = *static_cast<const Provider*>(self);
  return guarded(provider.ort, [&] {
    std::vector<std::unique_ptr<ComputeInfo>> made;
    for (size_t i = 0; i < count; ++i) {
      made.push_back(std::make_unique<ComputeInfo>(provider.ort, compile_graph(provider, graphs[i], fused[i])));
      ComputeInfo& info = *made.back();
      info.version = kApiVersion;
      info.CreateState = create_state;
      info.Compute = compute;
      info.ReleaseState = release_state;
    }
    for (size_t i = 0; i < count; ++i) infos[i] = made[i].release();
  });
}

void release_infos(OrtEp*, OrtNodeComputeInfo** infos, size_t count) {
  for (size_t i = 0; i < count; ++i) delete static_cast<ComputeInfo*>(infos[i]);
}

OrtStatus* preferred_layout(OrtEp*, OrtEpDataLayout* layout) {
  *layout = OrtEpDataLayout_NHWC;
  return nullptr;
}

OrtStatus* should_convert(OrtEp*, const char*, const char* op_type, OrtEpDataLayout, int* convert) {
  const std::string op = op_type;
  *convert = op == "Conv" || op == "MaxPool";
  return nullptr;
}

const char* factory_name(const OrtEpFactory*) { return kName; }
const char* factory_vendor(const OrtEpFactory*) { return "netsurgeon"; }
uint32_t factory_vendor_id(const OrtEpFactory*) { return 0; }
const char* factory_version(const OrtEpFactory*) { return kVersion; }

OrtStatus* supported_devices(OrtEpFactory* self, const OrtHardwareDevice* const* devices, size_t count,
                             OrtEpDevice** ep_devices, size_t most, size_t* ep_count) {
  Factory& factory = *static_cast<Factory*>(self);
  return guarded(factory.ort, [&] {
    *ep_count = 0;
    if (chosen_isa() == Isa::kScalar && !std::getenv("NETSURGEON_SPARSE_ISA")) return;  // dense is faster here
    for (size_t i = 0; i < count && *ep_count < most && *ep_count == 0; ++i)
      if (factory.ort.is_cpu(devices[i])) ep_devices[(*ep_count)++] = factory.ort.device(&factory, devices[i]);
  });
}

Claim claim_of(const std::string& word) {
  if (word == "auto") return Claim::kAuto;
  if (word == "all") return Claim::kAll;
  if (word == "none") return Claim::kNone;
  throw std::invalid_argument("netsurgeon-sparse: the option claim is '" + word + "', expected auto, all or none");
}

OrtStatus* create_ep(OrtEpFactory* self, const OrtHardwareDevice* const*, const OrtKeyValuePairs* const*, size_t,
                     const OrtSessionOptions* options, const OrtLogger*, OrtEp** ep) {
  Factory& factory = *static_cast<Factory*>(self);
  return guarded(factory.ort, [&] {
    const Claim claim = claim_of(factory.ort.option(options, std::string(kOptions) + "claim", "auto"));
    const Rates rates = read_rates(factory.ort.option(options, std::string(kOptions) + "rates", ""), chosen_isa());
    const std::string explain = factory.ort.option(options, std::string(kOptions) + "explain", "");
    auto provider = std::make_unique<Provider>(factory.ort, chosen_isa(), claim, rates, explain);
    provider->version = kApiVersion;
    provider->GetName = provider_name;
    provider->GetCapability = get_capability;
    provider->Compile = compile;
    provider->ReleaseNodeComputeInfos = release_infos;
    provider->GetPreferredDataLayout = preferred_layout;
    provider->ShouldConvertDataLayoutForOp = should_convert;
    *ep = provider.release();
  });
}

void release_ep(OrtEpFactory*, OrtEp* ep) { delete static_cast<Provider*>(ep); }

OrtStatus* create_allocator(OrtEpFactory*, const OrtMemoryInfo*, const OrtKeyValuePairs*, OrtAllocator** allocator) {
  *allocator = nullptr;
  return nullptr;
}

void release_allocator(OrtEpFactory*, OrtAllocator*) {}

OrtStatus* create_data_transfer(OrtEpFactory*, OrtDataTransferImpl** transfer) {
  *transfer = nullptr;
  return nullptr;
}

bool is_stream_aware(const OrtEpFactory*) { return false; }

}  // namespace
}  // namespace netsurgeon::sparse

using namespace netsurgeon::sparse;

EXPORT OrtStatus* CreateEpFactories(const char*, const OrtApiBase* base, const OrtLogger*, OrtEpFactory** factories,
                                    size_t most, size_t* count) {
  *count = 0;
  const OrtApi* api = base->GetApi(kApiVersion);
  if (!api) {
    const std::string message = std::string("netsurgeon-sparse needs ONNX Runtime 1.23 or later; this is ") +
                                base->GetVersionString() + ": pip install -U onnxruntime";
    const OrtApi* first = base->GetApi(1);
    return first ? Ort(first).status(kNotImplemented, message.c_str()) : nullptr;
  }
  const Ort ort(api);
  return guarded(ort, [&] {
    if (most < 1) throw std::runtime_error("netsurgeon-sparse: no place for its factory");
    chosen_isa();  // an instruction set that is not here is said at once
    auto factory = std::make_unique<Factory>(api);
    factory->version = kApiVersion;
    factory->GetName = factory_name;
    factory->GetVendor = factory_vendor;
    factory->GetSupportedDevices = supported_devices;
    factory->CreateEp = create_ep;
    factory->ReleaseEp = release_ep;
    factory->GetVendorId = factory_vendor_id;
    factory->GetVersion = factory_version;
    factory->CreateAllocator = create_allocator;
    factory->ReleaseAllocator = release_allocator;
    factory->CreateDataTransfer = create_data_transfer;
    factory->IsStreamAware = is_stream_aware;
    factories[0] = factory.release();
    *count = 1;
  });
}

EXPORT OrtStatus* ReleaseEpFactory(OrtEpFactory* factory) {
  delete static_cast<Factory*>(factory);
  return nullptr;
}
