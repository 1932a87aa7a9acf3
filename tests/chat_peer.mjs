// Renders the templates of tests/chat_formats.json with @huggingface/jinja, the reference
// implementation of chat templates in JavaScript.
//   node tests/chat_peer.mjs FILE           compares with the expected texts in FILE; status 1 on a difference
//   node tests/chat_peer.mjs FILE --write   writes them into FILE
import {readFileSync, writeFileSync} from "node:fs";
import {Template} from "@huggingface/jinja";
const [file, write] = process.argv.slice(2);
const all = JSON.parse(readFileSync(file, "utf8"));
let same = 0, differ = 0;
for (const t of all.templates) {
    const texts = all.conversations.map((conversation) => {
        const messages = conversation.map(([role, content]) => ({role, content}));
        const given = {messages, add_generation_prompt: true, eos_token: t.eos};
        try { return new Template(t.template).render(t.bos === null ? given : {...given, bos_token: t.bos}); }
        catch (e) { if (/roles/.test(e.message)) return null; throw e; } // null: the template refuses these roles
    });
    texts.forEach((text, i) => {
        if (t.expect?.[i] === text) same++;
        else { differ++; if (!write) console.log(`${t.format} (${t.note}) ${i}: ${JSON.stringify(text)} expected ${JSON.stringify(t.expect?.[i])}`); }
    });
    t.expect = texts;
}
if (write) {
    const lines = (list) => "[\n" + list.map((x) => "  " + JSON.stringify(x)).join(",\n") + "\n ]";
    const entry = ({expect, ...t}) => " " + JSON.stringify(t).slice(0, -1) + ",\n  \"expect\": " + lines(expect).replace(/\n/g, "\n ") + "}";
    writeFileSync(file, "{\"conversations\": " + lines(all.conversations) + ",\n\"templates\": [\n" + all.templates.map(entry).join(",\n") + "\n]}\n");
}
console.log(`${same} texts the same, ${differ} ${write ? "written" : "different"}`);
process.exit(write || differ === 0 ? 0 : 1);
