// Node's tls: tls.js PORT CA VERSION COUNT, where VERSION is 1.2 or 1.3.
const tls = require('tls')
const fs = require('fs')
const crypto = require('crypto')

const [port, ca, version, count] = process.argv.slice(2)
const sizes = [0, 1, 16 << 10, (16 << 10) + 1, 1 << 20]

function frames(count) {
  return Buffer.concat(Array.from({ length: count }, (_, i) => {
    const payload = crypto.randomBytes(sizes[i] ?? crypto.randomInt(40_000))
    const head = Buffer.alloc(4)
    head.writeUInt32LE(payload.length)
    return Buffer.concat([head, payload])
  }))
}

function fail(why) {
  console.log(why)
  process.exit(1)
}

// Calls next with the session's ticket when all came back and the server has closed.
function exchange(count, session, next) {
  const sent = frames(count)
  const back = []
  let ticket
  const socket = tls.connect({
    port,
    host: '127.0.0.1',
    servername: 'localhost',
    ca: fs.readFileSync(ca),
    maxVersion: 'TLSv' + version,
    allowHalfOpen: true,
    session,
  })
  socket.on('session', session => { ticket = session })
  socket.on('data', piece => back.push(piece))
  socket.on('error', error => fail(error.stack))
  socket.on('secureConnect', () => {
    if (socket.isSessionReused() !== Boolean(session)) fail(`resumed: ${socket.isSessionReused()}`)
    socket.end(sent) // then close_notify and FIN
  })
  socket.on('close', () => {
    const all = Buffer.concat(back)
    if (!all.equals(sent)) fail(`${all.length} of ${sent.length} bytes came back as they went`)
    next(ticket)
  })
}

exchange(count - 5, undefined, ticket =>
  exchange(5, ticket, () => console.log(`${count} frames`)))
