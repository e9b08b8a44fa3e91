-- A strict reader of the XML that pictures and reports consist of: elements that close in order, attributes in quotes,
-- entities that exist. For tests.

local svg_text = {}

local ENTITIES = { amp = "&", lt = "<", gt = ">", quot = '"' }

local function unescape(s, where)
  if s:find "<" then error(("%s: a bare < in %q"):format(where, s)) end
  return (s:gsub("&([^;&]*);?", function(name)
    local code = name:match "^#(%d+)$"
    if code then return utf8.char(tonumber(code)) end
    return ENTITIES[name] or error(("%s: no entity &%s; in %q"):format(where, name, s))
  end))
end

local VOID = { meta = true, br = true, hr = true, img = true, link = true }

-- The texts between tags, in order, with entities read; an error where it is not well formed. html: void elements and
-- what <style> holds are HTML's.
function svg_text.texts(s, html)
  if not utf8.len(s) then error "not UTF-8" end
  local out, open, at = {}, {}, 1
  while true do
    local from, to = s:find("<[^>]*>", at)
    local text = s:sub(at, (from or #s + 1) - 1)
    if open[#open] ~= "style" then
      text = unescape(text, open[#open] or "the top")
      if text:find "%S" then out[#out + 1] = text:match "^%s*(.-)%s*$" end
    end
    if not from then break end
    local tag = s:sub(from, to)
    at = to + 1
    if not tag:find "^<[!?]" then
      local slash, name, attributes, ends = tag:match "^<(/?)([%w:]+)(.-)(/?)>$"
      if not name then error("no tag: " .. tag) end
      if slash == "/" then
        if open[#open] ~= name then error(("</%s> closes <%s>"):format(name, tostring(open[#open]))) end
        open[#open] = nil
      else
        local rest = attributes:gsub("%s+[%w:%-]+%s*=%s*(['\"])(.-)%1", function(_, value)
          unescape(value, name)
          return ""
        end)
        if rest:find "%S" then error(("<%s>: what is '%s'?"):format(name, rest)) end
        if ends == "" and not (html and VOID[name]) then open[#open + 1] = name end
      end
    end
  end
  if #open > 0 then error("left open: " .. table.concat(open, " ")) end
  return out
end

return svg_text
