//! The opening handshake: by the book, and with one thing changed.

use std::time::UNIX_EPOCH;

use resound::protocol::{Next, websocket::WebSocket};

use crate::drive::{cut, drive};

/// The handshake of RFC 6455, section 1.3, but for what it offers.
pub(crate) const HANDSHAKE: &str = "GET /chat HTTP/1.1\r\n\
    Host: server.example.com\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\
    \r\n";

pub(crate) const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
    \r\n";

/// Handshakes with one thing changed, and what they get.
#[test]
fn handshakes_by_the_book_and_not() {
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let lines = |from: &str, to: &str| {
        assert!(HANDSHAKE.contains(from));
        HANDSHAKE.replacen(from, to, 1)
    };
    let version = "\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
    for (sent, status, field) in [
        (HANDSHAKE.into(), "101 Switching Protocols", ""),
        (lines("Upgrade: websocket", "UPGRADE: h2c, WebSocket"), "101 Switching Protocols", ""),
        (lines("on: Upgrade", "on: keep-alive, upgrade"), "101 Switching Protocols", ""),
        (lines("Host", "Content-Length: 0\r\nHost"), "101 Switching Protocols", ""),
        (
            lines("Host", "Sec-WebSocket-Extensions: permessage-deflate\r\nHost"),
            "101 Switching Protocols",
            "",
        ),
        (lines("Host", "Origin: https://elsewhere\r\nHost"), "101 Switching Protocols", ""),
        (
            lines("Host", "Sec-WebSocket-Protocol: chat, superchat\r\nHost"),
            "101 Switching Protocols",
            "\r\nSec-WebSocket-Protocol: chat\r\n",
        ),
        (lines("Host", "Sec-WebSocket-Protocol: a b\r\nHost"), "400 Bad Request", ""),
        (lines("Host", "Sec-WebSocket-Protocol:\r\nHost"), "400 Bad Request", ""),
        (lines("GET", "POST"), "405 Method Not Allowed", "\r\nAllow: GET\r\n"),
        (lines("HTTP/1.1", "HTTP/1.0"), "400 Bad Request", ""),
        (lines("HTTP/1.1", "HTTP/2.0"), "505 HTTP Version Not Supported", ""),
        (lines("Host: server.example.com\r\n", ""), "400 Bad Request", ""),
        (lines("Host", "Host: other\r\nHost"), "400 Bad Request", ""),
        (lines("server.example.com", "a b"), "400 Bad Request", ""),
        (lines("Upgrade: websocket\r\n", ""), "426 Upgrade Required", version),
        (lines("Upgrade: websocket", "Upgrade: websockets"), "426 Upgrade Required", version),
        (lines("Connection: Upgrade\r\n", ""), "426 Upgrade Required", version),
        (lines("on: Upgrade", "on: close"), "426 Upgrade Required", version),
        (lines("on: 13", "on: 8"), "426 Upgrade Required", version),
        (lines("Sec-WebSocket-Version: 13\r\n", ""), "426 Upgrade Required", version),
        (lines("on: 13", "on: 13\r\nSec-WebSocket-Version: 8"), "426 Upgrade Required", version),
        (lines(&format!("{key}\r\n"), ""), "400 Bad Request", ""),
        (lines(key, &format!("{key}\r\n{key}")), "400 Bad Request", ""),
        (lines("Key: d", "Key: "), "400 Bad Request", ""),
        (lines("ZQ==", "ZQ=="), "101 Switching Protocols", ""),
        (lines("ZQ==", "ZQAA"), "400 Bad Request", ""),
        (lines("ZQ==", "Z==="), "400 Bad Request", ""),
        (lines("ZQ==", "ZQ"), "400 Bad Request", ""),
        (lines("Key: d", "Key: *"), "400 Bad Request", ""),
        (lines("==", "==dGhlIHNhbXBsZSBub25jZQ=="), "400 Bad Request", ""),
        (lines("Host", "Content-Length: 5\r\nHost"), "400 Bad Request", ""),
        (lines("Host", "Transfer-Encoding: chunked\r\nHost"), "400 Bad Request", ""),
        (lines("Host", "Folded: a\r\n b\r\nHost"), "400 Bad Request", ""),
        ("\x16\x03\x01\x02\x00\x01".into(), "400 Bad Request", ""),
        (lines("/chat", &"/".repeat(20_000)), "414 URI Too Long", ""),
        (
            lines("Host", &format!("Long: {}\r\nHost", "a".repeat(20_000))),
            "431 Request Header Fields Too Large",
            "",
        ),
        (
            lines("Host", &format!("{}Host", "a:\r\n".repeat(100))),
            "431 Request Header Fields Too Large",
            "",
        ),
    ] {
        let web_socket = || WebSocket::default().clocked(|| UNIX_EPOCH);
        let driven = drive(&mut web_socket(), 1 << 20, [sent.as_bytes()]);
        let got = String::from_utf8(driven.sent).unwrap();
        assert!(got.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{sent}: {got}");
        assert!(got.contains(field), "{got}");
        assert!(!got.contains("Extensions"));
        let refused = !status.starts_with("101");
        assert_eq!(matches!(driven.end, Some(Next::Refuse(_))), refused);
        assert_eq!(got.contains("\r\nConnection: close\r\n"), refused);
        let date = "\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n";
        assert_eq!(got.contains(date), refused, "{got}");
        for at in (1..sent.len()).step_by(sent.len().div_ceil(500)) {
            let driven = drive(&mut web_socket(), 1 << 20, cut(sent.as_bytes(), &[at]));
            assert_eq!(String::from_utf8(driven.sent).unwrap(), got);
        }
    }
}
