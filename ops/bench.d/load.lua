-- One kind of request for wrk, from the environment; its results as JSON.

local function headers()
    return {
        ["X-Parse-Application-Id"] = os.getenv("LOAD_APP_ID"),
        ["X-Parse-REST-API-Key"] = os.getenv("LOAD_REST_KEY"),
        ["Content-Type"] = "application/json",
    }
end

wrk.method = os.getenv("LOAD_METHOD")
wrk.headers = headers()
if wrk.method == "POST" then
    wrk.body = os.getenv("LOAD_BODY")
end

local requests = {}

-- One path a line; each request takes one at random.
function init()
    math.randomseed(1)
    for path in io.lines(os.getenv("LOAD_PATHS")) do
        requests[#requests + 1] = wrk.format(nil, path)
    end
end

function request()
    return requests[math.random(#requests)]
end

function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        '\n{"requests":%d,"seconds":%.6f,"p50":%.3f,"p99":%.3f,"errors":%d}\n',
        summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
