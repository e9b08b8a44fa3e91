-- An experiment's folder as one HTML page: what was asked, the summary with its spread and verdicts in words, pictures,
-- every run, provenance, and how to run it again. The page needs no network, no scripts and no other file. Figures are
-- compare's, pictures pictures.lua's; this file puts them into HTML and says what they mean.
local wattle = require "wattle"
local compare = require "wattle.compare"
local folder = require "wattle.folder"
local pictures = require "wattle.pictures"
local plot = require "wattle.plot"
local progress = require "wattle.progress"
local results = require "wattle.results"
local stats = require "wattle.stats"
local text = require "wattle.table"
local util = require "wattle.util"
local core = wattle.core

local report = {}
local escape = plot.escape

---- HTML ----

local function element(name, inner, attributes)
  return ("<%s%s>%s</%s>\n"):format(name, attributes or "", inner, name)
end

local function paragraph(s)
  return element("p", escape(s))
end

-- A table like wattle.table's: columns are titles or {title, "left"}; cells are plain text.
local function html_table(columns, rows, caption)
  local out, right = { "<div class=\"wide\"><table>\n" }, {}
  if caption then out[#out + 1] = element("caption", escape(caption)) end
  local head = {}
  for i, c in ipairs(columns) do
    local title, align = c, i > 1 and "right" or "left"
    if type(c) == "table" then title, align = c[1], c[2] end
    right[i] = align == "right" and ' class="n"' or ""
    head[i] = ("<th scope=\"col\"%s>%s</th>"):format(right[i], escape(title))
  end
  out[#out + 1] = "<thead><tr>" .. table.concat(head) .. "</tr></thead>\n<tbody>\n"
  for _, row in ipairs(rows) do
    local cells = {}
    for i in ipairs(columns) do
      local cell, class = escape(tostring(row[i] == nil and "" or row[i])), right[i]
      if row.class and i == #columns then class = (' class="%s"'):format(row.class) end
      cells[i] = i == 1 and ("<th scope=\"row\">%s</th>"):format(cell) or ("<td%s>%s</td>"):format(class, cell)
    end
    out[#out + 1] = "<tr>" .. table.concat(cells) .. "</tr>\n"
  end
  out[#out + 1] = "</tbody></table></div>\n"
  return table.concat(out)
end

local function items(list)
  local out = {}
  for i, item in ipairs(list) do out[i] = element("li", escape(tostring(item))) end
  return #out > 0 and element("ul", table.concat(out)) or ""
end

-- {{term, text}, ...}
local function definitions(list)
  local out = {}
  for i, d in ipairs(list) do out[i] = ("<dt>%s</dt><dd>%s</dd>\n"):format(escape(d[1]), escape(d[2])) end
  return element("dl", table.concat(out))
end

-- A section, unless nothing is in it.
local function section(title, ...)
  local inner = table.concat({ ... })
  return inner == "" and "" or element("section", element("h2", escape(title)) .. inner)
end

---- what things are called ----

local TITLES = {
  test_top1_pct = "test top-1, %", val_top1_pct = "validation top-1, %", macro_f1 = "macro F1", loss = "loss",
  duration_train_s = "train, s", energy_train_j = "train, J", duration_s = "whole run, s",
  params = "params", nonzeros = "nonzero", flops_per_image = "FLOPs/image", flops_executed_per_image = "executed",
  disk_bytes = "file, B", peak_rss_bytes = "peak RSS, B", energy_j = "energy, J", energy_net_j = "net of idle, J",
  energy_est_j = "estimate, J",
}
local DECIMALS = { macro_f1 = 3, loss = 3 }
local DIFFERENCE = { test_top1_pct = "to baseline, points", val_top1_pct = "to baseline, points" }

local VERDICTS = {
  { "saves", "The 95 % interval of the ratio to the baseline lies below 1: less is spent." },
  { "costs", "The 95 % interval of the ratio to the baseline lies above 1: more is spent." },
  { "equivalent", "Shown to be equal: by two one-sided tests at 5 % the ratio lies within ±5 % of 1." },
  { "inconclusive", "Neither is shown. That is not \"no difference\": these runs are too few or too noisy to tell, "
    .. "or other programs had more than a tenth of the processors." },
}

local function number(v)
  if math.type(v) == "integer" then return ("%d"):format(v) end
  return type(v) == "number" and ("%.7g"):format(v) or tostring(v)
end

-- An option's or a constant's value.
local function value_text(v)
  if v == core.null or v == nil then return "not given" end
  if type(v) == "boolean" then return v and "yes" or "no" end
  if type(v) ~= "table" then return number(v) end
  local parts = {}
  for i, x in ipairs(v) do parts[i] = value_text(x) end
  if #parts == 0 then
    for _, k in ipairs(util.sorted_keys(v)) do parts[#parts + 1] = k .. " " .. value_text(v[k]) end
  end
  return #parts > 0 and table.concat(parts, ", ") or "none"
end

-- "0.890 [0.617, 1.285]"; the middle alone where its bounds are of another kind than the row's.
local function bracketed(format, middle, low, high, kind, wanted)
  if not middle then return "" end
  if not (low and high) or kind ~= wanted then return format:format(middle) end
  return (format .. " [" .. format .. ", " .. format .. "]"):format(middle, low, high)
end

---- parts of the page ----

local function group_title(s)
  return (table.concat(s.by, ", "):gsub(", level, level_unit", ""))
end

-- A cost and its ratio to the baseline.
local function ratio_cells(cells, s, d, kind)
  cells[#cells + 1] = text.number(d.value.mean, 2)
  local v = d.verdict or {}
  if s.baseline then cells[#cells + 1] = bracketed("%.3f", v.ratio, v.low, v.high, v.kind, kind) end
end

local function summary_table(s)
  local columns = { group_title(s), "seeds" }
  local cost = s.cost
  local shown = {}
  for _, name in ipairs(s.differences) do
    -- One accuracy is enough where there are two: the one that was not looked at before.
    if name == s.accuracy or not name:find "top1" then shown[#shown + 1] = name end
  end
  for _, name in ipairs(shown) do
    columns[#columns + 1] = TITLES[name] or name
    if s.baseline and name == s.accuracy then columns[#columns + 1] = DIFFERENCE[name] or "to baseline" end
  end
  if cost then columns[#columns + 1] = TITLES[cost] or cost end
  if s.baseline and cost then columns[#columns + 1] = "to baseline, ratio" end
  if s.baseline and cost then columns[#columns + 1] = { "verdict", "left" } end
  local rows = {}
  for n, row in ipairs(s.rows) do
    local cells, d, kind = { pictures.label(row, s.by), row.seeds }, s.details[n], row.spread
    for _, name in ipairs(shown) do
      cells[#cells + 1] = text.spread(d[name].value, DECIMALS[name] or 2)
      if s.baseline and name == s.accuracy then
        local i = d[name].diff or {}
        cells[#cells + 1] = bracketed("%+.2f", i.mean, i.low, i.high, i.kind, kind)
      end
    end
    if cost then ratio_cells(cells, s, d[cost], kind) end
    if s.baseline and cost then
      local v = d[cost].verdict or {}
      local verdict = v.ratio and v.verdict or ""
      cells[#cells + 1], cells.class = verdict, verdict ~= "" and verdict or nil
    end
    rows[n] = cells
  end
  return html_table(columns, rows)
end

-- What the groups are (sizes), or what they took (metered), as two tables that fit a page.
local function means_table(s, metered, caption)
  local columns, rows, ratios, means = { group_title(s) }, {}, {}, {}
  for _, name in ipairs(metered and s.ratios or {}) do
    if name ~= s.cost then -- which stands in the first table
      ratios[#ratios + 1] = name
      columns[#columns + 1] = TITLES[name] or name
      if s.baseline then columns[#columns + 1] = "to baseline, ratio" end
    end
  end
  for _, name in ipairs(s.means) do
    if results.is_metered(name) == metered then
      means[#means + 1] = name
      columns[#columns + 1] = TITLES[name] or name
    end
  end
  if #columns == 1 then return "" end
  for n, row in ipairs(s.rows) do
    rows[n] = { pictures.label(row, s.by) }
    for _, name in ipairs(ratios) do ratio_cells(rows[n], s, s.details[n][name], row.spread) end
    for _, name in ipairs(means) do
      table.insert(rows[n], DECIMALS[name] and text.number(row[name], DECIMALS[name])
                   or name:find "_[sj]$" and text.number(row[name], 1) or text.count(row[name]))
    end
  end
  return html_table(columns, rows, caption)
end

-- "Verdicts on time, of 11 comparisons with the baseline: saves 2, inconclusive 9."
local function verdicts_text(s)
  local count, total = {}, 0
  for n in ipairs(s.rows) do
    local v = s.cost and s.details[n][s.cost].verdict or {}
    if v.ratio then count[v.verdict], total = (count[v.verdict] or 0) + 1, total + 1 end
  end
  if total == 0 then return "" end
  local parts = {}
  for _, v in ipairs(VERDICTS) do
    if count[v[1]] then parts[#parts + 1] = ("%s %d"):format(v[1], count[v[1]]) end
  end
  return paragraph(("Verdicts on %s, of %d comparisons with the baseline: %s."):format(
    s.measured and "the energy of training" or "time", total, table.concat(parts, ", ")))
    .. element("h3", "What the verdicts mean") .. definitions(VERDICTS)
end

local function capacity_text(e)
  local chosen, by_bits = nil, {}
  for _, row in ipairs(e.capacity or {}) do
    if not row.layer then
      by_bits[row.bits] = row
      if row.chosen then chosen = row end
    end
  end
  if not chosen then return "" end
  local function at(row)
    return row and row.val_top1_pct and ("%.2f %% of the validation images%s"):format(row.val_top1_pct,
      row.test_top1_pct and (", %.2f %% of the test images"):format(row.test_top1_pct) or "") or "not known"
  end
  local options = type(e.side.options) == "table" and e.side.options or {}
  local epsilon = options.epsilon
  local loss = type(epsilon) == "number"
    and (" at a loss of at most %g point%s"):format(epsilon, epsilon == 1 and "" or "s") or ""
  local over, list = by_bits[chosen.bits + 1], { { "no bits", at(by_bits[0]) }, { chosen.bits .. " bits", at(chosen) } }
  if over then list[3] = { over.bits .. " bits", at(over) } end
  return element("h3", "Capacity") .. paragraph(
    ("%d low-order bits of every parameter can be overwritten%s on %s validation images: %sB."):format(
      chosen.bits, loss, number(chosen.val_images), text.count(chosen.capacity_bytes)))
    .. definitions(list)
end

local function notes(e, s)
  local verdicts, ci, list = 0, true, {}
  for n, row in ipairs(s.rows) do
    ci = ci and row.spread == "ci95"
    for _, name in ipairs(s.ratios) do
      local v = s.details[n][name].verdict
      if v and v.reason then list[#list + 1] = ("%s: %s."):format(pictures.label(row, s.by), v.reason) end
      if v and v.ratio and name == s.cost then verdicts = verdicts + 1 end
    end
  end
  local function add(format, ...) list[#list + 1] = format:format(...) end
  if s.baseline then
    add("Differences and ratios to the baseline are paired by seed, %s.", ci and "with 95 % intervals (± is one too)"
      or ("with 95 %% intervals from %d seeds on and the range below"):format(stats.min_seeds))
  else
    add("± is a 95 %% interval over seeds; below %d seeds the range stands in brackets.", stats.min_seeds)
    if #s.rows > 1 then add "No group was named as the baseline (--baseline), so nothing is compared." end
  end
  if type(e.side.stages) == "table" and #e.side.stages > 0 then
    add("Intervals cover the seeds of the runs alone, which all start from what was prepared once (one checkpoint): "
        .. "another may differ by more.")
  end
  if verdicts > 1 then
    add("%d verdicts are drawn without correction for multiplicity: by chance about one in 20 is wrong.", verdicts)
  end
  if s.measured then
    add "Energy is measured by counters: verdicts are about the joules of training."
  elseif s.baseline and s.cost then
    add "No counter was read: verdicts on energy need one, so they are about time."
  end
  for _, name in ipairs(s.means) do
    if name == "energy_est_j" then
      add("The estimate in joules is processor time times a constant: it repeats the time and decides nothing, so it is "
          .. "in no picture, ranking or verdict.")
    elseif name == "flops_executed_per_image" then
      add "FLOPs/image: arithmetic of the weights that are not zero. Executed: what the dense kernels do."
    end
  end
  local interrupted = 0
  for _, run in ipairs(e.runs) do interrupted = interrupted + (run.interrupted and 1 or 0) end
  if interrupted > 0 then
    add("%d runs were interrupted and went on: their accuracy counts, their time and energy do not.", interrupted)
  end
  local others = compare.others_share(e.runs, s.processors)
  if others and others > compare.busy_share then
    add("Other programs took %.0f %% of the processors during the runs: distrust the times. No verdict is drawn on runs "
        .. "where it was more than %.0f %%.", 100 * others, 100 * compare.busy_share)
  end
  return items(list)
end

-- "resnet8 · fashion_mnist · 36 of 36 runs"
local function lead(e)
  local side, parts = e.side, {}
  local constants = type(side.constants) == "table" and side.constants or {}
  for _, name in ipairs { "model", "dataset" } do
    if type(constants[name]) == "string" then parts[#parts + 1] = constants[name] end
  end
  local planned = math.type(side.runs) == "integer" and number(side.runs) or "unknown many"
  parts[#parts + 1] = ("%d of %s runs"):format(#e.runs, planned)
  parts[#parts + 1] = ("%d seed%s"):format(#side.seeds, #side.seeds == 1 and "" or "s")
  parts[#parts + 1] = tostring(side.started_utc or ""):gsub("T", " "):gsub("Z", " UTC")
  return element("p", escape(table.concat(parts, " · ")), ' class="lead"')
end

-- Above everything: what a reader must know before the figures.
local function warnings(e)
  local side, list = e.side, {}
  local missing = math.type(side.runs) == "integer" and side.runs - #e.runs or 0
  if missing > 0 then
    list[#list + 1] = ("%d of %d runs are not there: the experiment is running, or was stopped (--resume goes on). The "
                       .. "figures below are of what is there."):format(missing, side.runs)
  end
  if type(side.shard) == "table" and #side.shard == 2 then
    list[#list + 1] = ("This is shard %s of %s; 'wattle merge OUT SHARD...' joins the shards."):format(
      number(side.shard[1]), number(side.shard[2]))
  end
  for i, w in ipairs(list) do list[i] = element("p", escape(w), ' class="warning"') end
  return table.concat(list)
end

local function asked(e, s)
  local side, list = e.side, {}
  local cases = {}
  for _, row in ipairs(s.rows) do cases[#cases + 1] = pictures.label(row, s.by) end
  list[1] = { "compared", table.concat(cases, "; ") }
  list[2] = { "seeds", value_text(side.seeds) }
  if math.type(side.repeats) == "integer" and side.repeats > 1 then list[3] = { "repeats", number(side.repeats) } end
  local seen = { seeds = true, repeats = true }
  for _, from in ipairs { "constants", "options" } do
    local t = type(side[from]) == "table" and side[from] or {}
    for _, key in ipairs(util.sorted_keys(t)) do
      if not seen[key] then
        seen[key] = true
        list[#list + 1] = { key:gsub("_", " "), value_text(t[key]) }
      end
    end
  end
  return definitions(list)
end

local function bad_runs(e)
  local rows = {}
  for _, run in ipairs(e.runs) do
    if run.status ~= "ok" or run.interrupted then
      rows[#rows + 1] = { run.run_id, run.status .. (run.interrupted and run.status == "ok" and ", interrupted" or ""),
                          run.seed, run.duration_s and text.number(run.duration_s, 1) or "" }
    end
  end
  if #rows == 0 then return paragraph "None: every run ended well and in one piece." end
  return html_table({ "run", { "what", "left" }, "seed", "time, s" }, rows)
    .. paragraph("diverged: the loss was no longer finite. failed: an error; the message went to standard error. "
                 .. "interrupted: went on after a stop.")
end

local function all_runs(e, s)
  local columns, rows = { "run", { "status", "left" } }, {}
  local names = {}
  for _, list in ipairs { s.differences, { "duration_s" }, s.ratios, { "energy_j", "energy_est_j" } } do
    for _, name in ipairs(list) do
      local have = false
      for _, known in ipairs(names) do have = have or known == name end
      for _, run in ipairs(have and {} or e.runs) do
        if run[name] ~= nil then
          names[#names + 1] = name
          break
        end
      end
    end
  end
  for _, name in ipairs(names) do columns[#columns + 1] = TITLES[name] or name end
  for i, run in ipairs(e.runs) do
    rows[i] = { run.run_id, run.status .. (run.interrupted and ", interrupted" or "") }
    for _, name in ipairs(names) do table.insert(rows[i], text.number(run[name], DECIMALS[name] or 2)) end
  end
  return element("details", "<summary>" .. #e.runs .. " runs</summary>" .. html_table(columns, rows))
end

local function provenance(e)
  local side, list = e.side, {}
  local function add(name, v)
    if v ~= nil and v ~= core.null then list[#list + 1] = { name, value_text(v) } end
  end
  add("host", side.host)
  local build = type(side.build) == "table" and side.build or {}
  add("wattle", build.version and ("%s (%s)"):format(build.version, build.git or "no revision"))
  for _, key in ipairs { "cpu", "processors", "instruction_sets", "providers", "threading", "compiler", "flags" } do
    add(key:gsub("_", " "), build[key])
  end
  for _, key in ipairs(util.sorted_keys(type(side.hardware) == "table" and side.hardware or {})) do
    add(key, side.hardware[key])
  end
  add("threads used", side.threads)
  add("energy", side.source)
  add("started", side.started_utc)
  add("finished", side.finished_utc)
  local inits = {}
  for _, run in ipairs(e.runs) do
    if run.init_sha256 and not inits[run.init_sha256] then
      inits[run.init_sha256] = true
      add("starting point", run.init_sha256:gsub("^sha256_", "sha256 "))
    end
  end
  local meter = type(side.meter) == "table" and side.meter.description
  local notes_of = type(side.notes) == "table" and #side.notes > 0 and side.notes
  local files = notes_of and element("h3", "About the files") .. items(notes_of) or ""
  local described = type(meter) == "string" and "<summary>The meter</summary>" .. element("pre", escape(meter))
  return definitions(list) .. files .. (described and element("details", described) or "")
end

local function rerun(e)
  local out, sessions = {}, type(e.side.sessions) == "table" and e.side.sessions or {}
  local first = type(sessions[1]) == "table" and sessions[1].command or e.side.command
  if type(first) == "string" then
    out[1] = paragraph "The same again, into a new folder (give another --out or out =):"
      .. element("pre", escape("wattle " .. first))
  end
  out[#out + 1] = paragraph(("Runs took %s in all%s. The same seeds, threads and build give the same bits; times never "
                             .. "repeat."):format(progress.duration(e.total_s),
                                                  #sessions > 1 and (", in %d sessions"):format(#sessions) or ""))
  out[#out + 1] = paragraph("Pictures: each has its script and data in the folder pictures (NAME.gp, NAME.csv); edit, "
                            .. "then run gnuplot NAME.gp there.")
  out[#out + 1] = paragraph(("This page again: wattle report %s"):format(e.path))
  return table.concat(out)
end

local function figures(list)
  local out = {}
  for i, picture in ipairs(list) do
    local file, message = io.open(picture.file, "rb")
    if not file then return nil, message, "io" end
    local svg = file:read "a"
    file:close()
    if not svg then return nil, picture.file .. ": cannot be read", "io" end
    -- Inside a page: no XML declaration, and names of parts that are this picture's own.
    svg = svg:gsub("^%s*<%?xml.-%?>%s*", ""):gsub("^<!DOCTYPE.->%s*", "")
    local prefix = ("p%d-"):format(i)
    for _, name in ipairs { "(%sid=['\"])", "(href=['\"]#)", "(url%(#)" } do
      svg = svg:gsub(name, function(s) return s .. prefix end)
    end
    out[i] = element("figure", svg .. element("figcaption", escape(picture.caption)))
  end
  return table.concat(out)
end

local STYLE = [[
:root { color-scheme: light dark; --ink: #1c1d20; --soft: #5b5e66; --paper: #ffffff; --line: #d8d8d8; --tint: #f4f5f7 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e4e4; --soft: #a4a8b0; --paper: #17181c; --line: #3a3c42; --tint: #202228 } }
body { margin: 0 auto; max-width: 68rem; padding: 1.5rem 1rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, "Helvetica Neue", Arial, sans-serif }
h1 { font-size: 1.9rem; margin: 0 } h2 { font-size: 1.25rem; margin: 2.5rem 0 .6rem } h3 { font-size: 1rem; margin: 1.5rem 0 .3rem }
.lead, figcaption, caption, dt { color: var(--soft) } .lead { margin-top: .2rem }
.warning { border-left: 4px solid #d55e00; padding: .4rem .8rem; background: var(--tint) }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums }
caption { text-align: left; padding: .8rem 0 .3rem }
th, td { padding: .25rem .7rem .25rem 0; text-align: left; white-space: nowrap; border-bottom: 1px solid var(--line) }
thead th { vertical-align: bottom; border-bottom: 2px solid var(--line); font-weight: 600 } tbody th { font-weight: 400 }
.n { text-align: right } td.saves { font-weight: 600 } td.saves::before { content: "\2193  " } td.costs { font-weight: 600 }
td.costs::before { content: "\2191  " } td.equivalent::before { content: "=  " } td.inconclusive { color: var(--soft) }
dl { display: grid; grid-template-columns: minmax(8rem, max-content) 1fr; gap: .15rem 1.2rem; font-size: .9rem; margin: .5rem 0 }
dd { margin: 0; overflow-wrap: anywhere } figure { margin: 1.5rem 0 } figure svg { max-width: 100%; height: auto }
figcaption { font-size: .875rem; max-width: 48rem } pre { background: var(--tint); padding: .6rem .8rem; overflow-x: auto;
  font-size: .85rem; white-space: pre-wrap; overflow-wrap: anywhere } ul { padding-left: 1.2rem; max-width: 48rem; font-size: .9rem }
p, dl { max-width: 54rem } summary { cursor: pointer; color: var(--soft) } @media (max-width: 40rem) { dl { grid-template-columns: 1fr } dd { margin-bottom: .4rem } }
]]

-- report.html(folder [, {pictures = true, baseline = {column = value}}]) -> text, note; or nil, message, code where the
-- folder is no experiment's or its files are malformed. note: why there are no pictures, if gnuplot could not draw them;
-- the page says so too. pictures = false: none.
function report.html(path, o)
  o = o or {}
  util.check_options(o, { "pictures", "baseline" }, "report.html")
  local e, message, code = folder.read(path)
  if not e then return nil, message, code end
  e.total_s = 0.0
  for _, run in ipairs(e.runs) do e.total_s = e.total_s + (run.duration_s or 0) end
  local s = pictures.summary(e, o.baseline)
  local drawn, note = "", nil
  if o.pictures ~= false then
    local list
    list, message = pictures.draw(e, { summary = s })
    if list then drawn, message, code = figures(list) end
    if not drawn then return nil, message, code end
    if not list then drawn, note = element("p", escape("No pictures: " .. message), ' class="warning"'), message end
  end
  local title = ("%s: %s"):format(e.side.experiment, path:gsub("/+$", ""):match "[^/]*$")
  local page = table.concat {
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n",
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n', element("title", escape(title)),
    "<style>\n", STYLE, "</style>\n</head>\n<body>\n",
    element("header", element("h1", escape(e.side.experiment)) .. lead(e)), warnings(e),
    section("Results", #e.runs > 0 and summary_table(s) or paragraph "No run has ended yet.",
            verdicts_text(s), capacity_text(e)),
    section("Pictures", drawn),
    section("How to read it", notes(e, s)),
    section("Size and cost", #e.runs > 0 and means_table(s, false, "Size and quality, means over seeds")
            .. means_table(s, true, "Time, energy and memory, means over seeds") or ""),
    section("What was asked", asked(e, s)),
    section("Runs that did not end well", bad_runs(e)),
    section("Every run", #e.runs > 0 and all_runs(e, s) or ""),
    section("Provenance", provenance(e)),
    section("How to run it again", rerun(e)),
    "</body>\n</html>\n",
  }
  return page, note
end

-- report.write(folder, file [, options]) -> true, note; or nil, message, code. The page, written whole.
function report.write(path, file, o)
  local page, note, code = report.html(path, o)
  if not page then return nil, note, code end
  local ok, message, reason = core.write_file(file, page)
  if not ok then return nil, message, reason end
  return true, note
end

return report
