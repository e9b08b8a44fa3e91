-- Plain-text tables for terminals and logs, and the few ways figures are written in them.
local text = {}

local function width(s)
  return utf8.len(s) or #s
end

local function pad(s, n, right)
  local blanks = (" "):rep(n - width(s))
  return right and blanks .. s or s .. blanks
end

-- columns: list of titles, or of {title, "left"|"right"} (right unless given, the first column left).
-- rows: list of lists of cells; nil and "" are blank. Returns the text, each line ended.
function text.render(columns, rows)
  local titles, right, widths = {}, {}, {}
  for i, c in ipairs(columns) do
    titles[i] = type(c) == "table" and c[1] or c
    local align = type(c) == "table" and c[2] or (i == 1 and "left" or "right")
    right[i], widths[i] = align == "right", width(titles[i])
  end
  for _, row in ipairs(rows) do
    for i = 1, #columns do widths[i] = math.max(widths[i], width(tostring(row[i] or ""))) end
  end
  local lines = {}
  local function add(row)
    local cells = {}
    for i = 1, #columns do cells[i] = pad(tostring(row[i] or ""), widths[i], right[i]) end
    lines[#lines + 1] = (table.concat(cells, "  "):gsub("%s+$", "")) .. "\n"
  end
  add(titles)
  local rule = {}
  for i, w in ipairs(widths) do rule[i] = ("-"):rep(w) end
  add(rule)
  for _, row in ipairs(rows) do add(row) end
  return table.concat(lines)
end

-- A number with so many decimals, or "NA".
function text.number(v, decimals)
  return v and ("%." .. (decimals or 2) .. "f"):format(v) or "NA"
end

-- A mean with its spread: "91.20 ± 0.31" for an interval, "91.20 [90.9, 91.5]" for a range, "91.20" alone.
function text.spread(i, decimals)
  if not i or not i.mean then return "NA" end
  local f = "%." .. (decimals or 2) .. "f"
  if i.n < 2 then return f:format(i.mean) end
  if i.kind == "range" then return (f .. " [" .. f .. ", " .. f .. "]"):format(i.mean, i.low, i.high) end
  return (f .. " ± " .. f):format(i.mean, i.high - i.mean)
end

-- 1234567 as 1.23 M.
function text.count(v)
  if not v then return "NA" end
  for _, unit in ipairs { { 1e12, "T" }, { 1e9, "G" }, { 1e6, "M" }, { 1e3, "k" } } do
    if math.abs(v) >= unit[1] then return ("%.2f %s"):format(v / unit[1], unit[2]) end
  end
  return ("%g"):format(v)
end

return text
