#!/usr/bin/env python3
"""chat_llama.py LIBDIR FILE LEAST [-v]: what llama.cpp's own marker detection (llama_chat_apply_template
of the library in LIBDIR) makes of the templates in FILE (tests/chat_formats.json), beside the texts
that the templates give.  Its detection is coarser than the templates: it supplies no system text
and no date, keeps thinking, trims where Llama 2 does not, takes Mistral's v7-tekken for v7 and
Phi-4-mini for Phi-3, and guesses Zephyr's eos.  So status 0 means that at least LEAST texts are the
same; -v prints the others."""
import ctypes, glob, json, os, sys

libdir, path, least = sys.argv[1], sys.argv[2], int(sys.argv[3])
for name in ('libggml-base*', 'libggml.*', 'libllama.*'):
    for f in glob.glob(os.path.join(libdir, name)):
        lib = ctypes.CDLL(f, mode=ctypes.RTLD_GLOBAL)


class Message(ctypes.Structure):
    _fields_ = [('role', ctypes.c_char_p), ('content', ctypes.c_char_p)]


data = json.load(open(path))
same = differ = 0
for t in data['templates']:
    for i, conversation in enumerate(data['conversations']):
        expect = t['expect'][i]
        if expect is None:
            continue
        messages = (Message * len(conversation))(*[Message(r.encode(), c.encode()) for r, c in conversation])
        out = ctypes.create_string_buffer(8192)
        n = lib.llama_chat_apply_template(t['template'].encode(), messages, len(conversation), True, out, 8192)
        text, bos = out.raw[:max(n, 0)].decode(), t['bos'] or ''
        if n >= 0 and text.removeprefix(bos) == expect.removeprefix(bos):  # llama.cpp writes no bos
            same += 1
            continue
        differ += 1
        if '-v' in sys.argv:
            print('%s (%s) %d\n  llama.cpp %r\n  template  %r' % (t['format'], t['note'], i, text if n >= 0 else None, expect))
print('%d texts are those of llama.cpp, %d others are not' % (same, differ))
sys.exit(0 if same >= least else 1)
