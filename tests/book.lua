-- Pandoc filter of the book: links and pictures of a page lead out of notes/.

-- A page links to ../prodml.h and ../lessons/; the HTML book lies in out/book/, so its
-- links get the prefix.  EPUB and PDF are read elsewhere: there the words stay.
local prefix = nil

function Meta(meta)
  if meta.prefix then prefix = pandoc.utils.stringify(meta.prefix) end
end

local function link(el)
  if el.target:match("^%.%./") then
    if not prefix then return el.content end
    el.target = prefix .. el.target:sub(4)
  elseif el.target:match("^%d%d_[%w_]+%.md$") then
    return el.content
  end
  return el
end

-- A picture stands alone, in a box that scrolls on a narrow screen.
local function paragraph(el)
  if #el.content == 1 and el.content[1].t == "Image" then
    return pandoc.Div({el}, pandoc.Attr("", {"picture"}))
  end
end

local function tab(el)
  return pandoc.Div({el}, pandoc.Attr("", {"table"}))
end

return {{Meta = Meta}, {Link = link, Para = paragraph, Table = tab}}
