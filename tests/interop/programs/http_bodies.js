// Node's http client, which reads only behind the end of a body, and its fetch: http_bodies.js URL LENGTH...
const http = require('node:http')
const { randomBytes } = require('node:crypto')

const [url, ...lengths] = process.argv.slice(2)
const PIECE = 100_000

function* pieces(body) {
  for (let at = 0; at < body.length; at += PIECE) yield body.subarray(at, at + PIECE)
}

const post = (body, inChunks) => new Promise((resolve, reject) => {
  const request = http.request(url, { method: 'POST', timeout: 60_000 })
  request.on('timeout', () => request.destroy(new Error('nothing for 60 s')))
  request.on('error', reject)
  const answer = new Promise(resolve => request.on('response', resolve))
  request.on('finish', async () => {
    const response = await answer
    const back = []
    response.on('data', piece => back.push(piece))
    response.on('error', reject)
    response.on('end', () => resolve([response.statusCode, Buffer.concat(back)]))
  })
  if (!inChunks) return request.end(body)
  const rest = pieces(body)
  const write = () => {
    for (const piece of rest) if (!request.write(piece)) return request.once('drain', write)
    request.end()
  }
  // `for … of` ends a generator that it leaves early; this one goes on.
  rest.return = undefined
  write()
})

const fetched = async body => {
  const response = await fetch(url, { method: 'POST', body, duplex: 'half' })
  return [response.status, Buffer.from(await response.arrayBuffer())]
}

const main = async () => {
  let echoed = 0
  for (const length of lengths.map(Number)) {
    const body = randomBytes(length)
    const ways = {
      'http': () => post(body, false),
      'http in chunks': () => post(body, true),
      'fetch': () => fetched(body),
      'fetch in chunks': () => fetched(new Blob([...pieces(body)]).stream()),
    }
    for (const [name, way] of Object.entries(ways)) {
      const [status, back] = await way()
      if (status !== 200 || !body.equals(back)) {
        throw new Error(`${name} of ${length} bytes: status ${status}, ${back.length} bytes back`)
      }
      echoed += 1
    }
  }
  console.log(`${echoed} bodies`)
}
main().catch(error => {
  console.error(error)
  process.exit(1)
})
