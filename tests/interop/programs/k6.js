// One request of each kind and one WebSocket message an iteration; URL and WS_URL say where.
import http from 'k6/http'
import ws from 'k6/ws'
import { check } from 'k6'

export const options = { thresholds: { checks: ['rate==1'] } }

export default function () {
  const got = http.get(`${__ENV.URL}/path`)
  check(got, { greeted: (r) => r.body === "Hello, you've requested: /path\n" })
  const body = 'x'.repeat(1 + ((__ITER * 997) % 50000))
  const posted = http.post(`${__ENV.URL}/`, body)
  check(posted, { echoed: (r) => r.status === 200 && r.body === body })
  let back
  ws.connect(__ENV.WS_URL, null, (socket) => {
    socket.on('open', () => socket.send(body))
    socket.on('message', (message) => {
      back = message
      socket.close()
    })
  })
  check(back, { 'echoed over WebSocket': (message) => message === body })
}
