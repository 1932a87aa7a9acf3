-- Pandoc filter of the book.  It turns the links of notes/*.md into those of the book:
--
--   -M form=pages   one HTML file per page: links between files, § n and quoted code lead to the
--                   view of the header (prodml.h.html), lessons to their sources
--   -M form=one     EPUB and PDF: links inside the document; there is no view of the header, and
--                   words that would lead to it stay as words
--   -M kind=…       which page this is: front, path, page, models, glossary, bibliography
--
-- The first use of a glossary term on a page leads to its entry.

local form, kind = "pages", "page"
local header, terms = nil, {}   -- terms: first word → list of {words, id, text}

local function slug(text)
  return (text:lower():gsub("[^%w_ -]", ""):gsub(" ", "-"))
end

local function read(path)
  local f = io.open(path)
  if not f then return "" end
  local text = f:read("a")
  f:close()
  return text
end

-- ── the glossary ──
local function add_term(name, id, text)
  local words = {}
  for w in name:lower():gmatch("%S+") do words[#words + 1] = w end
  local list = terms[words[1]] or {}
  list[#list + 1] = {words = words, id = id, text = text}
  table.sort(list, function(a, b) return #a.words > #b.words end)
  terms[words[1]] = list
end

local function read_glossary()
  local id, names, text
  local function done()
    for _, n in ipairs(names or {}) do add_term(n, id, text) end
    names = nil
  end
  for line in (read("notes/glossary.md") .. "\n### end\n"):gmatch("(.-)\n") do
    local name = line:match("^### (.+)")
    local also = line:match("^%*Also: (.+)%.%*$")
    if name then
      done()
      id, names, text = "g-" .. slug(name), {name}, nil
    elseif also and names then
      for n in also:gmatch("[^,]+") do names[#names + 1] = n:match("^%s*(.-)%s*$") end
    elseif names and not text and line ~= "" and not line:match("^<!") then
      text = line:gsub(" § %d+$", ""):gsub("[`*]", "")
    end
  end
end

-- A word without the punctuation around it: before, word, after.
local function parts(word)
  local before, rest = word:match('^([%("“]*)(.*)$')
  local core, after = rest:match('^(.-)([%.,;:%)"”!?]*)$')
  return before, core, after
end

local used = {}

local function find_term(list, i)
  local before, first = parts(list[i].text)
  for _, form_of in ipairs({first:lower(), (first:lower():gsub("s$", ""))}) do
    for _, t in ipairs(terms[form_of] or {}) do
      local at, last, after, ok = i, nil, "", true
      for k, w in ipairs(t.words) do
        local el = list[at]
        if not el or el.t ~= "Str" then ok = false break end
        local b, core, a = parts(el.text)
        core = core:lower()
        if k > 1 and b ~= "" or k < #t.words and a ~= "" then ok = false break end
        if core ~= w and not (k == #t.words and core == w .. "s") then ok = false break end
        last, after = at, a
        if k < #t.words then
          local gap = list[at + 1]
          if not gap or gap.t ~= "Space" and gap.t ~= "SoftBreak" then ok = false break end
          at = at + 2
        end
      end
      if ok then return t, before, after, last end
    end
  end
end

local function glossary_links(list)
  local out, i = pandoc.List(), 1
  while i <= #list do
    local t, before, after, last
    if list[i].t == "Str" then t, before, after, last = find_term(list, i) end
    if t and not used[t.id] then
      used[t.id] = true
      local words = pandoc.List()
      for k = i, last do words:insert(list[k]:clone()) end
      local b, rest = before, words[1].text
      words[1] = pandoc.Str(rest:sub(#b + 1))
      words[#words] = pandoc.Str(words[#words].text:sub(1, #words[#words].text - #after))
      if b ~= "" then out:insert(pandoc.Str(b)) end
      out:insert(pandoc.Link(words, (form == "pages" and "glossary.html#" or "#") .. t.id, t.text or "",
        pandoc.Attr("", {"term"})))
      if after ~= "" then out:insert(pandoc.Str(after)) end
      i = last + 1
    else
      out:insert(list[i])
      i = i + 1
    end
  end
  return out
end

-- ── links ──
local function section_in(inlines)
  return pandoc.utils.stringify(inlines):match("^§%s(%d+)") or pandoc.utils.stringify(inlines):match("^§ (%d+)")
end

local function link(el)
  local file, at = el.target:match("^([^#]*)(.*)$")
  if file == "../prodml.h" then
    if form == "one" then return el.content end
    local n = section_in(el.content)
    el.target = "prodml.h.html" .. (at ~= "" and at or n and "#s" .. n or "")
  elseif file:match("^%.%./lessons/[%w_]+%.c$") and form == "pages" then
    el.target = file:match("([%w_]+%.c)$") .. ".html"
  elseif file:match("^%.%./") then
    return el.content
  elseif file:match("^[%w_]+%.md$") then
    local name = file:match("^(.*)%.md$")
    if name == "README" then name = "index" end
    if name == "glossary" and at ~= "" then at = "#g-" .. at:sub(2) end
    if form == "pages" then el.target = name .. ".html" .. at
    else el.target = at ~= "" and at or "#p-" .. name end
  end
  return el
end

-- "§ 14" in running text, as Str "§", Space, Str "14)."
local function section_links(list)
  local out, i = pandoc.List(), 1
  while i <= #list do
    local a, b, c = list[i], list[i + 1], list[i + 2]
    local before = a.t == "Str" and a.text:match("^(.*)§$")
    local digits, after = nil, nil
    if before and c and (b.t == "Space" or b.t == "SoftBreak") and c.t == "Str" then
      digits, after = c.text:match("^(%d+)(.*)$")
    end
    if digits then
      if before ~= "" then out:insert(pandoc.Str(before)) end
      out:insert(pandoc.Link({pandoc.Str("§\u{a0}" .. digits)}, "prodml.h.html#s" .. digits))
      if after ~= "" then out:insert(pandoc.Str(after)) end
      i = i + 3
    else
      out:insert(a)
      i = i + 1
    end
  end
  return out
end

local function inlines(list)
  if form == "pages" and kind ~= "path" then list = section_links(list) end
  if kind == "page" or kind == "models" then list = glossary_links(list) end
  return list
end

-- ── pictures and tables ──
local function picture(el)
  local name = el.src:match("([%w_.-]+%.svg)$")
  local alt = pandoc.utils.stringify(el.caption)
  if not name then return nil end
  if form == "one" then
    el.src = "diagrams/paper/" .. name
    return pandoc.Div({pandoc.Para({el})}, pandoc.Attr("", {"picture"}))
  end
  local text = alt:gsub("&", "&amp;"):gsub('"', "&quot;"):gsub("<", "&lt;")
  return pandoc.RawBlock("html", '<figure><div class="scroll"><a href="diagrams/' .. name ..
    '"><img class="screen" src="diagrams/' .. name .. '" alt="' .. text ..
    '"><img class="paper" src="diagrams/paper/' .. name .. '" alt="' .. text ..
    '"></a></div><figcaption>Scroll sideways, turn the phone, or tap to see it alone.</figcaption></figure>')
end

local function paragraph(el)
  if #el.content == 1 and el.content[1].t == "Image" then return picture(el.content[1]) end
end

-- "From prodml.h, § 26 …:" leads to the line that the quotation begins at.
local function quoted(blocks)
  for i = 1, #blocks - 1 do
    local p, code = blocks[i], blocks[i + 1]
    local a = p.t == "Para" and p.content[3]
    if a and a.t == "Link" and a.target == "../prodml.h" and code.t == "CodeBlock" then
      local first = code.text:match("[^\n]+")
      local at = first and ("\n" .. header):find("\n *" .. first:gsub("%p", "%%%0") .. "\n")
      if at then
        local _, n = header:sub(1, at - 1):gsub("\n", "")
        a.target = "../prodml.h#L" .. (n + 1)
      end
    end
  end
  return blocks
end

-- ── the document, block by block, so that headings stay as they are ──
local walk_blocks

local function walk_inlines(list)
  -- Links first: what is inside a link must not become another one.
  local out = pandoc.List()
  for _, el in ipairs(list) do
    if el.t == "Link" then
      local new = link(el)
      if new.t then out:insert(new) else out:extend(new) end
    elseif el.t == "Emph" or el.t == "Strong" then
      el.content = walk_inlines(el.content)
      out:insert(el)
    else out:insert(el) end
  end
  return inlines(out)
end

local function walk_block(b)
  if b.t == "Para" or b.t == "Plain" then
    local new = paragraph(b)
    if new then return new end
    b.content = walk_inlines(b.content)
  elseif b.t == "Div" and form == "one" and b.classes:includes("doors") then return nil   -- the contents does it
  elseif b.t == "BlockQuote" or b.t == "Div" then b.content = walk_blocks(b.content)
  elseif b.t == "BulletList" or b.t == "OrderedList" then
    for i, item in ipairs(b.content) do b.content[i] = walk_blocks(item) end
  elseif b.t == "Table" then
    local keep = kind
    if kind == "page" then kind = "figures" end   -- no glossary links in tables
    b = b:walk({Plain = function(p) p.content = walk_inlines(p.content) return p end})
    kind = keep
    return pandoc.Div({b}, pandoc.Attr("", {"table", kind}))
  elseif b.t == "Header" then
    local id = b.identifier
    if id:match("^p%-") then   -- form=one: a page begins
      used = {}
      local name = id:sub(3)
      kind = (name == "glossary" or name == "bibliography" or name == "path" or name == "models") and name or
        name:match("^%d") and "page" or "front"
    end
    if kind == "glossary" and b.level == (form == "one" and 4 or 3) then
      b.identifier = "g-" .. slug(pandoc.utils.stringify(b.content))
    end
  end
  return b
end

walk_blocks = function(blocks)
  if form == "pages" then blocks = quoted(blocks) end
  local out = pandoc.List()
  for _, b in ipairs(blocks) do
    local new = walk_block(b)
    if new then out:insert(new) end
  end
  return out
end

-- The head of a page (what it belongs to, title, summary, what to read with it) goes before the list
-- of its sections.
local function head(doc)
  local out = pandoc.List()
  local function is(b, t) return b and b.t == t end
  if not is(doc.blocks[1], "Header") or doc.blocks[1].level ~= 1 then return end
  local title = doc.blocks:remove(1)
  if kind == "page" then
    local first = doc.blocks[1]
    if is(first, "Para") and is(first.content[1], "Emph") then
      out:insert(pandoc.Div({doc.blocks:remove(1)}, pandoc.Attr("", {"kicker"})))
    end
    out:insert(title)
    if is(doc.blocks[1], "Para") then
      out:insert(pandoc.Div({doc.blocks:remove(1)}, pandoc.Attr("", {"lead"})))
    end
    if is(doc.blocks[1], "Para") then out:insert(doc.blocks:remove(1)) end
  else out:insert(title) end
  doc.meta.head = pandoc.MetaBlocks(out)
end

-- The letters of the glossary, in one row.
local function letters(doc)
  local row = pandoc.List()
  for _, b in ipairs(doc.blocks) do
    if b.t == "Header" and b.level == 2 then
      local a = pandoc.utils.stringify(b.content)
      b.identifier = "letter-" .. a
      row:insert(pandoc.Link({pandoc.Str(a)}, "#letter-" .. a))
      row:insert(pandoc.Space())
    end
  end
  for i, b in ipairs(doc.blocks) do
    if b.t == "Header" and b.level == 2 then
      doc.blocks:insert(i, pandoc.Div({pandoc.Para(row)}, pandoc.Attr("", {"letters"})))
      return
    end
  end
end

-- EPUB and PDF: the glossary as a list of definitions, which needs less paper than headings.
local function definitions(blocks)
  local out, items, glossary = pandoc.List(), pandoc.List(), false
  local function flush()
    if #items > 0 then out:insert(pandoc.DefinitionList(items)) end
    items = pandoc.List()
  end
  for _, b in ipairs(blocks) do
    if b.t == "Header" and b.identifier:match("^p%-") then glossary = b.identifier == "p-glossary" end
    if b.t == "Header" and b.identifier:match("^g%-") then
      items:insert({{pandoc.Span(b.content, pandoc.Attr(b.identifier))}, {pandoc.List()}})
    elseif glossary and #items > 0 and b.t ~= "Header" then items[#items][2][1]:insert(b)
    elseif not (glossary and b.t == "Header" and b.level == 3) then   -- the letters
      flush()
      out:insert(b)
    end
  end
  flush()
  return out
end

function Pandoc(doc)
  if doc.meta.form then form = pandoc.utils.stringify(doc.meta.form) end
  if doc.meta.kind then kind = pandoc.utils.stringify(doc.meta.kind) end
  header = read("prodml.h")
  read_glossary()
  doc.blocks = walk_blocks(doc.blocks)
  if form == "pages" then
    head(doc)
    if kind == "glossary" then letters(doc) end
  else doc.blocks = definitions(doc.blocks) end
  return doc
end
