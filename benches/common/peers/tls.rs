//! Servers of TLS that look at no byte inside it: they echo all, or pass it on to `bare-c`.

use super::{Peer, Protocol, Source, go};

const TLS: &[Protocol] = &[Protocol::Tls];

/// The files with the certificate and its key, as words of a command.
const FILES: &[&str] = &["{certificate}", "{key}"];

/// The same, and the server without TLS to which the bytes are passed on.
const FILES_AND_ECHO: &[&str] = &["{certificate}", "{key}", "{bare-c}"];

pub static ALL: [Peer; 4] = [
    Peer::new("tokio-rustls", "no parsing", TLS, Source::Rust("tokio_rustls")).with(FILES),
    Peer::new(
        "go-tls",
        "crypto/tls, a goroutine per connection, reads of 16 KiB, no parsing",
        TLS,
        go("tls", FILES),
    )
    .with(&["16384"]),
    Peer::new(
        "nginx-tls",
        "stream with ssl, in front of bare-c",
        TLS,
        Source::Script {
            file: "nginx/tls.sh",
            needs: &["/usr/sbin/nginx", "/usr/lib/nginx/modules/ngx_stream_module.so"],
        },
    )
    .with(FILES_AND_ECHO),
    Peer::new(
        "haproxy-tls",
        "mode tcp with ssl, in front of bare-c",
        TLS,
        Source::Script { file: "haproxy/tls.sh", needs: &["/usr/sbin/haproxy"] },
    )
    .with(FILES_AND_ECHO),
];
