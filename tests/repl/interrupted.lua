-- An experiment for session.exp to stop: the first run ends, the second never does.
local wattle = require "wattle"
wattle.experiment {
  name = "stopped", out = arg[1], factors = { n = { 1, 2 } }, seed_order = 1, meter = { source = "off" }, progress = false,
  run = function(case)
    if wattle.core.exists(arg[1] .. "/first") then
      io.stderr:write "in the second\n"
      while true do wattle.core.sleep(0.01) end
    end
    wattle.core.write_file(arg[1] .. "/first", "")
    return { loss = 0.5 }
  end,
}
