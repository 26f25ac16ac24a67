// The library's plain functions behind a pipe, so that what was compiled for another processor can be tried in an emulator.
//
// A request is an int64 (which function) and blobs, an answer an int64 (0, or -1 and a sentence) and blobs. A blob is its
// length as int64 and its bytes.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

extern "C" {
const char* netsurgeon_sparse_error();
const char* netsurgeon_sparse_isas();
void* netsurgeon_sparse_create(const void*, const int8_t*, const int32_t*, const float*, const char*);
void netsurgeon_sparse_destroy(void*);
int32_t netsurgeon_sparse_sizes(const void*, int64_t, int64_t, int64_t, int64_t*);
int32_t netsurgeon_sparse_run(const void*, int64_t, int64_t, int64_t, int32_t, const uint8_t*, const uint8_t*, void*);
int64_t netsurgeon_sparse_steps(const void*);
void netsurgeon_sparse_decode(const void*, int8_t*);
}

namespace {

enum Function : int64_t { kIsas, kCreate, kDestroy, kSizes, kRun, kSteps, kDecode };

void read(void* to, size_t bytes) {
  if (std::fread(to, 1, bytes, stdin) != bytes) std::exit(0);  // the caller is gone
}

int64_t read_number() {
  int64_t number = 0;
  read(&number, sizeof(number));
  return number;
}

std::vector<char> read_blob() {
  std::vector<char> blob(static_cast<size_t>(read_number()));
  if (!blob.empty()) read(blob.data(), blob.size());
  return blob;
}

void write_number(int64_t number) { std::fwrite(&number, sizeof(number), 1, stdout); }

void write_blob(const void* from, size_t bytes) {
  write_number(static_cast<int64_t>(bytes));
  std::fwrite(from, 1, bytes, stdout);
}

void answer(bool succeeded, const void* from = nullptr, size_t bytes = 0) {
  const std::string error = succeeded ? "" : netsurgeon_sparse_error();
  write_number(succeeded ? 0 : -1);
  if (succeeded) write_blob(from, bytes);
  else write_blob(error.data(), error.size());
  std::fflush(stdout);
}

template <typename T>
const T* or_null(const std::vector<char>& blob) {
  return blob.empty() ? nullptr : reinterpret_cast<const T*>(blob.data());
}

void create() {
  const std::vector<char> fields = read_blob(), weight = read_blob(), bias = read_blob(), scale = read_blob();
  std::vector<char> isa = read_blob();
  isa.push_back(0);
  void* layer = netsurgeon_sparse_create(fields.data(), or_null<int8_t>(weight), or_null<int32_t>(bias),
                                         or_null<float>(scale), isa.data());
  const int64_t handle = reinterpret_cast<int64_t>(layer);
  answer(layer != nullptr, &handle, sizeof(handle));
}

void run(void* layer) {
  const int64_t batch = read_number(), height = read_number(), width = read_number(), threads = read_number();
  const std::vector<char> input = read_blob(), residual = read_blob();
  std::vector<char> output(static_cast<size_t>(read_number()));
  const int32_t done = netsurgeon_sparse_run(layer, batch, height, width, static_cast<int32_t>(threads),
                                             or_null<uint8_t>(input), or_null<uint8_t>(residual), output.data());
  answer(done >= 0, output.data(), output.size());
}

void sizes(void* layer) {
  const int64_t batch = read_number(), height = read_number(), width = read_number();
  int64_t out[2] = {};
  answer(netsurgeon_sparse_sizes(layer, batch, height, width, out) >= 0, out, sizeof(out));
}

void decode(void* layer) {
  std::vector<char> weight(static_cast<size_t>(read_number()));
  netsurgeon_sparse_decode(layer, reinterpret_cast<int8_t*>(weight.data()));
  answer(true, weight.data(), weight.size());
}

void* read_layer() { return reinterpret_cast<void*>(read_number()); }

}  // namespace

int main() {
  for (;;) {
    const int64_t function = read_number();
    if (function == kIsas) {
      const std::string names = netsurgeon_sparse_isas();
      answer(true, names.data(), names.size());
    } else if (function == kCreate) {
      create();
    } else if (function == kDestroy) {
      netsurgeon_sparse_destroy(read_layer());
      answer(true);
    } else if (function == kSizes) {
      sizes(read_layer());
    } else if (function == kRun) {
      run(read_layer());
    } else if (function == kSteps) {
      const int64_t steps = netsurgeon_sparse_steps(read_layer());
      answer(true, &steps, sizeof(steps));
    } else if (function == kDecode) {
      decode(read_layer());
    } else {
      return 1;
    }
  }
}
