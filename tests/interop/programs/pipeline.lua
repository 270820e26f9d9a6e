-- Sixteen requests at a time, some with a body, some of those in chunks.
local all

-- Not before init does wrk know the host.
function init()
  local requests = {}
  for i = 1, 16 do
    local body = string.rep("x", i * 100)
    if i % 4 == 0 then
      requests[i] = wrk.format("POST", "/post", nil, body)
    elseif i % 4 == 1 then
      wrk.headers["Transfer-Encoding"] = "chunked"
      requests[i] = wrk.format("PUT", "/put") .. string.format("%x\r\n%s\r\n0\r\n\r\n", #body, body)
      wrk.headers["Transfer-Encoding"] = nil
    else
      requests[i] = wrk.format("GET", "/get/" .. i)
    end
  end
  all = table.concat(requests)
end

function request()
  return all
end
