// Chromium's own native messaging: what the host sends back is compared with what was sent to it.
const report = text => fetch('REPORT_URL', { method: 'POST', body: text })
const random = most => Math.floor(Math.random() * most)
const text = length => Array.from({ length }, () => 'é€𝄞x"\\\n <'[random(10)]).join('').toWellFormed()

// The largest that Chromium takes: 1 MiB with the quotes.
const first = [0, '', {}, null, 'x'.repeat(2 ** 20 - 2)]
const messages = Array.from({ length: 400 }, (_, i) =>
  i < first.length ? first[i] : i % 2 ? text(random(i % 25 ? 5000 : 100000)) : { i, text: text(random(500)), list: [i, true, null] })

const port = chrome.runtime.connectNative('resound')
let back = 0
port.onMessage.addListener(message => {
  if (JSON.stringify(message) !== JSON.stringify(messages[back])) {
    report(`message ${back} came back changed`)
    port.disconnect()
  } else if (++back === messages.length) {
    report(`${back} frames`)
    port.disconnect()
  }
})
port.onDisconnect.addListener(() => report(`after ${back} messages: ${chrome.runtime.lastError?.message}`))
messages.forEach(message => port.postMessage(message))
