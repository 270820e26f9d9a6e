// gRPC's own client for Node.js: grpc.js PORT COMPRESSION COUNT, where COMPRESSION is identity or gzip. The daemon gets the
// messages as they are inside their HTTP/2 stream: Node.js's own HTTP/2 server hands the bytes of one call on, both ways.
const assert = require('assert')
const http2 = require('http2')
const net = require('net')
const crypto = require('crypto')
const grpc = require('@grpc/grpc-js')

const [port, compression] = process.argv.slice(2)
const count = Number(process.argv[4])
// A client takes 4 MiB, unless told otherwise; what is random grows when it is compressed.
const most = compression === 'gzip' ? 4_000_000 : 4 << 20
const messages = Array.from({ length: count }, (_, i) =>
  crypto.randomBytes([0, most][i] ?? crypto.randomInt(i % 10 ? 2_000 : 200_000)))

const relay = http2.createServer()
relay.on('stream', stream => {
  stream.respond({
    ':status': 200, 'content-type': 'application/grpc', 'grpc-encoding': compression
  }, { waitForTrailers: true })
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
  // The head's first byte says whether the message is compressed.
  stream.once('data', bytes => assert.equal(bytes[0], compression === 'gzip' ? 1 : 0))
  const daemon = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  stream.pipe(daemon).pipe(stream)
})

relay.listen(0, '127.0.0.1', () => {
  const target = `127.0.0.1:${relay.address().port}`
  const client = new grpc.Client(target, grpc.credentials.createInsecure(), {
    'grpc.default_compression_algorithm': grpc.compressionAlgorithms[compression],
    'grpc.enable_http_proxy': 0
  })
  const same = bytes => bytes
  const call = client.makeBidiStreamRequest('/resound.Echo/Frames', same, same)
  let back = 0
  call.on('data', message => {
    if (back === count || !message.equals(messages[back])) {
      console.log(`message ${back} came back changed`)
      process.exit(1)
    }
    back++
  })
  call.on('error', error => {
    console.log(`after ${back} messages: ${error}`)
    process.exit(1)
  })
  call.on('status', () => {
    console.log(`${back} frames`)
    client.close()
    relay.close()
  })
  messages.forEach(message => call.write(message))
  call.end()
})
