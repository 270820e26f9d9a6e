// npm's own: frames.js PORT PACKAGE COUNT [WIDTH], where PACKAGE is frame-stream or length-prefixed-stream.
const net = require('net')
const crypto = require('crypto')

const [port, name, count, width] = process.argv.slice(2)
const library = require(name)
const options = width ? { lengthSize: Number(width) } : {}
// What frame-stream writes is signed: readInt8, readInt16BE, readInt32BE.
const most = width ? Math.min(2 ** (8 * width - 1) - 1, 200_000) : 200_000
const frames = Array.from({ length: Number(count) }, (_, i) =>
  crypto.randomBytes(i === 0 ? most : crypto.randomInt(1, most + 1)))

const socket = net.connect(port, '127.0.0.1')
const encode = library.encode(options)
const decode = library.decode(options)
encode.pipe(socket).pipe(decode)
frames.forEach(frame => encode.write(frame))

let back = 0
decode.on('data', frame => {
  if (!frame.equals(frames[back])) {
    console.log(`frame ${back} came back changed`)
    process.exit(1)
  }
  if (++back === frames.length) {
    console.log(`${back} frames`)
    socket.destroy()
  }
})
