-- POST of a body, BENCH_BODY, to one of the paths in the file BENCH_PATHS, at random.
package.path = os.getenv("BENCH_LUA") .. "/?.lua;" .. package.path
local common = require("common")

local number = 0
local texts = {}

function setup(thread)
    number = number + 1
    thread:set("thread_number", number)
end

function init()
    common.headers()
    common.seed(thread_number)
    local body = os.getenv("BENCH_BODY")
    for index, path in ipairs(common.lines("BENCH_PATHS")) do
        texts[index] = wrk.format("POST", path, nil, body)
    end
end

function request() return texts[math.random(#texts)] end

done = common.done
