-- Sends the one request of BENCH_PATH, BENCH_BODY and BENCH_BEARER again and again, looks at every answer, and prints what came of it as one line of JSON.
wrk.method = "POST"
wrk.path = os.getenv("BENCH_PATH")
wrk.body = os.getenv("BENCH_BODY")
wrk.headers["Content-Type"] = "application/json"
if os.getenv("BENCH_BEARER") ~= "" then
  wrk.headers["Authorization"] = "Bearer " .. os.getenv("BENCH_BEARER")
end

local expected = os.getenv("BENCH_ANSWER")
local threads = {}
wrong = 0

function setup(thread) table.insert(threads, thread) end

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
