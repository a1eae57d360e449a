-- wrk: heartbeat polls as a form over kept connections. BODY is the form, REPORT the file for the result, in the form of
-- `loadgen poll --json`; TITLE and LABEL name its place in the table.
wrk.method = "POST"
wrk.body = os.getenv("BODY")
wrk.headers["Content-Type"] = "application/x-www-form-urlencoded; charset=UTF-8"

function done(summary, latency, requests)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  local report = assert(io.open(os.getenv("REPORT"), "w"))
  report:write(string.format(
    '{"scenario":"poll","title":"%s","label":"%s","connections":%d,"requests":%d,' ..
    '"requests_per_second":%.1f,"failed":%d,"p50_us":%d,"p99_us":%d}\n',
    os.getenv("TITLE"), os.getenv("LABEL"), tonumber(os.getenv("CONNECTIONS")), summary.requests,
    summary.requests / summary.duration * 1e6, failed, latency:percentile(50), latency:percentile(99)))
  report:close()
end
