-- wattle.cli: options, presets, mistakes and the help text; wattle.table: plain-text tables.

local cli = require "wattle.cli"
local text = require "wattle.table"
local t = require "harness"
local test, check, equal = t.test, t.check, t.equal

local spec = {
  name = "demo", about = "Shows what a script's options look like.",
  options = {
    { "epochs", "integer", 10, "how often", value = "N", min = 1, max = 100 },
    { "lr", "number", 0.1, "learning rate" },
    { "tune-epochs", "integer", 2, "and again" },
    { "arms", "strings", { "a", "bee" }, "which", choices = { "a", "bee", "sea" } },
    { "levels", "numbers", nil, "levels" },
    { "out", "string", nil, "folder", value = "DIR" },
    { "quick", "flag", false, "small" },
  },
  presets = { quick = { epochs = 3, ["tune-epochs"] = 1 } },
}

local function read(...)
  return cli.read(spec, { ... })
end

test("values, defaults and what was given", function()
  local o = read()
  equal(o.epochs, 10)
  equal(o.tune_epochs, 2)
  equal(o.quick, false)
  equal(o.out, nil)
  o = read("--epochs", "5", "--lr=1e-3", "--levels", "0.5, 2", "--arms", "sea", "--out=a=b")
  equal(o.epochs, 5)
  equal(o.lr, 1e-3)
  equal(o.levels[1] + o.levels[2], 2.5)
  equal(o.arms[1], "sea")
  equal(o.out, "a=b")
  check(o.given.epochs and not o.given.tune_epochs)
  equal(read("--lr", "-2").lr, -2)
end)

test("a preset changes defaults only", function()
  local o = read("--quick", "--epochs", "7")
  equal(o.epochs, 7)
  equal(o.tune_epochs, 1)
end)

test("mistakes name the option and the nearest one", function()
  for _, c in ipairs {
    { "unknown option '--epoch'; did you mean '--epochs'?", "--epoch", "3" },
    { "unknown option '-x'", "-x" },
    { "--epochs needs an integer, not 'x'", "--epochs", "x" },
    { "--epochs needs an integer, not '1.5'", "--epochs", "1.5" },
    { "--epochs: 0 is below 1", "--epochs=0" },
    { "--epochs: 101 is above 100", "--epochs=101" },
    { "--epochs needs a value", "--epochs" },
    { "--epochs needs a value", "--epochs", "--quick" },
    { "--lr needs a number, not ''", "--lr=" },
    { "--lr needs a number, not '1e999'", "--lr", "1e999" },
    { "--levels needs a list of numbers 0.1,0.2, not '1,,2'", "--levels", "1,,2" },
    { "--arms: 'be' is none of a, bee, sea; did you mean 'bee'?", "--arms", "a,be" },
    { "--quick takes no value", "--quick=1" },
    { "'word' is no option of this command", "word" },
  } do
    local o, message = read(table.unpack(c, 2))
    equal(o, nil)
    equal(message, c[1])
  end
end)

test("help lists every option with its default", function()
  check(read("--help").help)
  check(read("-h").help)
  local help = cli.help(spec)
  for _, part in ipairs { "Usage: wattle demo", "--epochs N", "(default 10; with --quick 3)", "--out DIR",
                          "default a,bee", "--help" } do
    check(help:find(part, 1, true), "help lacks: " .. part)
  end
  for line in help:gmatch "[^\n]+" do check(utf8.len(line) <= 100, "a line of help is too long: " .. line) end
end)

test("positional words where they are declared", function()
  local own = { name = "p", options = { { "quick", "flag", false, "small" } }, positional = "FILE..." }
  local o = cli.read(own, { "a", "--quick", "--", "--b" })
  equal(o[1], "a")
  equal(o[2], "--b")
  check(o.quick)
end)

test("tables align by characters, not bytes", function()
  local rows = { { "a", "9.10 ± 0.2", "x" }, { "longer", "10" } }
  equal(text.render({ "name", "top-1 %", { "note", "left" } }, rows), [[
name       top-1 %  note
------  ----------  ----
a       9.10 ± 0.2  x
longer          10
]])
  equal(text.spread({ n = 3, mean = 91.234, low = 91.0, high = 91.468, kind = "ci95" }), "91.23 ± 0.23")
  equal(text.spread({ n = 2, mean = 91.2, low = 91.0, high = 91.4, kind = "range" }, 1), "91.2 [91.0, 91.4]")
  equal(text.spread({ n = 1, mean = 91.2, low = 91.2, high = 91.2, kind = "range" }), "91.20")
  equal(text.spread({ n = 0 }), "NA")
  equal(text.count(1234567), "1.23 M")
  equal(text.count(12), "12")
end)
