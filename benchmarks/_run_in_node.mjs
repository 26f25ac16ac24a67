// Runs one model in onnxruntime-web. Standard input has the task as JSON: `folder` (where the package is installed),
// `model` (a file), `feeds` (name: {type, dims, data}), `rounds`. The answer goes to standard output as JSON: `outputs` (name:
// {type, dims, data}), `load_ms` and `run_ms`, a time for each round. Data is base64, feeds are float32 or int64.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const task = JSON.parse(readFileSync(0, "utf-8"));
const ort = createRequire(`${task.folder}/package.json`)("onnxruntime-web");
ort.env.wasm.numThreads = 1;
ort.env.logLevel = "error";

const model = readFileSync(task.model);
const arrays = { float32: Float32Array, int64: BigInt64Array };
const numbers = (type, text) => new arrays[type](new Uint8Array(Buffer.from(text, "base64")).buffer);
const feeds = Object.fromEntries(
  Object.entries(task.feeds).map(([name, { type, dims, data }]) => [name, new ort.Tensor(type, numbers(type, data), dims)]),
);
const timed = async (times, work) => {
  const started = performance.now();
  const result = await work();
  times.push(performance.now() - started);
  return result;
};

const load = () => ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
const loads = [];
const runs = [];
let session = await load(); // the first one compiles the WebAssembly
for (let round = 0; round < task.rounds; round++) {
  await session.release();
  session = await timed(loads, load);
}
const outputs = {};
for (const [name, { type, dims, data }] of Object.entries(await session.run(feeds))) {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  outputs[name] = { type, dims, data: bytes.toString("base64") };
}
for (let round = 0; round < task.rounds; round++) await timed(runs, () => session.run(feeds));
process.stdout.write(JSON.stringify({ outputs, load_ms: loads, run_ms: runs }));
