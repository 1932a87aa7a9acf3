#!/usr/bin/env python3
"""Random-weight GGUF v3 models, Python 3 stdlib only.

  make_gguf.py OUT --preset tiny|0.5b --type f16|f32|bf16 [--arch qwen2|llama]
               [--seed N] --vocab FILE.gguf [--pad-vocab [N]]
  make_gguf.py OUT --family NAME [--type …] [--seed N] [--without FEATURE,…] [--layers N] [--window N]
  make_gguf.py --families             the names, one a line, with what they have

A family has the features of the real one (head sizes, shared key heads, biases, partial
rotation, scaling …) in a small size, with a vocabulary of its own of 512 byte-level
tokens.  --without writes the same numbers but leaves one feature out: an answer that stays
the same would mean that the test cannot see the feature.

Same preset/arch/seed with another --type gives the same numbers, rounded (to
nearest even) to that type; norms and biases are always f32.
"""
import argparse, math, random, struct, sys

F32, F16, BF16 = 0, 1, 30
TYPES = {'f32': (F32, 4, 0), 'f16': (F16, 2, 1), 'bf16': (BF16, 2, 32)}
SCALAR = {0: 'B', 1: 'b', 2: 'H', 3: 'h', 4: 'I', 5: 'i', 6: 'f', 7: '?', 10: 'Q', 11: 'q', 12: 'd'}
PRESETS = {
    'tiny': dict(d=128, layers=2, heads=4, kv=2, ff=256, ctx=2048),
    '0.5b': dict(d=896, layers=24, heads=14, kv=2, ff=4864, ctx=32768),
}
ALIGN = 32

# d_model, heads, key heads, head size, d_ffn, rotated dimensions, tied head, RoPE base, context, features
FAMILIES = {
    'llama2':       dict(arch='llama', d=256, H=4, G=4, h=64, ff=688, rot=64, tied=False, theta=1e4, ctx=4096, has=''),
    'llama31':      dict(arch='llama', d=512, H=8, G=2, h=64, ff=768, rot=64, tied=True, theta=5e5, ctx=4096, has='rope_freqs'),
    'llama-linear': dict(arch='llama', d=256, H=4, G=2, h=64, ff=512, rot=64, tied=False, theta=1e4, ctx=4096, has='linear'),
    'llama-yarn':   dict(arch='llama', d=256, H=4, G=2, h=64, ff=512, rot=64, tied=False, theta=1e4, ctx=4096, has='yarn'),
    'llama-bias':   dict(arch='llama', d=256, H=4, G=2, h=64, ff=512, rot=64, tied=False, theta=1e4, ctx=4096, has='qkv_bias out_bias ffn_bias'),
    'mistral':      dict(arch='llama', d=512, H=4, G=1, h=128, ff=704, rot=128, tied=False, theta=1e6, ctx=4096, has=''),
    'qwen2':        dict(arch='qwen2', d=256, H=4, G=2, h=64, ff=512, rot=64, tied=True, theta=1e6, ctx=4096, has='qkv_bias'),
    'qwen2-yarn':   dict(arch='qwen2', d=384, H=6, G=1, h=64, ff=512, rot=64, tied=False, theta=1e6, ctx=4096, has='qkv_bias yarn'),
    'qwen3':        dict(arch='qwen3', d=256, H=4, G=2, h=128, ff=512, rot=128, tied=True, theta=1e6, ctx=4096, has='qk_norm'),
    'qwen3-yarn':   dict(arch='qwen3', d=256, H=8, G=1, h=128, ff=512, rot=128, tied=False, theta=1e6, ctx=4096, has='qk_norm yarn'),
    'phi2':         dict(arch='phi2', d=320, H=4, G=4, h=80, ff=640, rot=32, tied=False, theta=1e4, ctx=2048, has='qkv_bias out_bias ffn_bias head_bias norm_bias'),
    'phi2-fused':   dict(arch='phi2', d=320, H=4, G=4, h=80, ff=640, rot=32, tied=False, theta=1e4, ctx=2048, has='qkv_bias out_bias ffn_bias head_bias norm_bias fused'),
    'phi3':         dict(arch='phi3', d=384, H=4, G=4, h=96, ff=512, rot=96, tied=False, theta=1e4, ctx=4096, has='fused'),
    'phi3-long':    dict(arch='phi3', d=384, H=4, G=4, h=96, ff=512, rot=96, tied=False, theta=1e4, ctx=4096, has='fused longrope'),
    'phi4-mini':    dict(arch='phi3', d=768, H=6, G=2, h=128, ff=512, rot=96, tied=True, theta=1e4, ctx=4096, has='fused longrope'),
}


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


# A byte-level vocabulary of 512: 256 bytes, 251 merges, 5 control tokens.
def own_tokenizer():
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in printable]
    char = {b: chr(b) for b in printable}
    char.update({b: chr(256 + i) for i, b in enumerate(rest)})
    tokens = [char[b] for b in range(256)]
    merges = []
    for left in ' abcdefghijklmnopqrstuvwxyz':
        for right in 'aeioutnrsl':
            pair = char[ord(left)] + char[ord(right)]
            if len(merges) < 251 and pair not in tokens:
                merges.append(char[ord(left)] + ' ' + char[ord(right)])
                tokens.append(pair)
    tokens += ['<|endoftext|>', '<|im_start|>', '<|im_end|>', '<|user|>', '<|end|>']
    types = [1] * (len(tokens) - 5) + [3] * 5
    return [['tokenizer.ggml.model', 8, 'gpt2'], ['tokenizer.ggml.pre', 8, 'gpt-2'],
            ['tokenizer.ggml.tokens', 9, (8, tokens)], ['tokenizer.ggml.token_type', 9, (5, types)],
            ['tokenizer.ggml.merges', 9, (8, merges)], ['tokenizer.ggml.eos_token_id', 4, len(tokens) - 5],
            ['tokenizer.ggml.bos_token_id', 4, len(tokens) - 5], ['tokenizer.ggml.add_bos_token', 7, False]]


# The tensors of a family: name, shape in GGUF order (ne0 = input dimension), kind.  kind: a standard
# deviation, or ('norm', mean), ('bias', sd), ('values', list).
def family_tensors(p, V, layers, has, without):
    d, H, G, h, ff, rot = p['d'], p['H'], p['G'], p['h'], p['ff'], p['rot']
    q, kv, sd, emb = H * h, G * h, 1 / math.sqrt(d), 0.05
    phi2 = p['arch'] == 'phi2'

    def bias(name, n, dev):  # a bias that is left out is there with zeros: a phi-2 file must have it
        return [(name, (n,), ('bias', 0.0 if name.split('.')[-2] in without else dev))]

    T = [('token_embd.weight', (d, V), emb)]
    if 'rope_freqs' in has:  # Llama 3.1: slow pairs 8 times slower, fast ones as they are, a ramp between
        factors = []
        for i in range(rot // 2):
            wave = 2 * math.pi * p['theta'] ** (2 * i / rot)
            slow = min(1, max(0, (128 / wave - 1) / 3))  # original context 128, factors 1 and 4
            factors.append(1.0 if 'rope_freqs' in without else 1 / ((1 - slow) / 8 + slow))
        T += [('rope_freqs.weight', (rot // 2,), ('values', factors))]
    if 'longrope' in has:
        short = [1 + 0.5 * i / (rot / 2) for i in range(rot // 2)]
        long = [1 + 6 * i / (rot / 2) + 2 * (i % 3) for i in range(rot // 2)]
        ones = [1.0] * (rot // 2)
        T += [('rope_factors_long.weight', (rot // 2,), ('values', ones if 'longrope' in without else long)),
              ('rope_factors_short.weight', (rot // 2,), ('values', ones if 'longrope' in without else short))]
    for i in range(layers):
        b = 'blk.%d.' % i
        T += [(b + 'attn_norm.weight', (d,), ('norm', 1.0))]
        if phi2:
            T += bias(b + 'attn_norm.bias', d, 0.3)
        if 'fused' in has:
            T += [(b + 'attn_qkv.weight', (d, q + 2 * kv), 1.5 * sd)]
            if 'qkv_bias' in has:
                T += bias(b + 'attn_qkv.bias', q + 2 * kv, 0.5)
        else:
            T += [(b + 'attn_q.weight', (d, q), 1.5 * sd), (b + 'attn_k.weight', (d, kv), 1.5 * sd),
                  (b + 'attn_v.weight', (d, kv), 1.5 * sd)]
            if 'qkv_bias' in has:
                T += bias(b + 'attn_q.bias', q, 0.5) + bias(b + 'attn_k.bias', kv, 0.5) + bias(b + 'attn_v.bias', kv, 0.5)
        if 'qk_norm' in has:
            for name in ('attn_q_norm', 'attn_k_norm'):
                one = ('values', [1.0] * h)
                T += [(b + name + '.weight', (h,), one if name in without else ('norm', 1.5))]
        T += [(b + 'attn_output.weight', (q, d), 1.5 / math.sqrt(q))]
        if 'out_bias' in has:
            T += bias(b + 'attn_output.bias', d, 0.3)
        if not phi2:
            T += [(b + 'ffn_norm.weight', (d,), ('norm', 1.0))]
        if phi2:
            T += [(b + 'ffn_up.weight', (d, ff), 1.5 * sd)] + bias(b + 'ffn_up.bias', ff, 0.5)
        elif 'fused' in has:
            T += [(b + 'ffn_up.weight', (d, 2 * ff), 1.2 * sd)]
        else:
            T += [(b + 'ffn_gate.weight', (d, ff), 1.2 * sd), (b + 'ffn_up.weight', (d, ff), 1.2 * sd)]
            if 'ffn_bias' in has:
                T += bias(b + 'ffn_gate.bias', ff, 0.5) + bias(b + 'ffn_up.bias', ff, 0.5)
        T += [(b + 'ffn_down.weight', (ff, d), 2.0 / math.sqrt(ff))]
        if 'ffn_bias' in has:
            T += bias(b + 'ffn_down.bias', d, 0.3)
    T += [('output_norm.weight', (d,), ('norm', 4.0 * sd / emb))]
    if phi2:
        T += bias('output_norm.bias', d, 0.3)
    if not p['tied']:
        T += [('output.weight', (d, V), emb)]
    if phi2:
        T += bias('output.bias', V, 1.0)
    return T


def family_meta(p, V, layers, has, without, window):
    a = p['arch']
    eps = 'layer_norm_epsilon' if a == 'phi2' else 'layer_norm_rms_epsilon'
    meta = [('general.architecture', 8, a), ('general.type', 8, 'model'), ('general.name', 8, 'random weights'),
            (a + '.block_count', 4, layers), (a + '.context_length', 4, p['ctx']),
            (a + '.embedding_length', 4, p['d']), (a + '.feed_forward_length', 4, p['ff']),
            (a + '.attention.head_count', 4, p['H']), (a + '.attention.head_count_kv', 4, p['G']),
            (a + '.attention.' + eps, 6, 1e-5), (a + '.rope.freq_base', 6, p['theta']),
            (a + '.vocab_size', 4, V),
            (a + '.rope.dimension_count', 4, p['rot'])]
    if p['h'] != p['d'] // p['H']:
        meta += [(a + '.attention.key_length', 4, p['h']), (a + '.attention.value_length', 4, p['h'])]
    if 'linear' in has and 'linear' not in without:
        meta += [(a + '.rope.scaling.type', 8, 'linear'), (a + '.rope.scaling.factor', 6, 4.0)]
    if 'yarn' in has and 'yarn' not in without:
        meta += [(a + '.rope.scaling.type', 8, 'yarn'), (a + '.rope.scaling.factor', 6, 4.0),
                 (a + '.rope.scaling.original_context_length', 4, 128)]
        if 'gain' in without:  # takes back what YaRN multiplies q and k by
            meta += [(a + '.rope.scaling.attn_factor', 6, 1 / (1 + 0.1 * math.log(4)))]
    if 'longrope' in has:
        meta += [(a + '.rope.scaling.original_context_length', 4, 1024)]
        if 'gain' not in without:
            meta += [(a + '.rope.scaling.attn_factor', 6, 1.19)]
    if window:
        meta += [(a + '.attention.sliding_window', 4, window)]
    return meta


# Numbers come from a pool of POOL normal values: a matrix row is a stretch of it.
def write(a, arch, what, meta, T, V, POOL):
    ty, esz, _ = TYPES[a.type]
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
                form, x = kind
                vals = x if form == 'values' else [x * (1 + 0.1 * g(0, 1)) if form == 'norm' else x * g(0, 1)
                                                   for _ in range(shape[0])]
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
          (a.out, arch, what, a.type, V, len(T), (off) / 1e6))


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument('out', nargs='?')
    ap.add_argument('--family', choices=FAMILIES)
    ap.add_argument('--families', action='store_true')
    ap.add_argument('--without', default='', help='features to leave out, separated by commas')
    ap.add_argument('--layers', type=int, default=2)
    ap.add_argument('--window', type=int, default=0)
    ap.add_argument('--preset', choices=PRESETS, default='tiny')
    ap.add_argument('--type', choices=TYPES, default='f16')
    ap.add_argument('--arch', choices=['qwen2', 'llama'], default='qwen2')
    ap.add_argument('--seed', type=int, default=1)
    ap.add_argument('--vocab', help='GGUF file whose tokenizer is taken')
    ap.add_argument('--pad-vocab', type=int, nargs='?', const=151936, default=0)
    a = ap.parse_args()
    if a.families:
        for name, p in FAMILIES.items():
            print(name, p['has'])
        return
    if not a.out or (not a.family and not a.vocab):
        ap.error('OUT is missing, or --vocab')
    if a.family:
        p, tok = FAMILIES[a.family], own_tokenizer()
        V, has, without = len(tok[2][2][1]), p['has'].split(), a.without.split(',')
        if 'partial' in without:
            p = {**p, 'rot': p['h']}
        meta = family_meta(p, V, a.layers, has, without, a.window)
        write(a, p['arch'], a.family, meta + [tuple(e) for e in tok],
              family_tensors(p, V, a.layers, has, without), V, 1 << 18)
        return
    p, arch = PRESETS[a.preset], a.arch
    d, L, H, KVH, ff = p['d'], p['layers'], p['heads'], p['kv'], p['ff']
    hd = d // H
    dkv = hd * KVH
    ftype = TYPES[a.type][2]

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

    write(a, arch, a.preset, meta, T, V, 1 << 22)


main()
