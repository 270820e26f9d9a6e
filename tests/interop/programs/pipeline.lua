-- Sixteen requests at a time, some with a body, some of those in chunks.
local requests = {}
for i = 1, 16 do
  local body = string.rep("x", i * 100)
  if i % 4 == 0 then
    requests[i] = wrk.format("POST", "/post", nil, body)
  elseif i % 4 == 1 then
    requests[i] = wrk.format("PUT", "/put", { ["Transfer-Encoding"] = "chunked" })
      .. string.format("%x\r\n%s\r\n0\r\n\r\n", #body, body)
  else
    requests[i] = wrk.format("GET", "/get/" .. i)
  end
end
local all = table.concat(requests)

function request()
  return all
end
