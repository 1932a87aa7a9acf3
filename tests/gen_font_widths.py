#!/usr/bin/env python3
"""Writes the advance-width tables of § 49 from the installed fonts.

    python3 tests/gen_font_widths.py [INTER_DIR [MONO_FILE]]

Needs fonts-inter and fonts-jetbrains-mono.  Prints C source: paste it between the
marks "@font widths" and "@end" of prodml.h.  Only hmtx and cmap are read.
"""
import os
import struct
import sys

# Glyphs that neither font has: browsers take them from a fallback font.  The width is
# that of the widest common fallback.
FALLBACK = {0x1D40: 600, 0x2208: 870, 0x2207: 700}
SYMBOLS = ("§°±²³µ·¹½¿×÷ßàäçèéêíñóôöúü–—‘’“”•…→←↑↓↔⇒√∞∂∑∏−≈≠≤≥"
           "⁰⁴⁵⁶⁷⁸⁹⁺⁻₀₁₂₃₄ΓΔΘΛΠΣΦΩαβγδεηθκλμπρστφωℓ✓✗␣↵∅▲▼")


def tables(path):
    data = open(path, "rb").read()
    n = struct.unpack(">H", data[4:6])[0]
    out = {}
    for i in range(n):
        tag, _, off, size = struct.unpack(">4sIII", data[12 + 16 * i:28 + 16 * i])
        out[tag.decode()] = data[off:off + size]
    return out


def cmap(t):
    best = {}
    for i in range(struct.unpack(">H", t[2:4])[0]):
        plat, enc, off = struct.unpack(">HHI", t[4 + 8 * i:12 + 8 * i])
        fmt = struct.unpack(">H", t[off:off + 2])[0]
        if fmt == 12:
            groups = struct.unpack(">I", t[off + 12:off + 16])[0]
            for g in range(groups):
                a, b, gid = struct.unpack(">III", t[off + 16 + 12 * g:off + 28 + 12 * g])
                best.update({cp: gid + cp - a for cp in range(a, b + 1)})
        elif fmt == 4:
            seg = struct.unpack(">H", t[off + 6:off + 8])[0] // 2
            word = lambda at: struct.unpack(">H", t[at:at + 2])[0]
            for s in range(seg):
                end, start = word(off + 14 + 2 * s), word(off + 16 + 2 * seg + 2 * s)
                delta, at = word(off + 16 + 4 * seg + 2 * s), off + 16 + 6 * seg + 2 * s
                for cp in range(start, min(end, 0xFFFE) + 1):
                    ro = word(at)
                    gid = (cp + delta) & 0xFFFF if ro == 0 else word(at + ro + 2 * (cp - start))
                    if ro and gid:
                        gid = (gid + delta) & 0xFFFF
                    if gid:
                        best.setdefault(cp, gid)
    return best


def widths(path):
    t = tables(path)
    em = struct.unpack(">H", t["head"][18:20])[0]
    n = struct.unpack(">H", t["hhea"][34:36])[0]
    def advance(gid):
        return struct.unpack(">H", t["hmtx"][4 * min(gid, n - 1):4 * min(gid, n - 1) + 2])[0] * 1000 / em
    return {cp: advance(gid) for cp, gid in cmap(t["cmap"]).items()}


def main():
    inter = sys.argv[1] if len(sys.argv) > 1 else "/usr/share/fonts/opentype/inter"
    mono = sys.argv[2] if len(sys.argv) > 2 else "/usr/share/fonts/truetype/jetbrains-mono/JetBrainsMono-Regular.ttf"
    fonts = [widths(os.path.join(inter, "Inter-%s.otf" % w)) for w in ("Regular", "SemiBold")]
    fixed = widths(mono)
    points = list(range(32, 127)) + sorted(ord(c) for c in set(SYMBOLS))
    missing = [chr(c) for c in points if c not in fonts[0]]
    print("not in Inter:", " ".join(missing), file=sys.stderr)
    print("not in JetBrains Mono:", " ".join(chr(c) for c in points if c not in fixed), file=sys.stderr)
    print("mono width:", set(round(fixed[c]) for c in points if c in fixed), file=sys.stderr)
    for f in fonts:
        f.update({c: w for c, w in FALLBACK.items() if c not in f})
    points = sorted([c for c in points if c in fonts[0]] + list(FALLBACK))

    def rows(values, fmt, per):
        for i in range(0, len(values), per):
            yield "    " + ", ".join(fmt % v for v in values[i:i + per]) + ","
    extra = [c for c in points if c > 126]
    print("static const uint16_t pml__glyph_extra[%d] PML__UNUSED = {" % len(extra))
    print("\n".join(rows(extra, "0x%04X", 12)).rstrip(",") + "};")
    print("static const uint16_t pml__glyph_width[2][%d] PML__UNUSED = {" % len(points))
    for i, f in enumerate(fonts):
        body = "\n".join(rows([round(f[c]) for c in points], "%d", 20)).rstrip(",")
        print("  {" + body[3:] + "}" + ("};" if i else ","))


main()
