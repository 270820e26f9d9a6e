// npm's ws as a server that echoes, for a load that starts it
const WebSocket = require('ws')

const server = new WebSocket.Server({ host: '127.0.0.1', port: 0 }, () => {
  console.log(`listening on ws://127.0.0.1:${server.address().port}`)
})
server.on('connection', socket => {
  socket.on('error', () => {})
  socket.on('message', (message, isBinary) => socket.send(message, { binary: isBinary }))
})
