-- Options of a script, declared once: reading the command line, --help and its errors come from the declaration.
--
--   local o = cli.main({
--     name = "mei2025", about = "Train, compress, train again.",
--     options = {
--       {"epochs", "integer", 10, "epochs of pretraining", value = "N", min = 1},
--       {"quick", "flag", false, "a small version"},
--     },
--     presets = {quick = {epochs = 3}},  -- defaults when --quick is given
--   }, arg)
--
-- An option is {name, type, default, help}, with value = what stands for its value in the help, and min, max,
-- choices = {...} where they apply. Types: flag, string, integer, number, and the lists (comma-separated) strings,
-- integers, numbers. "--name value" and "--name=value" are the same; options are read as o.name with
-- "-" turned into "_". What follows "--" and words that are no option are positional; they are refused unless the
-- declaration has `positional = "FILE..."`, and then stand in o[1], o[2], ...
local util = require "wattle.util"

local cli = {}

local function key_of(name)
  return (name:gsub("%-", "_"))
end

local function split(s)
  local out = {}
  for part in (s .. ","):gmatch "%s*([^,]-)%s*," do out[#out + 1] = part end
  return out
end

local scalar = {}
function scalar.string(s) return s end
function scalar.integer(s) return math.tointeger(tonumber(s)) end
function scalar.number(s)
  local v = tonumber(s)
  return v and v - v == 0 and v or nil -- neither NaN nor infinite (1e999)
end
local PLURAL = { strings = "string", integers = "integer", numbers = "number" }
local ARTICLE = { string = "a string", integer = "an integer", number = "a number", strings = "a list a,b,c",
                  integers = "a list of integers 1,2,3", numbers = "a list of numbers 0.1,0.2" }

local function check_one(option, v)
  if option.choices then
    for _, c in ipairs(option.choices) do
      if c == v then return true end
    end
    return nil, ("--%s: '%s' is none of %s%s"):format(option[1], v, table.concat(option.choices, ", "),
                                                      util.hint(v, option.choices))
  end
  if option.min and v < option.min then return nil, ("--%s: %s is below %s"):format(option[1], v, option.min) end
  if option.max and v > option.max then return nil, ("--%s: %s is above %s"):format(option[1], v, option.max) end
  return true
end

-- The value of an option from its text, or nil and what is wrong.
local function convert(option, s)
  local kind = option[2]
  local one = scalar[PLURAL[kind] or kind]
  local out = {}
  for _, part in ipairs(PLURAL[kind] and split(s) or { s }) do
    local v = one(part)
    if v == nil or part == "" then
      return nil, ("--%s needs %s, not '%s'"):format(option[1], ARTICLE[kind], s)
    end
    local ok, message = check_one(option, v)
    if not ok then return nil, message end
    out[#out + 1] = v
  end
  return PLURAL[kind] and out or out[1]
end

-- Reads a command line. Returns the options' values (with `given`, the set of those that were named), or nil and
-- what is wrong. help is among the values when --help or -h was there; nothing is printed and nothing exits.
function cli.read(spec, args)
  local by_name, names = { help = { "help", "flag" } }, { "--help" }
  for _, option in ipairs(spec.options) do
    by_name[option[1]] = option
    names[#names + 1] = "--" .. option[1]
  end
  local values, given, i = {}, {}, 1
  while i <= #args do
    local word = args[i]
    i = i + 1
    local name, inline = word:match "^%-%-([^=]+)=?(.*)$"
    if word == "-h" then name, inline = "help", "" end
    if word == "--" then
      table.move(args, i, #args, #values + 1, values)
      i = #args + 1
    elseif name then
      local option = by_name[name]
      if not option then
        return nil, ("unknown option '--%s'%s"):format(name, util.hint("--" .. name, names))
      end
      local has_inline = word:find("=", 1, true) ~= nil
      if option[2] == "flag" then
        if has_inline then return nil, ("--%s takes no value"):format(name) end
        values[key_of(name)] = true
      else
        if not has_inline then
          inline, i = args[i], i + 1
          if inline == nil or inline:find "^%-%-" then return nil, ("--%s needs a value"):format(name) end
        end
        local v, message = convert(option, inline)
        if v == nil then return nil, message end
        values[key_of(name)] = v
      end
      given[key_of(name)] = true
    elseif word:find "^%-." and not tonumber(word) then
      return nil, ("unknown option '%s'"):format(word)
    else
      values[#values + 1] = word
    end
  end
  if #values > 0 and not spec.positional and not values.help then
    return nil, ("'%s' is no option of this command"):format(values[1])
  end
  for flag, preset in pairs(spec.presets or {}) do
    if values[key_of(flag)] then
      for name, v in pairs(preset) do
        if not given[key_of(name)] then values[key_of(name)] = v end
      end
    end
  end
  for _, option in ipairs(spec.options) do
    local key = key_of(option[1])
    if values[key] == nil then values[key] = option[3] end
  end
  values.given = given
  return values
end

local function show(v)
  return type(v) == "table" and table.concat(v, ",") or tostring(v)
end

-- Breaks text into lines of at most n columns.
local function wrap(text, n)
  local lines, line = {}, ""
  for word in text:gmatch "%S+" do
    if line ~= "" and utf8.len(line) + 1 + utf8.len(word) > n then
      lines[#lines + 1], line = line, word
    else
      line = line == "" and word or line .. " " .. word
    end
  end
  lines[#lines + 1] = line
  return lines
end

-- cli.help(spec) -> the text of --help.
function cli.help(spec)
  local rest = spec.positional and " " .. spec.positional or ""
  local out = { ("Usage: wattle %s [options]%s\n"):format(spec.name, rest) }
  if spec.about then out[#out + 1] = table.concat(wrap(spec.about, 90), "\n") .. "\n" end
  out[#out + 1] = "Options:"
  local options = table.move(spec.options, 1, #spec.options, 1, {})
  options[#options + 1] = { "help", "flag", nil, "print this and exit" }
  local left, widest = {}, 0
  for i, o in ipairs(options) do
    left[i] = "  --" .. o[1] .. (o[2] ~= "flag" and " " .. (o.value or o[2]:upper()) or "")
    widest = math.max(widest, #left[i])
  end
  for i, o in ipairs(options) do
    local help, defaults = o[4], {}
    if o[2] ~= "flag" and o[3] ~= nil then defaults[1] = "default " .. show(o[3]) end
    for flag, preset in pairs(spec.presets or {}) do
      local v = preset[o[1]]
      if v == nil then v = preset[key_of(o[1])] end
      if v ~= nil then defaults[#defaults + 1] = ("with --%s %s"):format(flag, show(v)) end
    end
    if #defaults > 0 then help = ("%s (%s)"):format(help, table.concat(defaults, "; ")) end
    for j, line in ipairs(wrap(help, 92 - widest)) do
      out[#out + 1] = (j == 1 and left[i] .. (" "):rep(widest - #left[i]) or (" "):rep(widest)) .. "  " .. line
    end
  end
  if spec.notes then out[#out + 1] = "\n" .. spec.notes end
  return table.concat(out, "\n") .. "\n"
end

-- For a script's first line: --help goes to standard output and ends the program with 0; a mistake goes to
-- standard error and ends it with 2.
function cli.main(spec, args)
  local values, message = cli.read(spec, args)
  if not values then
    io.stderr:write(("%s: %s\nTry 'wattle %s --help'.\n"):format(spec.name, message, spec.name))
    os.exit(2, true)
  end
  if values.help then
    io.stdout:write(cli.help(spec))
    os.exit(0, true)
  end
  return values
end

return cli
