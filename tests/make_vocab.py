#!/usr/bin/env python3
"""Small vocabulary-only GGUF files and nasty texts for tests/test_peer_tokenizers.sh.

  make_vocab.py DIRECTORY [NAME...]

writes cases.txt, one bpe-NAME.gguf for every NAME that tokenizer.ggml.pre may have,
and two each of spm-N.gguf, unigram-N.gguf, wordpiece-N.gguf with cases-wordpiece.txt.  A byte-level file has the 256 bytes and a
merge for every pair of bytes that are neighbours in the texts, in an order drawn at
random: where a rule cuts between two bytes shows in the ids.  Python 3 stdlib only.
"""
import random, struct, sys, unicodedata

MARK = '\n__case__\n'
PIECES = ['a', 'b', 'Z', 'the', 'The', 'THE', ' word', ' Words', "don't", "DON'T", "I'm", "we'LL", "they've", "'s", "'S", "x'd",
          "l'été", "'", "''", '"', '.', '...', '!', '?!', ',', ';', ':', '-', '--', '_', '__init__', '$', '+', '<', '=', '>', '^',
          '~', '|', '`', '```', '@', '#', '%', '&', '*', '/', '//', '\\', '(', ')', '[', ']', '{', '}', '=>', '->', '!=', '0', '1',
          '12', '123', '1234', '12345', '1234567', '123456789012', '3.14', '1,000,000', '0x1F', '2nd', 'v2', 'x86_64', ' ', '  ',
          '   ', '    ', '     ', '         ', '\t', '\t\t', ' \t', '\n', '\n\n', '\n\n\n', '\r\n', '\r\n\r\n', '\r', ' \n', '\n ',
          '\n  ', '  \n', '\n\t', '\x0b', '\x0c', '\u00a0', '\u2003', '\u3000', '\u2028', '\u200b', '\ufeff', '\u0001', '\u007f',
          'é', 'É', 'ÉCOLE', 'École', 'garçon', 'straße', 'Ü', 'ſ', 'e\u0301', 'E\u0301', '\u0301', 'Ω', 'ω', 'ΑΒΓ', 'αβγ',
          'Привет', 'МИР', 'ђ', '你好', '世界', '漢字かな交じり文', 'カタカナ', 'ﾊﾝｶｸ', '한국어', '안녕', '。', '、', '，', '！', '「', '…',
          '—', '“', '”', '‘', '’', 'مرحبا', 'بالعالم', '،', '۔', '؟', '١٢٣', '۴۵۶', 'שלום', 'नमस्ते', 'हिन्दी', '।', '१२३४', 'বাংলা',
          'ไทย', 'ภาษาไทย', 'ម៉ោង', 'မြန်မာ', 'ລາວ', '①②③', '²', '½', 'Ⅷ', '٣٤', '😀', '👨‍👩‍👧‍👦', '🏳️‍🌈', '🇩🇪', '❤️', '©', '™', '€',
          '≤', '∑', '→', '°', '\u0300\u0301', 'ﬁ', 'Ａｂｃ', '１２３', '𝔘𝔫𝔦', '𐐀𐐨', '𠀀', '\U000e0001', '\u00ad', 'İ', 'ı', 'Ǆ', 'ǅ', 'ǆ',
          'ʰ', 'ª', 'º', '_x', 'camelCase', 'PascalCase', 'HTTPServer', 'iPhone', 'caféBar', 'ÄÖÜäöü', 'fooBAR', 'http://a.b/c?d=e',
          'a@b.de', '<|endoftext|>', '<s>', '<sentinel:12>', 'IMGIMGABZ', 'IMGIMGABCDEZ', 'hello world', 'for (i = 0; i < n; i++)',
          '  return x;', '\n    if x:\n        y()\n', '//comment', '/* c */', '#include <a.h>', '1/2', '50%', '-5', '+1', '1e-9']


def texts(seed=7):
    rng = random.Random(seed)
    out = list(PIECES) + [' ' + p for p in PIECES] + [p + ' ' for p in PIECES] + [p + '  x' for p in PIECES]
    for n in (2, 3, 5, 8, 13, 30):
        out += [''.join(rng.choice(PIECES) for _ in range(n)) for _ in range(60)]
    for n in range(1, 12):  # numbers and spaces of all lengths
        digits = ''.join(rng.choice('0123456789') for _ in range(n))
        out += [digits, 'x' + digits + 'y', ' ' + digits, digits + ' ' * n + 'z', 'a' + ' ' * n, ' ' * n + 'a', ' ' * n,
                '\n' * n + 'b', 'b' + '\t' * n + 'c', 'abc' + digits, digits + '_', digits + '.']
    for n in (15, 16, 17, 31, 33, 63, 65, 127, 129, 255, 257, 511, 513, 600, 1100):
        out += ['a' + ' ' * n + 'b', 'a' + ' ' * n, '7' * n]
    for n in (1, 3, 10):
        out += [('AbéÉ漢' * n), ('éA1' * n), ('ABé' * n), ('हिAB' * n), ('ÉÈ' * n + 'x')]
    return [t for t in out if t and MARK not in t]


# ---- GGUF -----------------------------------------------------------------
def s(x):
    x = x if isinstance(x, bytes) else x.encode()
    return struct.pack('<Q', len(x)) + x


def kv(key, kind, value):
    if kind == 'str':
        return s(key) + struct.pack('<I', 8) + s(value)
    if kind == 'u32':
        return s(key) + struct.pack('<II', 4, value)
    if kind == 'bool':
        return s(key) + struct.pack('<IB', 7, value)
    if kind == 'strs':
        return s(key) + struct.pack('<IIQ', 9, 8, len(value)) + b''.join(map(s, value))
    code, fmt = {'i32s': (5, 'i'), 'f32s': (6, 'f')}[kind]
    return s(key) + struct.pack('<IIQ', 9, code, len(value)) + struct.pack('<%d%s' % (len(value), fmt), *value)


def write(path, arch, items):
    items = [('general.architecture', 'str', arch), ('general.name', 'str', 'test')] + items
    with open(path, 'wb') as f:
        f.write(b'GGUF' + struct.pack('<IQQ', 3, 0, len(items)) + b''.join(kv(*i) for i in items))


def printable():
    own = [b for b in range(256) if 33 <= b < 127 or 161 <= b < 173 or b >= 174]
    rest = [b for b in range(256) if b not in own]
    return {**{b: chr(b) for b in own}, **{b: chr(256 + i) for i, b in enumerate(rest)}}


def byte_level(path, pre, pairs):
    c = printable()
    tokens = [c[b] for b in range(256)] + [c[a] + c[b] for a, b in pairs] + ['<|endoftext|>']
    write(path, 'gpt2', [('tokenizer.ggml.model', 'str', 'gpt2'), ('tokenizer.ggml.pre', 'str', pre),
                         ('tokenizer.ggml.tokens', 'strs', tokens),
                         ('tokenizer.ggml.token_type', 'i32s', [1] * (len(tokens) - 1) + [3]),
                         ('tokenizer.ggml.merges', 'strs', [c[a] + ' ' + c[b] for a, b in pairs]),
                         ('tokenizer.ggml.bos_token_id', 'u32', len(tokens) - 1),
                         ('tokenizer.ggml.eos_token_id', 'u32', len(tokens) - 1)])


def raw_level(path, pre, cases, rng):
    """BPE over characters (gemma4, whitespace): bytes as <0x0A>, merges of neighbouring characters."""
    mark = (lambda t: t.replace(' ', '\u2581')) if pre == 'gemma4' else (lambda t: t)
    lines = [w for t in cases for w in (mark(t).split('\n') if pre == 'gemma4' else t.split())]
    pairs = sorted({(a, b) for w in lines for a, b in zip(w, w[1:])})
    pairs = rng.sample(pairs, len(pairs) // 2)
    chars = sorted({x for p in pairs for x in p})
    tokens = ['<pad>', '<eos>', '<bos>', '<unk>'] + ['<0x%02X>' % b for b in range(256)] + ['\n', '\n\n', '\n\n\n']
    tokens += [x for x in chars + [a + b for a, b in pairs] if x not in tokens]
    tokens = list(dict.fromkeys(tokens))
    types = [3, 3, 3, 2] + [6] * 256 + [1] * (len(tokens) - 260)
    write(path, 'gpt2', [('tokenizer.ggml.model', 'str', 'gpt2'), ('tokenizer.ggml.pre', 'str', pre),
                         ('tokenizer.ggml.tokens', 'strs', tokens), ('tokenizer.ggml.token_type', 'i32s', types),
                         ('tokenizer.ggml.merges', 'strs', [a + ' ' + b for a, b in pairs]),
                         ('tokenizer.ggml.bos_token_id', 'u32', 2), ('tokenizer.ggml.eos_token_id', 'u32', 1)])


def substrings(cases, rng, n, longest=6):
    out = {}
    while len(out) < n:
        t = rng.choice(cases)
        i = rng.randrange(len(t))
        out[t[i:i + rng.randint(2, longest)]] = 1
    return list(out)


def sentencepiece(path, model, cases, rng):
    marked = [(' ' + t).replace(' ', '\u2581') for t in cases]
    chars = sorted({c for t in marked for c in t if c != '\u2581'})
    chars = ['\u2581'] + rng.sample(chars, len(chars) * 3 // 4)
    # llama.cpp would merge '<' and 's>' into the control token '<s>'; here text never becomes one
    parts = [p for p in substrings(marked, rng, 3000) if '<s' not in p and 's>' not in p]
    parts = [p for p in parts if model == 'llama' or '\u2581' not in p[1:]]
    if model == 'llama':
        tokens = ['<unk>', '<s>', '</s>'] + ['<0x%02X>' % b for b in range(256)]
        types = [2, 3, 3] + [6] * 256
    else:
        tokens, types = ['<pad>', '</s>', '<unk>'], [3, 3, 2]
    tokens = list(dict.fromkeys(tokens + chars + parts))
    types += [1] * (len(tokens) - len(types))
    scores = [0.0 if y != 1 else -float(rng.randint(1, 40)) / 4 - len(x) / 8 for x, y in zip(tokens, types)]
    items = [('tokenizer.ggml.model', 'str', model), ('tokenizer.ggml.pre', 'str', 'default'),
             ('tokenizer.ggml.tokens', 'strs', tokens), ('tokenizer.ggml.token_type', 'i32s', types),
             ('tokenizer.ggml.scores', 'f32s', scores)]
    if model == 't5':
        items += [('tokenizer.ggml.add_space_prefix', 'bool', True), ('tokenizer.ggml.remove_extra_whitespaces', 'bool', '-2' in path),
                  ('tokenizer.ggml.eos_token_id', 'u32', 1), ('tokenizer.ggml.unknown_token_id', 'u32', 2)]
    write(path, 't5' if model == 't5' else 'llama', items)


def bert_agrees(text):
    """llama.cpp drops vowel signs that take space and all of a Korean syllable but its first letter; BERT keeps them."""
    return not any(unicodedata.category(c) == 'Mc' or '\uac00' <= c <= '\ud7a3' for c in text)


def wordpiece(path, cases, rng):
    words = [w.lower() for t in cases for w in t.split()]
    chars = sorted({c for w in words for c in w})
    parts = substrings(words, rng, 1500, 4)
    tokens = ['[PAD]', '[UNK]', '[CLS]', '[SEP]']
    tokens += ['\u2581' + c for c in chars] + [c for c in chars] + ['\u2581' + p for p in parts] + parts
    tokens = list(dict.fromkeys(tokens))
    write(path, 'bert', [('tokenizer.ggml.model', 'str', 'bert'), ('tokenizer.ggml.pre', 'str', 'default'),
                         ('tokenizer.ggml.tokens', 'strs', tokens),
                         ('tokenizer.ggml.token_type', 'i32s', [3, 2, 3, 3] + [1] * (len(tokens) - 4)),
                         ('tokenizer.ggml.padding_token_id', 'u32', 0), ('tokenizer.ggml.unknown_token_id', 'u32', 1),
                         ('tokenizer.ggml.cls_token_id', 'u32', 2), ('tokenizer.ggml.seperator_token_id', 'u32', 3),
                         ('tokenizer.ggml.bos_token_id', 'u32', 2)])


def main():
    out, names = sys.argv[1], sys.argv[2:]
    cases = texts()
    bert = [t for t in cases if bert_agrees(t)]
    open(out + '/cases.txt', 'w', newline='').write(MARK.join(cases))
    open(out + '/cases-wordpiece.txt', 'w', newline='').write(MARK.join(bert))
    pairs = sorted({p for t in cases for p in zip(t.encode(), t.encode()[1:])})
    for name in names:
        rng = random.Random(name)
        if name in ('gemma4', 'whitespace'):
            raw_level('%s/bpe-%s.gguf' % (out, name), name, cases, rng)
            continue
        rng.shuffle(pairs)
        byte_level('%s/bpe-%s.gguf' % (out, name), name, pairs)
    for seed in (1, 2):
        rng = random.Random(seed)
        sentencepiece('%s/spm-%d.gguf' % (out, seed), 'llama', cases, rng)
        sentencepiece('%s/unigram-%d.gguf' % (out, seed), 't5', cases, rng)
        wordpiece('%s/wordpiece-%d.gguf' % (out, seed), bert, rng)


main()
