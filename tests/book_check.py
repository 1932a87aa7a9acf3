#!/usr/bin/env python3
"""Checks of the book.

  tests/book_check.py links DIR        every link and picture of DIR/*.html resolves: the file is in
                                       DIR, the anchor is in the file, ids are unique, nothing is
                                       fetched from elsewhere
  tests/book_check.py notes            every link of notes/*.md and README.md resolves
  tests/book_check.py header DIR       prodml.h.html has every §, every line and every public function
  tests/book_check.py glossary         terms are sorted and unique, one sentence each; the tutor's answer
                                       that an entry names exists and holds the entry's numbers
Prints one line per fault; the last line is "N checked, M wrong".
"""
import glob
import os
import re
import sys
from html.parser import HTMLParser
from urllib.parse import unquote

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
checked, wrong = 0, 0


def check(ok, message):
    global checked, wrong
    checked += 1
    if not ok:
        wrong += 1
        if wrong <= 20:
            print("FAILED " + message)


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loads = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if "id" in a:
            self.ids.append(a["id"])
        if tag == "a" and "href" in a:
            self.links.append(a["href"])
        for key in ("src", "srcset", "poster", "data"):
            if key in a:
                self.loads.append(a[key])
        if tag == "link" and "href" in a:
            self.loads.append(a["href"])


def links(where):
    pages = {os.path.basename(f): Page(read(f)) for f in glob.glob(os.path.join(where, "*.html"))}
    check(pages, where + " holds no pages")
    for name, page in sorted(pages.items()):
        seen = set()
        for i in page.ids:
            check(i not in seen, "%s: the id '%s' stands twice" % (name, i))
            seen.add(i)
    ids = {name: set(page.ids) for name, page in pages.items()}
    for name, page in sorted(pages.items()):
        for target in sorted(set(page.loads)):
            check(target.startswith("data:") or not re.match(r"[a-z]+:|//", target),
                  "%s loads %s from elsewhere" % (name, target))
            if not target.startswith("data:"):
                check(os.path.isfile(os.path.join(where, unquote(target))), "%s: no file %s" % (name, target))
        for target in sorted(set(page.links)):
            if re.match(r"https?:|mailto:", target):
                continue
            path, _, anchor = target.partition("#")
            path = unquote(path) or name
            check(os.path.isfile(os.path.join(where, path)) and not path.startswith(("/", "..")),
                  "%s: the link %s leads to no file of the book" % (name, target))
            if anchor and path in ids:
                check(unquote(anchor) in ids[path], "%s: the link %s leads to no anchor" % (name, target))


def slug(text):
    return re.sub(r"[^\w -]", "", re.sub(r"[`*]", "", text.lower())).replace(" ", "-")


def notes():
    files = glob.glob(os.path.join(ROOT, "notes", "*.md")) + [os.path.join(ROOT, "README.md")]
    text = {f: re.sub(r"^(`{3,}).*?^\1 *$", "", read(f), flags=re.S | re.M) for f in files}
    heads = {f: {slug(h) for h in re.findall(r"^#+ (.*)$", t, re.M)} for f, t in text.items()}
    for f, t in sorted(text.items()):
        for target in sorted(set(re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", t)))):
            if re.match(r"https?:", target):
                continue
            path, _, anchor = target.partition("#")
            there = os.path.normpath(os.path.join(os.path.dirname(f), path)) if path else f
            name = os.path.relpath(f, ROOT)
            check(os.path.exists(there), "%s: the link %s leads to no file" % (name, target))
            if anchor and there in heads:
                check(anchor in heads[there], "%s: the link %s leads to no heading" % (name, target))


def header(where):
    page = Page(read(os.path.join(where, "prodml.h.html")))
    ids, text = set(page.ids), read(os.path.join(ROOT, "prodml.h"))
    for n in re.findall(r"^   § (\d+)  ", text, re.M):
        check("s" + n in ids, "prodml.h.html has no § " + n)
    for n in range(1, text.count("\n") + 1):
        check("L%d" % n in ids, "prodml.h.html has no line %d" % n)
    index = read(os.path.join(where, "names.html"))
    functions = set(re.findall(r"^PML_API [^;{(]*?\b(pml_\w+)\(", text, re.M))
    for f in sorted(functions):
        check(f in ids, "prodml.h.html has no anchor for %s" % f)
        check('href="prodml.h.html#%s"' % f in index, "names.html does not list %s" % f)


def glossary():
    answers = {}
    for f in glob.glob(os.path.join(ROOT, "lessons", "data", "*.txt")):
        for key, answer in re.findall(r"^== ([\w-]+)\nA: (.*)$", read(f), re.M):
            answers[key] = answer
    text = read(os.path.join(ROOT, "notes", "glossary.md"))
    entries = re.findall(r"^### (.*)\n\n(.*)\n((?:[*<].*\n?)*)", text, re.M)
    check(len(entries) == len(re.findall(r"^### ", text, re.M)), "an entry of the glossary is not term, sentence, notes")
    names = [re.sub(r"[^a-z0-9 ]", "", n.lower().replace("-", " ")) for n, _, _ in entries]
    for a, b in zip(names, names[1:]):
        check(a < b, "glossary: '%s' stands before '%s'" % (a, b))
    letters = re.split(r"^## (.)$", text, flags=re.M)[1:]
    for letter, part in zip(letters[::2], letters[1::2]):
        for n in re.findall(r"^### (.)", part, re.M):
            check(n.upper() == letter, "glossary: a term with %s stands under %s" % (n, letter))
    sections = set(re.findall(r"^   § (\d+)  ", read(os.path.join(ROOT, "prodml.h")), re.M))
    for name, sentence, more in entries:
        m = re.fullmatch(r"(.*)\. § (\d+)", sentence)
        check(m and m.group(2) in sections, "glossary: '%s' does not end in its section" % name)
        check(m and not re.search(r"\. [A-Z]", m.group(1)), "glossary: '%s' is more than one sentence" % name)
        m = re.search(r"<!-- tutor: (.*) -->", more)
        keys = m.group(1).split() if m else []
        for k in keys:
            check(k in answers, "glossary: the tutor knows no '%s' (%s)" % (k, name))
        taught = " ".join(answers.get(k, "") for k in keys)
        for number in re.findall(r"(?<![\w.])\d[\d.]*\d|(?<![\w.])\d(?![\w.])", sentence.rsplit("§", 1)[0]):
            if keys and float(number) > 1:
                check(re.search(r"(?<![\d.])%s(?!\d)" % re.escape(number), taught),
                      "glossary: '%s' says %s, the tutor's answer does not" % (name, number))


def main():
    what = sys.argv[1] if len(sys.argv) > 1 else ""
    if what in ("links", "header") and len(sys.argv) == 3:
        {"links": links, "header": header}[what](sys.argv[2])
    elif what in ("notes", "glossary") and len(sys.argv) == 2:
        {"notes": notes, "glossary": glossary}[what]()
    else:
        sys.exit(__doc__)
    print("%d checked, %d wrong" % (checked, wrong))
    sys.exit(wrong > 0 or checked == 0)


main()
