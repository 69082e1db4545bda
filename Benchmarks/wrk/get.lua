-- GET of one path: BENCH_PATH.
package.path = os.getenv("BENCH_LUA") .. "/?.lua;" .. package.path
local common = require("common")

local text

function init()
    common.headers()
    text = wrk.format("GET", os.getenv("BENCH_PATH"))
end

function request() return text end

done = common.done
