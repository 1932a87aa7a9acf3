#!/usr/bin/env python3
"""Diagrams for paper: the same picture, light.

  tests/book_paper.py FROM.svg TO.svg

Every colour keeps its hue; its lightness (OKLab) is turned round, so that the canvas becomes
white, bright text dark, and a value that stood out by being bright stands out by being dark.
"""
import re
import sys


def linear(c):
    c /= 255
    return c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4


def gamma(c):
    c = min(max(c, 0.0), 1.0)
    return round(255 * (12.92 * c if c <= 0.0031308 else 1.055 * c ** (1 / 2.4) - 0.055))


def paper(hexa):
    r, g, b = (linear(int(hexa[i:i + 2], 16)) for i in (0, 2, 4))
    l, m, s = (x ** (1 / 3) for x in (0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b,
                                      0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b,
                                      0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b))
    light = 0.2104542553 * l + 0.7936177850 * m - 0.0040720468 * s
    a = 1.9779984951 * l - 2.4285922050 * m + 0.4505937099 * s
    b = 0.0259040371 * l + 0.7827717662 * m - 0.8086757660 * s
    if light < 0.14:                    # the canvas
        return "ffffff"
    light = 1.16 - light                # 0.98 (text) becomes 0.18, 0.21 (panels) 0.95
    if light > 0.85:
        a, b = a * 0.4, b * 0.4         # what was nearly black is nearly white, and not blue
    l, m, s = ((light + 0.3963377774 * a + 0.2158037573 * b) ** 3,
               (light - 0.1055613458 * a - 0.0638541728 * b) ** 3,
               (light - 0.0894841775 * a - 1.2914855480 * b) ** 3)
    return "%02x%02x%02x" % (gamma(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
                             gamma(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
                             gamma(-0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s))


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as f:
        text = f.read()
    text = re.sub(r'(?<=["\s:])#([0-9a-fA-F]{6})\b', lambda m: "#" + paper(m.group(1)), text)
    with open(sys.argv[2], "w", encoding="utf-8") as f:
        f.write(text)


main()
