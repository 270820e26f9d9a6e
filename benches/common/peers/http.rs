//! Servers of HTTP/1.1 that answer with the body of the request.

use super::{Peer, Protocol, Source, go};

const HTTP: &[Protocol] = &[Protocol::Http];

pub static ALL: [Peer; 3] = [
    Peer::new(
        "nginx-http",
        "its module echo, answers in chunks",
        HTTP,
        Source::Script {
            file: "nginx/http.sh",
            needs: &["/usr/sbin/nginx", "/usr/lib/nginx/modules/ngx_http_echo_module.so"],
        },
    ),
    Peer::new("hyper", "one thread, pipelined answers flushed once", HTTP, Source::Rust("hyper")),
    Peer::new("go-http", "net/http", HTTP, go("http", &[])),
];
