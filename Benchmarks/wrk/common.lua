-- What the scripts share. They are told what to send by environment variables, and end with one line of JSON.
local common = {}

function common.headers()
    wrk.headers["Authorization"] = "Bearer " .. os.getenv("BENCH_TOKEN")
    wrk.headers["Content-Type"] = "application/json"
end

-- Different for each thread and run, so that the threads do not walk in step.
function common.seed(thread)
    math.randomseed(os.time() * 7919 + thread * 104729)
    for _ = 1, 10 do math.random() end
end

function common.lines(name)
    local lines = {}
    for line in io.lines(os.getenv(name)) do lines[#lines + 1] = line end
    return lines
end

function common.done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        '\nBENCH {"requests": %d, "seconds": %.6f, "p50": %.4f, "p99": %.4f, "max": %.4f, "refused": %d, "broken": %d}\n',
        summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
        latency.max / 1e3, errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end

return common
