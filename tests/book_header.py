#!/usr/bin/env python3
"""Pages of the book that are made from C: the header, its index, the lessons' sources.

  tests/book_header.py DIR

writes into DIR
  prodml.h.html   the header as a linked text: contents, prose, code, numbered lines
  names.html      every public function in alphabetical order, with what it does
  NN_name.c.html  the source of each lesson, its names linked to the header
  sources.md      what the chapters cite, for the bibliography
  facts.txt       a few counts for the front page, NAME=VALUE

Anchors of the view: #s11 is § 11, #L120 line 120, #pml_attend a declaration and
#pml_attend.def its code.  Everything is in the one file; nothing is fetched.
"""
import glob
import html
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RULE = re.compile(r"^   [═─]{20,}")
KEYWORDS = set("""auto break case const continue default do else enum extern for goto if inline register
restrict return sizeof static struct switch typedef union volatile while _Alignas _Atomic _Static_assert
_Thread_local""".split())
TYPES = set("""bool char double float int int16_t int32_t int64_t int8_t long short signed size_t ssize_t
uint16_t uint32_t uint64_t uint8_t unsigned void uintptr_t va_list FILE""".split())
TOKEN = re.compile(
    r"(?P<com>/\*.*?\*/|//[^\n]*)"
    r"|(?P<str>\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*')"
    r"|(?P<pre>^[ \t]*#[ \t]*\w+)"
    r"|(?P<id>[A-Za-z_]\w*)"
    r"|(?P<num>\b\d[\w.]*(?:(?<=[eEpP])[+-]\d+\w*)?)",
    re.S | re.M)


def esc(text):
    return html.escape(text, quote=False)


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


class Chapter:
    """One § of the header: lines [first, last), its banner's prose, what it declares."""

    def __init__(self, number, line):
        self.number, self.first, self.title, self.purpose, self.needs = number, line, "", "", []
        self.prose, self.prose_line, self.code = [], 0, 0
        self.part, self.functions, self.used_by, self.pages = "", [], [], []
        self.last = line


class Header:
    def __init__(self, text):
        self.lines = text.split("\n")
        if self.lines and not self.lines[-1]:
            self.lines.pop()
        self.version = re.search(r'#define PML_VERSION "(.*?)"', text).group(1)
        self.contents = {int(n): (title.strip(), purpose.strip()) for n, title, purpose in
                         re.findall(r"^       § (\d+) +(.*?)(?:  +(.*))?$", text, re.M)}
        self.blocks = []    # (kind, first line, last line or chapter); lines count from 1
        self.chapters = {}
        self.split()
        self.names = {}     # name → anchor of its declaration
        self.defined = {}   # name → line of its definition
        self.comment = {}   # public function → (signature, contract)
        self.declare()
        for c in self.chapters.values():
            for n in c.needs:
                if n in self.chapters:
                    self.chapters[n].used_by.append(c.number)

    def split(self):
        at, chapter, part, n = 0, None, "", len(self.lines)
        code_from = 0

        def close(end):
            if end > code_from:
                self.blocks.append(("code", code_from, end, chapter))

        while at < n:
            if self.lines[at].startswith("/* ═════"):
                end = at
                while not self.lines[end].rstrip().endswith("*/"):
                    end += 1
                head = self.lines[at + 1].strip()
                close(at)
                if head.startswith("PART "):
                    part = head
                    self.blocks.append(("part", at, end + 1, head))
                elif head.startswith("§ "):
                    m = re.match(r"§ (\d+)  (.*?)(?:  +needs (.*))?$", head)
                    chapter = Chapter(int(m.group(1)), at)
                    chapter.title, chapter.purpose = self.contents.get(chapter.number, (m.group(2), ""))
                    chapter.part = part
                    chapter.needs = expand(m.group(3) or "")
                    chapter.prose = [line[3:] for line in self.lines[at + 3:end]]
                    chapter.prose_line = at + 3
                    self.chapters[chapter.number] = chapter
                    self.blocks.append(("chapter", at, end + 1, chapter))
                else:
                    self.blocks.append(("manual", at, end + 1, None))
                at = code_from = end + 1
            else:
                if chapter and self.lines[at].strip():
                    chapter.code += 1
                at += 1
        close(n)

    def chapter_at(self, line):
        found = None
        for c in self.chapters.values():
            if c.first <= line:
                found = c
        return found

    def declare(self):
        in_enum, opened = False, 0
        for i, line in enumerate(self.lines):
            m = re.match(r"(PML_API|PML__FN) (.*)", line)
            if m:
                text = m.group(2) + " " + (self.lines[i + 1].strip() if i + 1 < len(self.lines) else "")
                name = re.search(r"\b(pml_\w+)\s*\(", text)
                if not name:
                    continue
                name, end = name.group(1), i
                while end + 1 < len(self.lines) and not re.search(r"[;{]\s*(/\*.*\*/)?\s*$|[;{]", self.lines[end]):
                    end += 1
                stop = re.search(r"[;{]", self.lines[end])
                if stop and stop.group() == ";" and name not in self.names:
                    self.names[name] = name
                    if m.group(1) == "PML_API":
                        self.publish(name, i, end)
                elif name not in self.defined:
                    self.defined[name] = i + 1
            elif re.match(r"#\s*define PML_\w+", line):
                name = re.match(r"#\s*define (PML_\w+)", line).group(1)
                self.names.setdefault(name, "L%d" % (i + 1))
            if re.match(r"(typedef (struct|union|enum)|enum)\b.*\{\s*(/\*.*)?$", line):
                in_enum, opened = "enum" in line, i + 1
            elif in_enum and re.match(r"  (PML_\w+)", line):
                for name in re.findall(r"(?:^|[,{]) *(PML_\w+)", re.sub(r"/\*.*?\*/", "", line)):
                    self.names.setdefault(name, "L%d" % (i + 1))
            if line.startswith("}"):
                m = re.match(r"\} (pml_\w+)(\[.*\])?;", line)
                if m and opened:
                    self.names.setdefault(m.group(1), "L%d" % opened)
                in_enum, opened = False, 0
            for pattern in (r"typedef (?:struct|union) \w+ (pml_\w+);", r"typedef .*\(\*(pml_\w+)\)\("):
                m = re.match(pattern, line)
                if m:
                    self.names.setdefault(m.group(1), "L%d" % (i + 1))
        for name, line in self.defined.items():
            self.names.setdefault(name, name + ".def")

    def publish(self, name, first, last):
        """The signature and the comment of a public function."""
        text = " ".join(x.strip() for x in self.lines[first:last + 1])
        signature = re.sub(r" PML__PRINTF\(.*?\)", "", text[len("PML_API "):text.index(";")])
        after = re.search(r"/\* *(.*?) *\*/", self.lines[last][self.lines[last].rindex(";"):])
        contract, at = after.group(1) if after else "", first - 1
        while not contract and at > 0 and self.lines[at].startswith("PML_API"):
            at -= 1     # functions declared in one group share the comment above the group
        if not contract and self.lines[at].rstrip().endswith("*/"):
            end = at
            while at > 0 and "/*" not in self.lines[at]:
                at -= 1
            if self.lines[at].startswith("/*"):
                contract = " ".join(x.strip() for x in self.lines[at:end + 1])[2:-2].strip()
        chapter = self.chapter_at(first)
        self.comment[name] = (signature, contract, chapter, first + 1)
        if chapter:
            chapter.functions.append(name)


def expand(needs):
    """"§ 16 § 25 – § 28" → [16, 25, 26, 27, 28]"""
    out = []
    for a, b in re.findall(r"§ (\d+)(?: – § (\d+))?", needs):
        out += range(int(a), int(b or a) + 1)
    return out


class Printer:
    """HTML of C and of prose.  `page` is the address of the view, "" inside it."""

    def __init__(self, header, page=""):
        self.header, self.page = header, page

    def section(self, m):
        n = int(m.group(1))
        return '<a href="%s#s%d">%s</a>' % (self.page, n, m.group()) if n in self.header.chapters else m.group()

    def name(self, word):
        """An identifier with a link to where it is declared, or None."""
        anchor = self.header.names.get(word)
        return '<a href="%s#%s">%s</a>' % (self.page, anchor, word) if anchor else None

    def plain(self, text):
        """Escaped text in which sections, names and arXiv numbers are links."""
        out = []
        for piece in re.split(r"(§ \d+|\b(?:pml_|PML_)\w+|arXiv: ?\d+\.\d+|\b[\w/]+\.[ch]\b|\b\w*[a-z0-9]_\w+(?:\(\))?)",
                              text):
            m = re.fullmatch(r"§ (\d+)", piece)
            if m:
                out.append(self.section(m))
            elif re.fullmatch(r"arXiv: ?\d+\.\d+", piece):
                out.append('<a href="https://arxiv.org/abs/%s">%s</a>' % (piece.split(":")[1].strip(), piece))
            elif re.fullmatch(r"(?:pml_|PML_)\w+|[\w/]+\.[ch]|\w*[a-z0-9]_\w+(?:\(\))?", piece) and \
                    ("_" in piece or "." in piece):
                out.append("<code>%s</code>" % (self.name(piece) or esc(piece)))
            else:
                piece = re.sub(r"`([^`]+)`", r"<code>\1</code>", esc(piece))
                out.append(re.sub(r"(?<![\w*])\*([A-Za-z][\w ]*)\*(?![\w*])", r"<em>\1</em>", piece))
        return "".join(out)

    def verbatim(self, text):
        out = []
        for piece in re.split(r"(§ \d+|\b(?:pml_|PML_)\w+)", text):
            m = re.fullmatch(r"§ (\d+)", piece)
            out.append(self.section(m) if m else self.name(piece) or esc(piece))
        return "".join(out)

    def coloured(self, text, first, declared=None):
        """C as HTML, line by line; `declared` as View.declared gives it."""
        out, at, declared = [], 0, declared or {}
        line = first
        for m in TOKEN.finditer(text):
            out.append(esc(text[at:m.start()]))
            line += text.count("\n", at, m.start())
            token, kind, at = m.group(), m.lastgroup, m.end()
            if kind == "com":
                out.append("\n".join('<i class="c">%s</i>' % self.verbatim(x) if x.strip() else x
                                     for x in token.split("\n")))
            elif kind == "str":
                out.append('<i class="s">%s</i>' % esc(token))
            elif kind == "pre":
                out.append('<i class="p">%s</i>' % esc(token))
            elif kind == "num":
                out.append('<i class="d">%s</i>' % esc(token))
            elif token in KEYWORDS:
                out.append('<b class="k">%s</b>' % token)
            elif token in TYPES:
                out.append('<b class="t">%s</b>' % token)
            elif (token, line) in declared:
                own, other = declared[(token, line)]
                out.append('<a class="f" id="%s"%s>%s</a>' % (own, ' href="#%s"' % other if other else "", token))
            else:
                out.append(self.name(token) or esc(token))
            line += token.count("\n")
        out.append(esc(text[at:]))
        return "".join(out)

    def code(self, text, first, declared=None):
        """Lines of C from line `first` on, each with an anchor and a number."""
        rows = self.coloured(text, first, declared).split("\n")
        return '<pre class="code" style="counter-reset:n %d"><code>%s</code></pre>\n' % (first - 1, "".join(
            '<span id="L%d"><a class="n" href="#L%d" tabindex="-1"></a>%s\n</span>' % (first + i, first + i, row)
            for i, row in enumerate(rows)))

    # ── prose: a banner's lines, the first of them is line `first` ──
    LEAD = re.compile(r"(The traps?[:.]|Cost:|Cost per [^:.]{0,40}:|Where it goes wrong\.|The control|Source:)")

    def prose(self, lines, first):
        out, group, kind = [], [], ""

        def anchors(a, b):
            return "".join('<span id="L%d"></span>' % (first + i) for i in range(a, b))

        def flush(end):
            nonlocal group, kind
            if not group:
                return
            start, text = end - len(group), [x.rstrip() for x in group]
            while text and not text[-1]:
                text.pop()
            marks = anchors(start, end)
            if kind == "pre" and text:
                indent = min(len(x) - len(x.lstrip()) for x in text if x)
                body = "\n".join(x[indent:] for x in text)
                is_c = re.search(r"(^#define|[;{]) *(//.*)?$", body, re.M)
                out.append('%s<pre class="formula"><code>%s</code></pre>' %
                           (marks, self.coloured(body, 0) if is_c else self.verbatim(body)))
            elif kind == "item" and text:
                items = re.split(r"\n(?=(?:- |\d+\. ))", "\n".join(text))
                tag = "ol" if re.match(r"\d", items[0]) else "ul"
                out.append("%s<%s>%s</%s>" % (marks, tag, "".join(
                    "<li>%s</li>" % self.plain(" ".join(re.sub(r"^(- |\d+\. )", "", x).split())) for x in items), tag))
            elif text:
                body = " ".join(" ".join(text).split())
                m = self.LEAD.match(body)
                css = ' class="source"' if body.startswith("Source:") else ' class="trap"' if m and (
                    "trap" in m.group() or "wrong" in m.group()) else ""
                body = "<strong>%s</strong>%s" % (m.group(), self.plain(body[m.end():])) if m else self.plain(body)
                out.append("%s<p%s>%s</p>" % (marks, css, body))
            else:
                out.append(marks)
            group, kind = [], ""

        for i, line in enumerate(lines):
            indent = len(line) - len(line.lstrip())
            if not line.strip():
                now = kind if kind == "pre" and any(x.startswith("  ") for x in lines[i + 1:i + 2]) else ""
            elif kind == "item" and indent >= 2 and lines[i - 1].strip():
                now = "item"
            elif re.match(r"(- |\d+\. )\S", line):
                now = "item"
            elif indent >= 2 or re.search(r"\S {3,}\S", line):
                now = "pre"
            else:
                now = "text"
            if now == "text" and self.LEAD.match(line):
                flush(i)
            if now != kind:
                flush(i)
            kind = now
            if now:
                group.append(line)
            else:
                out.append(anchors(i, i + 1))
        flush(len(lines))
        return "\n".join(x for x in out if x) + "\n"


SUBHEAD = re.compile(r"^/\* (?:──|==)+ (.*?)(?: (?:─|=)*)?(?: \*/)?\s*$")


class View:
    def __init__(self, header, pages):
        self.h, self.p, self.pages = header, Printer(header), pages

    def declared(self):
        """(name, line) → (its own anchor, the anchor that it leads to)"""
        out = {}
        for i, line in enumerate(self.h.lines):
            if not line.startswith(("PML_API", "PML__FN")):
                continue
            for j in (i, i + 1):
                m = re.search(r"\b(pml_\w+)\s*\(", self.h.lines[j][8:] if j == i else self.h.lines[j])
                if m:
                    break
            if not m:
                continue
            name = m.group(1)
            if self.h.defined.get(name) == i + 1:
                other = name if self.h.names.get(name) == name else None
                out[(name, j + 1)] = (name + ".def", other)
            elif self.h.names.get(name) == name and not any(k[0] == name and v[0] == name for k, v in out.items()):
                out[(name, j + 1)] = (name, name + ".def" if name in self.h.defined else None)
        return out

    def code(self, a, b, declared):
        """Code between two banners, cut at the headings inside it."""
        out, start = [], a
        cuts = [i for i in range(a, b) if SUBHEAD.match(self.h.lines[i])] + [b]
        for cut in cuts:
            lines = self.h.lines[start:cut]
            blank = 0
            while blank < len(lines) and not lines[blank].strip():
                blank += 1
            out.append("".join('<span id="L%d"></span>' % (start + i + 1) for i in range(blank)))
            rest = lines[blank:]
            tail = len(rest)
            while tail and not rest[tail - 1].strip():
                tail -= 1
            if tail:
                out.append(self.p.code("\n".join(rest[:tail]), start + blank + 1, declared))
            out.append("".join('<span id="L%d"></span>' % (start + blank + tail + i + 1)
                               for i in range(len(rest) - tail)))
            start = cut
            if cut < b:
                out.append('<h3>%s</h3>\n' % esc(SUBHEAD.match(self.h.lines[cut]).group(1)))
                if self.h.lines[cut].rstrip().endswith("*/"):
                    out.append('<span id="L%d"></span>' % (cut + 1))
                    start = cut + 1
        return "".join(out)

    def manual(self, a, b):
        """The manual at the top: capitals are headings, the contents is made anew."""
        out = ['<section id="manual" class="chapter"><h2>The manual</h2>\n']
        lines, start, title = self.h.lines[a:b], 0, None
        heads = [i for i, x in enumerate(lines) if re.match(r"   [A-Z][A-Z ]{3,}(  |$)", x)] + [len(lines) - 1]
        out.append("".join('<span id="L%d"></span>' % (a + i + 1) for i in range(heads[0])))
        for start, end in zip(heads, heads[1:]):
            m = re.match(r"   ([A-Z][A-Z ]*[A-Z])(?:  +(.*))?$", lines[start])
            title = m.group(1)
            out.append('<span id="L%d"></span><h3 id="manual-%s">%s</h3>\n' %
                       (a + start + 1, title.lower().replace(" ", "-"), title.capitalize()))
            if m.group(2):
                out.append("<p>%s</p>\n" % self.p.plain(m.group(2)))
            body = [x[5:] for x in lines[start + 1:end]]
            if title == "CONTENTS":
                out.append("".join('<span id="L%d"></span>' % (a + start + 2 + i) for i in range(len(body))))
                out.append(self.table())
            else:
                out.append(self.p.prose(body, a + start + 2))
        out.append('<span id="L%d"></span></section>\n' % b)
        return "".join(out)

    def table(self):
        out, part = ['<div class="contents">'], None
        for c in self.h.chapters.values():
            if c.part != part:
                out.append("%s<h4>%s</h4><ul>" % ("</ul>" if part else "", part_title(c.part)))
                part = c.part
            out.append('<li><a href="#s%d"><span class="no">§ %d</span> %s</a> <span class="soft">%s</span></li>' %
                       (c.number, c.number, esc(c.title), esc(c.purpose)))
        return "".join(out) + "</ul></div>\n"

    def links(self, numbers):
        return " ".join('<a href="#s%d" title="%s">§ %d</a>' % (n, html.escape(self.h.chapters[n].title), n)
                        for n in numbers if n in self.h.chapters)

    def chapter(self, c, end):
        n = c.number
        out = ['<h2><a class="no" href="#s%d">§ %d</a> %s</h2>\n' % (n, n, esc(c.title))]
        out.append("".join('<span id="L%d"></span>' % (c.first + i + 1) for i in range(3)))
        out.append('<p class="about">%s</p>\n<dl class="facts">' % esc(c.purpose))
        if c.needs:
            out.append("<div><dt>needs</dt><dd>%s</dd></div>" % self.links(c.needs))
        if c.used_by:
            out.append("<div><dt>used by</dt><dd>%s</dd></div>" % self.links(c.used_by))
        if c.number in self.pages:
            out.append("<div><dt>lessons</dt><dd>%s</dd></div>" % " · ".join(
                '<a href="%s">%s</a>' % (f, esc(t)) for f, t in self.pages[n]))
        if c.functions:
            out.append('<div><dt>functions</dt><dd class="chips">%s</dd></div>' % " ".join(
                '<a href="#%s">%s</a>' % (f, f[4:]) for f in sorted(c.functions)))
        out.append("</dl>\n")
        if written(c):
            out.append('<div class="prose">%s</div>\n' % self.p.prose(c.prose, c.prose_line + 1))
        else:
            out.append("".join('<span id="L%d"></span>' % (c.prose_line + 1 + i) for i in range(len(c.prose))))
            out.append('<p class="soft">This chapter is announced and not written yet.</p>\n')
        out.append('<span id="L%d"></span>' % end)
        return "".join(out)

    def sidebar(self):
        out, part = ['<li><a href="#manual">The manual</a></li>'], None
        for c in self.h.chapters.values():
            if c.part != part:
                out.append('<li class="part">%s</li>' % part_title(c.part))
                part = c.part
            out.append('<li%s><a href="#s%d"><span class="no">%d</span> %s</a></li>' %
                       ("" if written(c) else ' class="empty"', c.number, c.number, esc(c.title)))
        names = "".join('<li><a href="#%s">%s</a></li>' % (n, n) for n in sorted(self.h.comment))
        return ('<aside id="side"><details open><summary>Contents and names</summary>'
                '<input id="find" type="search" placeholder="Find a chapter or function" '
                'aria-label="Find a chapter or function" hidden>'
                '<nav aria-label="Chapters"><ul>%s</ul></nav>'
                '<details class="az"><summary>%d public functions</summary><ul class="names">%s</ul>'
                '<p><a href="names.html">with what they do</a></p></details>'
                '</details></aside>\n' % ("".join(out), len(self.h.comment), names))

    def render(self):
        declared, out, open_section = self.declared(), [self.sidebar(), '<article class="header">\n'], False
        out.append('<h1 class="mono">prodml.h</h1><p class="soft">version %s · %s lines · %s</p>\n' % (
            self.h.version, format(len(self.h.lines), ","),
            "click a line number to link to it, a name to see where it is declared"))
        for kind, a, b, what in self.h.blocks:
            if kind in ("part", "chapter", "manual") and open_section:
                out.append("</section>\n")
                open_section = False
            if kind == "manual":
                out.append(self.manual(a, b))
                out.append('<section class="chapter" id="before"><h2>Before the first chapter</h2>\n')
                open_section = True
            elif kind == "part":
                out.append('<h2 class="part" id="%s">%s</h2>%s\n' % (
                    what.split()[1].lower().join(("part-", "")), part_title(what),
                    "".join('<span id="L%d"></span>' % (i + 1) for i in range(a, b))))
            elif kind == "chapter":
                out.append('<section class="chapter" id="s%d">\n' % what.number)
                out.append(self.chapter(what, b))
                open_section = True
            elif what and not written(what):    # "not written yet", which the banner has said
                out.append("".join('<span id="L%d"></span>' % (i + 1) for i in range(a, b)))
            else:
                out.append(self.code(a, b, declared))
        out.append("</section>\n" if open_section else "")
        out.append("</article>\n")
        return "".join(out)


def part_title(head):
    m = re.match(r"PART (\w+) +(.*)", head)
    return "Part %s · %s" % (m.group(1), m.group(2).capitalize().replace("Iv", "IV"))


def written(chapter):
    return chapter.code > 3


def sentence(text):
    """The first sentence of a contract."""
    text = " ".join(text.split())
    m = re.match(r".*?[.:;](?= [A-Z`§]|$)", text)
    return (m.group() if m else text).rstrip(".:;") + "." if text else ""


def names_page(h):
    p, out, letter = Printer(h, "prodml.h.html"), [], ""
    public = sorted(h.comment, key=lambda n: n[4:])
    letters = sorted({n[4].upper() for n in public})
    out.append('<h1>Public functions</h1><p class="lead">The %d functions of prodml.h in alphabetical order, each '
               'with the first sentence of its contract. The whole contract stands above the declaration.</p>\n'
               '<p class="letters">%s</p>\n' % (len(public), " ".join('<a href="#%s">%s</a>' % (x, x) for x in letters)))
    for n in public:
        signature, contract, chapter, _ = h.comment[n]
        if n[4].upper() != letter:
            out.append("%s<h2 id=\"%s\">%s</h2>\n<dl class=\"names\">" % ("</dl>\n" if letter else "", n[4].upper(),
                                                                      n[4].upper()))
            letter = n[4].upper()
        out.append('<dt><a href="prodml.h.html#%s"><code>%s</code></a>%s</dt><dd><code class="sig">%s</code>%s</dd>\n' % (
            n, n, ' <a class="no" href="prodml.h.html#s%d">§ %d</a>' % (chapter.number, chapter.number) if chapter else "",
            esc(signature), "<p>%s</p>" % p.plain(sentence(contract)) if contract else ""))
    return "".join(out) + "</dl>\n"


def lesson_page(h, path):
    text = read(path).rstrip("\n")
    name = os.path.basename(path)
    page = name[:-2]
    link = ', <a href="%s.html">its reading page</a>' % page if os.path.exists(
        os.path.join(ROOT, "notes", page + ".md")) else ""
    return ('<h1 class="mono">%s</h1><p class="lead">The source of the lesson%s. Names lead to '
            '<a href="prodml.h.html">prodml.h</a>.</p>\n%s' %
            (name, link, Printer(h, "prodml.h.html").code(text, 1)))


def fill(template, values):
    """The part of Pandoc's template language that tests/book_page.html uses."""
    def choose(m):
        return m.group(2) if values.get(m.group(1)) else ""
    text = re.sub(r"\$if\((\w+)\)\$(.*?)\$endif\$", choose, template, flags=re.S)
    return re.sub(r"\$(\w+)\$", lambda m: values.get(m.group(1), ""), text)


def lesson_pages():
    """§ → [(page, title)]: the pages whose "Read with it" line names it."""
    out = {}
    for path in sorted(glob.glob(os.path.join(ROOT, "notes", "[0-9][0-9]_*.md"))):
        text = read(path)
        title = text.split("\n", 1)[0].lstrip("# ")
        m = re.search(r"^Read with it: (.*)$", text, re.M)
        for n in sorted(set(re.findall(r"§ (\d+)", m.group(1)))) if m else []:
            out.setdefault(int(n), []).append((os.path.basename(path)[:-3] + ".html", title))
    return out


def sources(h):
    """What each banner cites, as a table in Markdown."""
    out = ["## What the chapters cite", "", "The `Source:` lines of the header, in its order.", "",
           "| section | sources |", "|:---|:---|"]
    for c in h.chapters.values():
        text = " ".join(x.strip() for x in c.prose)
        m = re.search(r"Source: (.*)$", text)
        if not m:
            continue
        body = re.sub(r"([*_<>|\\])", r"\\\1", " ".join(m.group(1).split()))
        body = re.sub(r"arXiv: ?(\d+\.\d+)", r"[arXiv:\1](https://arxiv.org/abs/\1)", body)
        out.append("| § %d %s | %s |" % (c.number, c.title, body))
    return "\n".join(out) + "\n"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    target = sys.argv[1]
    h = Header(read("prodml.h"))
    template = read("tests/book_page.html")
    css = read("tests/book.css")

    def page(name, title, body, **more):
        values = {"title": esc(title), "body": body, "style": css, "version": h.version}
        values.update(more)
        with open(os.path.join(target, name), "w", encoding="utf-8") as f:
            f.write(fill(template, values))

    page("prodml.h.html", "prodml.h", View(h, lesson_pages()).render(), wide="1", kind="view",
         script="<script>%s</script>" % read("tests/book_header.js"))
    page("names.html", "Public functions", names_page(h), kind="names")
    for path in sorted(glob.glob(os.path.join(ROOT, "lessons", "[0-9][0-9]_*.c"))):
        name = os.path.basename(path)
        page(name + ".html", name, lesson_page(h, "lessons/" + name), kind="source")
    with open(os.path.join(target, "sources.md"), "w", encoding="utf-8") as f:
        f.write(sources(h))
    code = sum(1 for line in h.lines if line.strip())
    with open(os.path.join(target, "facts.txt"), "w", encoding="utf-8") as f:
        f.write("LINES=%s\nCHAPTERS=%d\nWRITTEN=%d\nFUNCTIONS=%d\nFULL=%d\n" % (
            format(len(h.lines), ","), len(h.chapters), sum(map(written, h.chapters.values())), len(h.comment), code))


main()
