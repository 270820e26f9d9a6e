// npm's ws: websocket.js URL COUNT BANNER [deflate]
const crypto = require('crypto')
const WebSocket = require('ws')

const [url, count, banner, deflate] = process.argv.slice(2)
const fail = why => {
  console.log(why)
  process.exit(1)
}

// Every kind: text, bytes, none, long, in fragments, and two of 10 MB and more.
const messages = Array.from({ length: Number(count) }, (_, i) => {
  const length = [0, 1, 125, 126, 65_535, 65_536, 5_000_000, 10_000_000][i] ?? crypto.randomInt(5_000)
  return i % 2 ? crypto.randomBytes(length) : 'é€𝄞x'.repeat(length / 4)
})

function exchange () {
  // Messages of 100 bytes and more are compressed.
  const perMessageDeflate = deflate ? { threshold: 100 } : false
  const socket = new WebSocket(url, { perMessageDeflate })
  let back = -1
  let pongs = 0
  socket.on('open', () => messages.forEach((message, i) => {
    if (Boolean(deflate) !== socket.extensions.startsWith('permessage-deflate')) {
      fail(`agreed on "${socket.extensions}"`)
    }
    if (i % 5 || message.length < 9) {
      socket.send(message)
      return
    }
    // Cut inside of characters too, as may be.
    const binary = typeof message !== 'string'
    const bytes = Buffer.from(message)
    const cut = Math.floor(bytes.length / 3)
    socket.send(bytes.subarray(0, cut), { binary, fin: false })
    socket.ping(String(i))
    socket.send(bytes.subarray(cut, 2 * cut), { binary, fin: false })
    socket.send(bytes.subarray(2 * cut), { binary, fin: true })
  }))
  socket.on('pong', () => pongs++)
  socket.on('message', (data, isBinary) => {
    const expected = back < 0 ? banner : messages[back]
    if (isBinary !== (typeof expected !== 'string') || !data.equals(Buffer.from(expected))) {
      fail(`message ${back} came back changed`)
    }
    if (++back === messages.length) socket.close(4321, 'enough')
  })
  socket.on('close', (code) => {
    if (code !== 4321) fail(`closed with ${code}`)
    if (!pongs) fail('no pong came')
    refuse()
  })
}

// Text that is not UTF-8 is refused with 1007.
function refuse () {
  const socket = new WebSocket(url)
  socket.on('open', () => socket.send(Buffer.from([0xc3, 0x28]), { binary: false }))
  socket.on('close', (code) => {
    if (code !== 1007) fail(`closed with ${code}, not 1007`)
    console.log(`${messages.length} messages`)
  })
}

exchange()
