-- One kind of act for wrk, named by BENCH_ACT: hello, creates or lifecycles.
--
-- A lifecycle is create, next and complete. wrk asks for a request whenever one of a
-- thread's connections is free, without saying which. So what an answer calls for is
-- queued, and goes out on the connection that is free next: of 32 connections, 32 acts
-- are always under way, as many of each of the three kinds.

local act = os.getenv("BENCH_ACT")
local headers = { ["X-Name"] = "bench", ["X-Queue"] = "bench" }
local json = { ["Content-Type"] = "application/json" }
for name, value in pairs(headers) do json[name] = value end

local create, take
local owed, first, last = {}, 1, 0

local function owe(request)
  last = last + 1
  owed[last] = request
end

function init(_)
  local body = '{"content":{"pad":"' .. string.rep("x", 190) .. '"},'
    .. '"valid_for":86400,"priority":50}'
  create = wrk.format("PUT", "/api/v1/jobs/create", json, body)
  take = wrk.format("GET", "/api/v1/jobs/next", headers)
  complete = wrk.format("POST", "/api/v1/jobs/UID", json, '{"status":"complete"}')
  if act == "hello" then create = wrk.format("GET", "/", {}) end
end

function request()
  if first > last then return create end
  local due = owed[first]
  owed[first] = nil
  first = first + 1
  return due
end

if act == "lifecycles" then
  function response(status, _, body)
    if status == 201 then
      owe(take)
    elseif #body > 0 then
      local uid = body:match('"uid":"([^"]+)"')
      owe((complete:gsub("UID", uid, 1)))
    end
  end
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format("bench %d %d %d %d %d %d\n", summary.requests,
    summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
