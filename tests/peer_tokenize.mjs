// node peer_tokenize.mjs CASES VOCAB.gguf...: the ids of llama.cpp, into VOCAB.gguf.peer,
// one line per text; with --time also the seconds of the processor that each file took.
import {readFileSync, writeFileSync} from "node:fs";
import {getLlama, LlamaLogLevel} from "node-llama-cpp";
const args = process.argv.slice(2).filter((a) => a !== "--time"), time = process.argv.includes("--time");
const cases = readFileSync(args[0], "utf8").split("\n__case__\n");
const llama = await getLlama({gpu: false, build: "never", logLevel: LlamaLogLevel.disabled, maxThreads: 1});
for (const file of args.slice(1)) {
    try {
        const model = await llama.loadModel({modelPath: file, gpuLayers: 0, vocabOnly: true});
        const native = model._model; // without the work-arounds of the JavaScript side
        const t0 = process.cpuUsage();
        const ids = cases.map((text) => native.tokenize(text, false));
        const cpu = process.cpuUsage(t0), seconds = (cpu.user + cpu.system) / 1e6;
        if (time) console.log(`${seconds.toFixed(3)} s, ${ids.reduce((n, x) => n + x.length, 0)} ids`);
        writeFileSync(file + ".peer", ids.map((x) => x.join(" ")).join("\n") + "\n");
        await model.dispose();
    } catch (e) {
        console.error(`${file}: ${e.message}`);
    }
}
process.exit(0);
