#!/usr/bin/env python3
"""Random-weight GGUF v3 models (qwen2 or llama architecture), Python 3 stdlib only.

  make_gguf.py OUT --preset tiny|0.5b --type f16|f32|bf16 [--arch qwen2|llama]
               [--seed N] [--vocab FILE.gguf] [--pad-vocab [N]]

Same preset/arch/seed with another --type gives the same numbers, rounded (to
nearest even) to that type; norms and biases are always f32.
"""
import argparse, array, math, random, struct, sys

F32, F16, BF16 = 0, 1, 30
TYPES = {'f32': (F32, 4, 0), 'f16': (F16, 2, 1), 'bf16': (BF16, 2, 32)}
SCALAR = {0: 'B', 1: 'b', 2: 'H', 3: 'h', 4: 'I', 5: 'i', 6: 'f', 7: '?', 10: 'Q', 11: 'q', 12: 'd'}
PRESETS = {
    'tiny': dict(d=128, layers=2, heads=4, kv=2, ff=256, ctx=2048),
    '0.5b': dict(d=896, layers=24, heads=14, kv=2, ff=4864, ctx=32768),
}
ALIGN = 32
POOL = 1 << 22


# ---- reading the tokenizer ------------------------------------------------
class Reader:
    def __init__(self, path):
        self.b = open(path, 'rb').read()
        self.o = 0

    def num(self, f):
        v = struct.unpack_from('<' + f, self.b, self.o)[0]
        self.o += struct.calcsize('<' + f)
        return v

    def string(self):
        n = self.num('Q')
        v = self.b[self.o:self.o + n]
        self.o += n
        return v

    def value(self, t):
        if t == 8:
            return self.string()
        if t == 9:
            et, n = self.num('I'), self.num('Q')
            return (et, [self.value(et) for _ in range(n)])
        return self.num(SCALAR[t])


def read_tokenizer(path):
    r = Reader(path)
    if r.b[:4] != b'GGUF':
        sys.exit(path + ': not GGUF')
    r.o = 4
    r.num('I')
    r.num('Q')
    out = []
    for _ in range(r.num('Q')):
        k = r.string().decode()
        t = r.num('I')
        v = r.value(t)
        if k.startswith('tokenizer.'):
            out.append([k, t, v])
    return out


# ---- writing --------------------------------------------------------------
def s(x):
    if isinstance(x, str):
        x = x.encode()
    return struct.pack('<Q', len(x)) + x


def enc(t, v):
    if t == 8:
        return s(v)
    if t == 9:
        et, items = v
        head = struct.pack('<IQ', et, len(items))
        if et in SCALAR:
            return head + struct.pack('<%d%s' % (len(items), SCALAR[et]), *items)
        return head + b''.join(enc(et, x) for x in items)
    return struct.pack('<' + SCALAR[t], v)


def kv(k, t, v):
    return s(k) + struct.pack('<I', t) + enc(t, v)


def to_type(vals, ty):
    """float list -> little-endian bytes of the type"""
    if ty == F16:
        return struct.pack('<%de' % len(vals), *vals)
    raw = struct.pack('<%df' % len(vals), *vals)
    if ty == F32:
        return raw
    u = struct.unpack('<%dI' % len(vals), raw)
    return struct.pack('<%dH' % len(u), *[(x + 0x7fff + ((x >> 16) & 1)) >> 16 for x in u])


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument('out')
    ap.add_argument('--preset', choices=PRESETS, default='tiny')
    ap.add_argument('--type', choices=TYPES, default='f16')
    ap.add_argument('--arch', choices=['qwen2', 'llama'], default='qwen2')
    ap.add_argument('--seed', type=int, default=1)
    ap.add_argument('--vocab', required=True, help='GGUF file whose tokenizer is taken')
    ap.add_argument('--pad-vocab', type=int, nargs='?', const=151936, default=0)
    a = ap.parse_args()
    p, arch = PRESETS[a.preset], a.arch
    d, L, H, KVH, ff = p['d'], p['layers'], p['heads'], p['kv'], p['ff']
    hd = d // H
    dkv = hd * KVH
    ty, esz, ftype = TYPES[a.type]

    tok = read_tokenizer(a.vocab)
    by = {e[0]: e for e in tok}
    toks = by['tokenizer.ggml.tokens'][2][1]
    pad = max(0, a.pad_vocab - len(toks))
    n0 = len(toks)
    toks.extend(b'[PAD%d]' % i for i in range(n0, n0 + pad))
    if 'tokenizer.ggml.token_type' in by:
        by['tokenizer.ggml.token_type'][2][1].extend([5] * pad)
    if 'tokenizer.ggml.scores' in by:
        by['tokenizer.ggml.scores'][2][1].extend([-1e4] * pad)
    V = len(toks)

    theta = 1e6 if arch == 'qwen2' else 1e4
    meta = [
        ('general.architecture', 8, arch),
        ('general.type', 8, 'model'),
        ('general.name', 8, 'random %s %s seed %d' % (arch, a.preset, a.seed)),
        (arch + '.block_count', 4, L),
        (arch + '.context_length', 4, p['ctx']),
        (arch + '.embedding_length', 4, d),
        (arch + '.feed_forward_length', 4, ff),
        (arch + '.attention.head_count', 4, H),
        (arch + '.attention.head_count_kv', 4, KVH),
        (arch + '.rope.freq_base', 6, theta),
        (arch + '.attention.layer_norm_rms_epsilon', 6, 1e-6 if arch == 'qwen2' else 1e-5),
        ('general.file_type', 4, ftype),
    ]
    if arch == 'llama':
        meta += [('llama.rope.dimension_count', 4, hd), ('llama.vocab_size', 4, V)]
    meta += [('general.quantization_version', 4, 2)]
    meta += [tuple(e) for e in tok]

    # name, shape in GGUF order (ne0 = contiguous = input dim), kind: sd, or ('norm', mean), ('bias', sd)
    sd = 1 / math.sqrt(d)
    emb = 0.05
    # weights scaled so that attention is not uniform (rope matters) and logits have sd ~4
    T = [('token_embd.weight', (d, V), emb)]
    for i in range(L):
        b = 'blk.%d.' % i
        T += [(b + 'attn_norm.weight', (d,), ('norm', 1.0)),
              (b + 'attn_q.weight', (d, d), 1.2 * sd),
              (b + 'attn_k.weight', (d, dkv), 1.2 * sd),
              (b + 'attn_v.weight', (d, dkv), 1.0 * sd),
              (b + 'attn_output.weight', (d, d), 1.2 * sd),
              (b + 'ffn_norm.weight', (d,), ('norm', 1.0)),
              (b + 'ffn_gate.weight', (d, ff), 1.0 * sd),
              (b + 'ffn_up.weight', (d, ff), 1.0 * sd),
              (b + 'ffn_down.weight', (ff, d), 2.0 / math.sqrt(ff))]
        if arch == 'qwen2':
            T += [(b + 'attn_q.bias', (d,), ('bias', 0.3)),
                  (b + 'attn_k.bias', (dkv,), ('bias', 0.3)),
                  (b + 'attn_v.bias', (dkv,), ('bias', 0.1))]
    T += [('output_norm.weight', (d,), ('norm', 4.0 * sd / emb))]
    if arch == 'llama':
        T += [('output.weight', (d, V), emb)]

    info, off, plan = [], 0, []
    for name, shape, kind in T:
        n = math.prod(shape)
        t, size = (F32, n * 4) if isinstance(kind, tuple) else (ty, n * esz)
        info.append(s(name) + struct.pack('<I', len(shape)) +
                    struct.pack('<%dQ' % len(shape), *shape) + struct.pack('<IQ', t, off))
        plan.append((shape, kind, size))
        off += (size + ALIGN - 1) // ALIGN * ALIGN

    rng = random.Random(a.seed)
    g = rng.gauss
    base = [g(0.0, 1.0) for _ in range(POOL)]
    pools = {}

    with open(a.out, 'wb', buffering=1 << 22) as f:
        f.write(b'GGUF' + struct.pack('<IQQ', 3, len(T), len(meta)))
        f.write(b''.join(kv(*m) for m in meta))
        f.write(b''.join(info))
        f.write(b'\0' * (-f.tell() % ALIGN))
        for shape, kind, size in plan:
            if isinstance(kind, tuple):
                what, x = kind
                vals = [x * (1 + 0.1 * g(0, 1)) if what == 'norm' else x * g(0, 1) for _ in range(shape[0])]
                f.write(to_type(vals, F32))
            else:
                if kind not in pools:
                    pools[kind] = memoryview(to_type([v * kind for v in base], ty))
                pool = pools[kind]
                row = shape[0]
                # each row starts at its own place in the pool: no two rows of a tensor are equal
                for o in rng.sample(range(POOL - row), shape[1]):
                    f.write(pool[o * esz:(o + row) * esz])
            f.write(b'\0' * (-size % ALIGN))
    print('%s: %s %s %s, vocab %d, %d tensors, %.1f MB' %
          (a.out, arch, a.preset, a.type, V, len(T), (off) / 1e6))


main()
