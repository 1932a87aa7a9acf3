// What a current llama.cpp answers: node tests/peer.mjs FILE --ids 1,2,3 [-n 16] [--probs K] [--kv f16|f32] [--ctx N].
// Prints the K best tokens of the last prompt position as "id p log_p", then n greedy token ids.
import {writeFileSync} from "node:fs";
import {getLlama, LlamaLogLevel} from "node-llama-cpp";
const a = process.argv.slice(2);
const opt = (n, d) => { const i = a.indexOf(n); return i < 0 ? d : a[i + 1]; };
const file = a[0];
const n = Number(opt("-n", 16)), K = Number(opt("--probs", 0)), kv = opt("--kv", "f16").toUpperCase();
const logitsOut = opt("--logits", "");
const threads = Number(opt("--threads", 2));
const llama = await getLlama({gpu: false, build: "never", logLevel: LlamaLogLevel.error, maxThreads: threads});
const model = await llama.loadModel({modelPath: file, gpuLayers: 0});
const text = opt("--text", null);
let ids = (opt("--ids", "") || "").split(",").filter((s) => s !== "").map(Number);
if (text != null) { ids = [...model.tokenize(text, true)]; console.log("tokens " + ids.join(",")); }
if (!ids.length) { console.error("no ids"); process.exit(2); }
const want = ids.length + n + 8;
const ctx = await model.createContext({
    contextSize: Math.min(Math.max(want, Number(opt("--ctx", 256))), model.trainContextSize), batchSize: 512, threads,
    flashAttention: a.includes("--fa"), sequences: 1,
    experimentalKvCacheKeyType: kv, experimentalKvCacheValueType: kv});
const seq = ctx.getSequence();
const gen = {token: true, options: {temperature: 0}};
let feed = ids, out = [];
const t0 = performance.now();
let t1 = t0;
for (let i = 0; i < Math.max(n, 1); i++) {
    const extra = i === 0 ? {probabilities: K > 0, logits: logitsOut !== ""} : {};
    const items = feed.map((t, j) => j === feed.length - 1 ? [t, {generateNext: {...gen, ...extra}}] : t);
    const next = (await seq.controlledEvaluate(items))[items.length - 1].next;
    if (i === 0) {
        t1 = performance.now();
        if (K > 0) {
            let k = 0;
            for (const [t, p] of next.probabilities) { if (k++ >= K) break; console.log(`${t} ${p.toExponential(6)} ${Math.log(p).toFixed(6)}`); }
        }
        if (logitsOut) {
            const v = new Float32Array(next.logits.size);
            for (const [t, l] of next.logits) v[t] = l;
            writeFileSync(logitsOut, new Uint8Array(v.buffer));
        }
    }
    if (i < n) out.push(next.token);
    feed = [next.token];
}
const t2 = performance.now();
if (n > 0) console.log(out.join(" "));
console.error(`prompt ${ids.length} tok ${(t1 - t0).toFixed(1)} ms, ${Math.max(n - 1, 0)} tok ${(t2 - t1).toFixed(1)} ms, kv ${kv}, arch ${model.fileInfo.metadata.general.architecture}`);
process.exit(0);
