-- Sends the requests of the file BENCH_CALLS in turn, looks at every answer, and prints what came of it as one line of JSON.
-- A line of the file is PATH TAB JWT TAB BODY. The requests are built once, before wrk's clock starts.
-- They differ near their ends: see bench/calls.go.
local expected = os.getenv("BENCH_ANSWER")
local threads, requests, at = {}, {}, 0
wrong = 0

function setup(thread) table.insert(threads, thread) end

function init()
  for line in io.lines(os.getenv("BENCH_CALLS")) do
    local path, jwt, body = line:match("^(.-)\t(.-)\t(.*)$")
    requests[#requests + 1] = wrk.format("POST", path, { ["Authorization"] = "Bearer " .. jwt, ["Content-Type"] = "application/json" }, body)
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function response(status, headers, body)
  if status ~= 200 or body ~= expected then wrong = wrong + 1 end
end

function done(summary, latency, requests)
  local bad = 0
  for _, thread in ipairs(threads) do bad = bad + thread:get("wrong") end
  local e = summary.errors
  io.write(string.format('{"requests":%d,"micros":%d,"p50":%d,"p99":%d,"wrong":%d,"broken":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), bad, e.connect + e.read + e.write + e.timeout))
end
