-- The prompt's Lua half, at a terminal only: what it says at the start, how values and errors look, ?name, and TAB.
-- bindings/repl.c calls these functions; repl/show.lua and repl/complete.lua do the work.

local wattle = require "wattle"
local core = wattle.core
local show = require "wattle.repl.show"
local complete = require "wattle.repl.complete"

local repl = {}

-- Colours on a terminal, unless NO_COLOR is set or the terminal has none.
local function painted(fd)
  local term = os.getenv "TERM"
  return core.isatty(fd) and (os.getenv "NO_COLOR" or "") == "" and term ~= nil and term ~= "" and term ~= "dumb"
end
local function red(s) return painted(2) and "\27[31m" .. s .. "\27[0m" or s end

-- Makes wattle and nn globals, where a script before the prompt has not set them.
function repl.start(greet)
  local had = {}
  for _, name in ipairs { "wattle", "nn" } do had[name] = rawget(_G, name) ~= nil end
  if not had.wattle then _G.wattle = wattle end
  if not had.nn then _G.nn = wattle.nn end
  if greet then
    io.write "wattle and nn are loaded: ?name helps, ? lists; TAB completes, Ctrl-D ends.\n"
  end
end

-- Values of a statement, one after the other; nil alone is nothing.
function repl.show(...)
  local width = core.columns() or 80
  local values, texts, used, some = table.pack(...), {}, 0, false
  for i = 1, values.n do
    texts[i] = show.text(values[i], width)
    used = used + #texts[i] + 2
    some = some or values[i] ~= nil
  end
  if not some then return end
  local one_line = used <= width and not table.concat(texts):find "\n"
  io.write(table.concat(texts, one_line and "  " or "\n"), "\n")
end

-- "?name" -> a function that prints the help.
function repl.question(line)
  return function()
    local text, message = wattle.help(line)
    if not text then error(message, 0) end
    io.write(text)
  end
end

local own_files = wattle.home .. "/lua/wattle/"

-- An error's text: the message, and of the traceback only what is the user's. A line of Wattle's files in front is not: a
-- statement that is one call leaves no line of its own (a tail call in Lua).
function repl.explain(message)
  message = tostring(message)
  if message:sub(1, #own_files) == own_files then message = message:gsub("^.-%.lua:%d+: ", "", 1) end
  local text, trace = message:match "^(.-)\nstack traceback:\n(.*)$"
  if not text then return red(message) end
  local lines = {}
  for line in trace:gmatch "[^\n]+" do
    local own = line:find(own_files, 1, true) or line:find("[C]", 1, true) or line:find("stdin:1: in main chunk", 1, true)
    if not own and not line:find "^%s*%(" then lines[#lines + 1] = "  " .. line:gsub("^%s+", "") end
  end
  if #lines > 8 then
    local left_out = #lines - 8
    table.move(lines, #lines - 2, #lines, 7)
    lines[6] = ("  ... %d calls ..."):format(left_out)
    for i = 10, #lines do lines[i] = nil end
  end
  return red(text) .. (#lines > 0 and "\n" .. table.concat(lines, "\n") or "")
end

repl.complete = complete.complete

return repl
