-- The load: wrk posts the same body repeatedly over keep-alive connections and prints one line of JSON.
--
--   wrk -t1 -c8 -d4s --timeout 300s -s load.lua http://127.0.0.1:8000 -- BODY_FILE CONTENT_TYPE PATH [PATH ...]
--
-- If there are several paths, requests take them in turn.

local requests, turn = {}, 0

function init(arguments)
  local file = assert(io.open(arguments[1], "rb"))
  local body = file:read("*a")
  file:close()
  for index = 3, #arguments do
    requests[#requests + 1] = wrk.format("POST", arguments[index], { ["Content-Type"] = arguments[2] }, body)
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"per_second": %.3f, "p50_ms": %.3f, "p99_ms": %.3f, "max_ms": %.3f, "requests": %d, "not_2xx": %d, ' ..
    '"socket_errors": %d, "timeouts": %d}\n',
    summary.requests / summary.duration * 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    latency.max / 1000, summary.requests, errors.status, errors.connect + errors.read + errors.write, errors.timeout))
end
