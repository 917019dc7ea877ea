-- wrk: post signed notifications, each once, and print the figures as one line of JSON.
-- Arguments: a file with a signature and a body on two lines for each.

local requests, last = {}, 0

function init(args)
   local lines = io.lines(args[1])
   for signature in lines do
      local headers = {
         ["X-DI-Signature"] = signature,
         ["Content-Type"] = "application/json",
         ["Connection"] = "close", -- the sender makes a connection for each
      }
      requests[#requests + 1] = wrk.format("POST", nil, headers, lines())
   end
end

function request()
   last = last % #requests + 1
   return requests[last]
end

function done(summary, latency)
   local errors = summary.errors
   print(string.format(
      '{"requests": %d, "seconds": %.6f, "p50_ms": %.3f, "p99_ms": %.3f, "max_ms": %.3f, "failed": %d}',
      summary.requests, summary.duration / 1e6,
      latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3,
      errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
