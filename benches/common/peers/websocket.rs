//! Servers of WebSocket that send each message back.

use super::{Library, Peer, Protocol, Source, c_with};

const WS: &[Protocol] = &[Protocol::WebSocket];

pub static ALL: [Peer; 5] = [
    Peer::new(
        "uws",
        "uWebSockets in C, corked",
        WS,
        Source::C { file: "uws", flags: &[], needs: Library::Socketify },
    ),
    Peer::new(
        "lws",
        "libwebsockets, a write when it says so",
        WS,
        c_with("lws", "libwebsockets.h", "websockets"),
    ),
    Peer::new("tungstenite", "tokio, feed all, flush once", WS, Source::Rust("tungstenite")),
    Peer::new(
        "gorilla",
        "Go, a goroutine per connection",
        WS,
        Source::Go {
            name: "gorilla",
            package: Some("github.com/gorilla/websocket"),
            arguments: &[],
        },
    ),
    Peer::new(
        "picows",
        "Python on uvloop",
        WS,
        Source::Python { file: "picows_echo.py", modules: "picows, uvloop" },
    ),
];
