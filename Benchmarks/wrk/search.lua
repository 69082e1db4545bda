-- POST of one of the bodies in the file BENCH_BODIES, at random, to BENCH_PATH.
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
    for index, body in ipairs(common.lines("BENCH_BODIES")) do
        texts[index] = wrk.format("POST", os.getenv("BENCH_PATH"), nil, body)
    end
end

function request() return texts[math.random(#texts)] end

done = common.done
