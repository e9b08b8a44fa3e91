-- wattle report DIR: the results of any wattle.experiment as one HTML page. What is on it is wattle.report's.

local wattle = require "wattle"
local cli = require "wattle.cli"
local folder = require "wattle.folder"
local core = wattle.core

local spec = {
  name = "report", positional = "DIR",
  about = "Makes one self-contained HTML page of an experiment's folder: what was asked, the summary with intervals and "
    .. "verdicts, pictures, every run, provenance, and how to run it again. Pictures are drawn into DIR/pictures by "
    .. "gnuplot, with their scripts and data.",
  options = {
    { "out", "string", nil, "the page (default: DIR/report.html)", value = "FILE" },
    { "baseline", "strings", nil, "the group that others are set against, as column=value (default: the technique baseline)",
      value = "C=V,..." },
    { "no-pictures", "flag", false, "a page without pictures, which needs no gnuplot" },
  },
}

local function die(message, code)
  io.stderr:write("report: ", message, "\n")
  os.exit(code or 1, true)
end

-- {"width=8"} as {width = 8}, by the columns' types.
local function baseline_of(list, path)
  local e, message = folder.read(path)
  if not e then die(message) end
  local out = {}
  for _, word in ipairs(list) do
    local name, value = word:match "^([^=]+)=(.*)$"
    if not name then die(("--baseline: '%s' is not column=value"):format(word), 2) end
    local found
    for _, case in ipairs(e.side.cases) do
      local v = case[name]
      if v ~= nil and (v == value or type(v) == "number" and v == tonumber(value) or tostring(v) == value) then found = v end
    end
    if found == nil then die(("--baseline: no run of '%s' has %s %s"):format(path, name, value), 2) end
    out[name] = found
  end
  return out
end

local o = cli.main(spec, arg)
if #o ~= 1 then die("one folder is needed; see wattle report --help", 2) end
local path = o[1]:gsub("(.)/+$", "%1")
local file = o.out or path .. "/report.html"
local ok, note = wattle.report.write(path, file, { pictures = not o.no_pictures,
                                                   baseline = o.baseline and baseline_of(o.baseline, path) })
if not ok then die(note) end
io.stdout:write(file, "\n")
if note then die("the page has no pictures: " .. note) end
