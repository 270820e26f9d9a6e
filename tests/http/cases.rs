//! What is sent to an HTTP server, and what is to come back.

/// A request of HTTP/1.1 with the Host that it must have, these other fields, and this behind its
/// head.
pub(crate) fn request(line: &str, fields: &str, body: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: h\r\n{fields}\r\n{body}")
}

pub(crate) fn get(target: &str) -> String {
    request(&format!("GET {target}"), "", "")
}

/// A `POST` in chunks.
pub(crate) fn post_chunks(chunks: &str) -> String {
    request("POST /", "Transfer-Encoding: chunked\r\n", chunks)
}

/// The fields behind all others.
pub(crate) const LAST: &str = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
    Access-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: *\r\n\r\n";

fn ok(content_type: &str, framing: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n{framing}\r\n{LAST}{body}")
}

pub(crate) fn hello(path: &str) -> String {
    let text = format!("Hello, you've requested: {path}\n");
    ok("text/plain; charset=utf-8", &format!("Content-Length: {}", text.len()), &text)
}

pub(crate) fn echo(body: &str) -> String {
    ok("application/octet-stream", &format!("Content-Length: {}", body.len()), body)
}

/// The answer to chunks that stream in.
pub(crate) fn echo_chunks(chunks: &str) -> String {
    ok("application/octet-stream", "Transfer-Encoding: chunked", chunks)
}

/// `reply` with one more field.
pub(crate) fn with(field: &str, reply: &str) -> String {
    reply.replacen("\r\nDate: ", &format!("\r\n{field}\r\nDate: "), 1)
}

/// `reply` without its body.
pub(crate) fn head(reply: &str) -> String {
    reply.split_inclusive("\r\n\r\n").take(1).collect()
}

/// Conversations that go well: what is sent, what comes back, how many requests it was, whether the
/// server closes.
pub(crate) fn conversations() -> Vec<(String, String, u64, bool)> {
    let close = |reply: &str| with("Connection: close", reply);
    let not_allowed = |status: &str| {
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 45\r\n\
             Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n{LAST}\
             GET and HEAD are greeted; bodies are echoed.\n"
        )
    };
    let preflight = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 0\r\n\
         Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n\
         Access-Control-Allow-Methods: *\r\nAccess-Control-Allow-Headers: *, Authorization\r\n\
         Access-Control-Max-Age: 86400\r\n{LAST}"
    );
    let ok = "HTTP/1.1 100 Continue\r\n\r\n".to_owned();
    let stays = vec![
        // The greeting.
        (get("/path"), hello("/path"), 1),
        ("GET / HTTP/1.1\nHost: h\n\n".into(), hello("/"), 1),
        (["\r\n\n\r\n", &get("/"), "\r\n"].concat(), hello("/"), 1),
        (get("/a/../b?c=/d?e"), hello("/a/../b"), 1),
        (get("/a%20b%2f%C3%A9"), hello("/a b/é"), 1),
        (get("http://h:80/p?q"), hello("/p"), 1),
        (get("HTTPS://h"), hello("/"), 1),
        (get("http://h?/q"), hello("/"), 1),
        ("GET / HTTP/1.1\r\nhOST: [::1]:80\r\n\r\n".into(), hello("/"), 1),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n".into(), hello("/"), 1),
        (request("HEAD /path", "", ""), head(&hello("/path")), 1),
        (
            [get("/1"), get("/2"), get("/3")].concat(),
            [hello("/1"), hello("/2"), hello("/3")].concat(),
            3,
        ),
        // A body with methods that usually have none.
        (
            request("GET /1", "Content-Length: 5\r\n", "GET /") + &get("/2"),
            echo("GET /") + &hello("/2"),
            2,
        ),
        (
            request("TRACE /1", "Content-Length: 5\r\n", "GET /") + &get("/2"),
            not_allowed("405 Method Not Allowed") + &hello("/2"),
            2,
        ),
        (
            request("HEAD /1", "Transfer-Encoding: chunked\r\n", "1\r\nx\r\n0\r\n\r\n")
                + &get("/2"),
            head(&hello("/1")) + &hello("/2"),
            2,
        ),
        // Bodies of known length.
        (request("POST /", "Content-Length: 5\r\n", "hello"), echo("hello"), 1),
        (request("POST /", "Content-Length: 0\r\n", ""), echo(""), 1),
        (request("POST /", "", "") + &request("PUT /", "", ""), echo("") + &echo(""), 2),
        (
            request("PUT /", "Content-Type: text/css; a=\"b\"\r\ncontent-length: 002\r\n", "{}"),
            echo("{}").replace("application/octet-stream", "text/css; a=\"b\""),
            1,
        ),
        (
            request("POST /", "Content-Length: 3\r\n", "one")
                + &request("POST /", "Content-Length: 4\r\n", "\r\n\r\n")
                + &get("/"),
            echo("one") + &echo("\r\n\r\n") + &hello("/"),
            3,
        ),
        // Chunks.
        (
            post_chunks("5\r\nhello\r\n00B\r\n, you there\r\n0\r\n\r\n") + &get("/"),
            echo("hello, you there") + &hello("/"),
            2,
        ),
        (post_chunks("000\r\n\r\n"), echo(""), 1),
        (
            post_chunks("1;a;b=\"c\"\r\n\n\r\n1 \t ;d\r\n\r\r\n0;e\r\nField: x\r\nOther:\r\n\r\n"),
            echo("\n\r"),
            1,
        ),
        // 100 Continue, only where there is something to wait for.
        (
            request("POST /", "Content-Length: 2\r\nExpect: 100-Continue\r\n", "ab"),
            ok.clone() + &echo("ab"),
            1,
        ),
        (
            request(
                "PUT /",
                "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n",
                "1\r\na\r\n0\r\n\r\n",
            ),
            ok.clone() + &echo("a"),
            1,
        ),
        (request("POST /", "Content-Length: 0\r\nExpect: 100-continue\r\n", ""), echo(""), 1),
        (request("GET /", "Expect: 100-continue\r\n", ""), hello("/"), 1),
        (
            request("HEAD /", "Content-Length: 1\r\nExpect: 100-continue\r\n", "x"),
            ok + &head(&hello("/")),
            1,
        ),
        // Other methods.
        (
            request("DELETE /", "", "") + &request("PATCH /", "Content-Length: 1\r\n", "x"),
            echo("") + &echo("x"),
            2,
        ),
        (
            request("DELETE /", "Content-Length: 1\r\n", "x")
                + &request("QUERY /", "Content-Length: 1\r\n", "y")
                + &request("OPTIONS /", "Content-Length: 1\r\n", "z"),
            echo("x") + &echo("y") + &echo("z"),
            3,
        ),
        (request("OPTIONS *", "", ""), preflight.clone(), 1),
        (
            request("OPTIONS /", "Origin: null\r\nAccess-Control-Request-Method: PUT\r\n", ""),
            preflight,
            1,
        ),
        (request("CONNECT h:80", "", ""), not_allowed("405 Method Not Allowed"), 1),
        (request("BREW /", "", ""), not_allowed("501 Not Implemented"), 1),
        (request("get /", "", ""), not_allowed("501 Not Implemented"), 1),
    ];
    let closes = vec![
        (request("GET /", "Connection: close\r\n", "GET / HTTP/1.1\r\n"), close(&hello("/")), 1),
        (request("GET /", "Connection: x,\t CLOSE\r\n", ""), close(&hello("/")), 1),
        ("GET / HTTP/1.0\r\n\r\n".into(), close(&hello("/")), 1),
        (
            "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\nHEAD / HTTP/1.0\r\nHost: h\r\n\r\n"
                .into(),
            with("Connection: keep-alive", &hello("/")) + &head(&close(&hello("/"))),
            2,
        ),
        (
            "POST / HTTP/1.0\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nabc".into(),
            close(&echo("ab")),
            1,
        ),
        (
            post_chunks("1\r\na\r\n0\r\n\r\nb").replace("Host", "Connection: close\r\nHost"),
            close(&echo("a")),
            1,
        ),
        (
            request("HEAD /", "Connection: close\r\nContent-Length: 2\r\n", "abc"),
            close(&head(&hello("/"))),
            1,
        ),
    ];
    let stays = stays.into_iter().map(|(sent, got, requests)| (sent, got, requests, false));
    let closes = closes.into_iter().map(|(sent, got, requests)| (sent, got, requests, true));
    stays.chain(closes).collect()
}

/// Requests that are refused, and the status they are refused with.
pub(crate) fn refused() -> Vec<(&'static str, Vec<u8>)> {
    let fields = |fields: &str| request("POST /", fields, "0\r\n\r\n").into_bytes();
    let chunks = |chunks: &str| post_chunks(chunks).into_bytes();
    let bytes = |bytes: &[u8]| bytes.to_vec();
    let mut cases = vec![
        // Not HTTP.
        (400, bytes(b"\x16\x03\x01\x02\x00\x01")),
        (400, bytes(b"\x00\x00\x00\x05hello")),
        (400, bytes(b"\rx")),
        (400, bytes(b"\r\n\r\rGET / HTTP/1.1\r\nHost: h\r\n\r\n")),
        (400, bytes(b"hello\n")),
        (400, bytes(b"GET\r\n")),
        (400, bytes(b"GET /\r\n")),
        (400, bytes(b"GET / FTP/1.1\r\n")),
        (400, bytes(b"GET / /HTTP/2.0x\r\n")),
        (505, bytes(b"GET / HTTP/2.0\r\n")),
        (505, bytes(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")),
        // Targets.
        (400, get("path").into_bytes()),
        (400, get("*").into_bytes()),
        (400, get("ftp://h/").into_bytes()),
        (400, get("/%").into_bytes()),
        (400, get("/a%2").into_bytes()),
        (400, get("/a%2G").into_bytes()),
        (400, get("/%%41").into_bytes()),
        // Fields.
        (400, bytes(b"GET / HTTP/1.1\r\n\r\n")),
        (400, request("GET /", "Host: h\r\n", "").into_bytes()),
        (400, bytes(b"GET / HTTP/1.0\r\nHost: h\r\nHost: h\r\n\r\n")),
        (400, bytes(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n")),
        (400, bytes(b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n")),
        (400, fields("Folded: a\r\n b\r\n")),
        (400, fields(" Folded: a\r\n")),
        (400, fields("Name : a\r\n")),
        (400, fields("Na me: a\r\n")),
        (400, fields(": a\r\n")),
        (400, fields("Name\r\n")),
        (400, fields("Name: a\0b\r\n")),
        (400, fields("Name: a\rb\r\n")),
        (417, fields("Expect: tea\r\n")),
        (400, fields("Expect: 100-continue\r\nExpect: 100-continue\r\n")),
        (400, fields("Content-Type: a\r\nContent-Type: b\r\n")),
        // How the body is delimited.
        (400, fields("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")),
        (400, fields("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n")),
        (400, fields("Content-Length: 5\r\nContent-Length: 6\r\n")),
        (400, fields("Content-Length: 5\r\nContent-Length: 5\r\n")),
        (400, fields("Content-Length: 5, 5\r\n")),
        (400, fields("Content-Length:\r\n")),
        (400, fields("Content-Length: +5\r\n")),
        (400, fields("Content-Length: -5\r\n")),
        (400, fields("Content-Length: 0x5\r\n")),
        (400, fields("Content-Length: 5 5\r\n")),
        (400, fields("Content-Length: 5_0\r\n")),
        (400, fields("Transfer-Encoding: \x0bchunked\r\n")),
        (400, fields("Transfer-Encoding: xchunked\r\n")),
        (400, fields("Transfer-Encoding: identity\r\n")),
        (400, fields("Transfer-Encoding: chunked, gzip\r\n")),
        (400, fields("Transfer-Encoding: chunked,\r\n")),
        (400, fields("Transfer-Encoding:\r\n")),
        (400, fields("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")),
        (501, fields("Transfer-Encoding: gzip, chunked\r\n")),
        (501, fields("Transfer-Encoding: chunked, chunked\r\n")),
        (400, bytes(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")),
        // The first chunk.
        (400, chunks("\r\n")),
        (400, chunks("x\r\n")),
        (400, chunks("0x5\r\nhello\r\n")),
        (400, chunks("+5\r\nhello\r\n")),
        (400, chunks("-1\r\n")),
        (400, chunks(" 5\r\nhello\r\n")),
        (400, chunks("5 \r\nhello\r\n")),
        (400, chunks("5\nhello\r\n")),
        (400, chunks("5;a\nhello\r\n")),
        (400, chunks("5;a\rb\r\nhello\r\n")),
        (400, chunks("5 a\r\nhello\r\n")),
        (400, chunks(&format!("5;{}", "a".repeat(1022)))),
        // Limits.
        (413, chunks("15\r\n")),
        (413, chunks("ffffffffffffffff\r\n")),
        (413, chunks("10000000000000005\r\nhello\r\n")),
        (413, fields("Content-Length: 21\r\n")),
        (413, fields("Content-Length: 21\r\nExpect: 100-continue\r\n")),
        (413, fields("Content-Length: 18446744073709551621\r\n")),
        (413, request("GET /", "Content-Length: 21\r\n", "").into_bytes()),
        // Behind the first chunk, whose answer waits for the last.
        (400, chunks("1\r\naxx\r\n")),
        (400, chunks("1\r\na\n")),
        (400, chunks("1\r\na\rb")),
        (400, chunks("1\r\na\r\nx\r\n")),
        (413, chunks("1\r\na\r\n14\r\n")),
        (400, chunks("0\r\nA: b\n\r\n")),
        (400, chunks("0\r\nA\r\n\r\n")),
        (431, chunks(&["0\r\n", &"A: b\r\n".repeat(1366)].concat())),
        (413, chunks(&format!("1;{}\r\na\r\n", "x".repeat(1000)).repeat(70))),
        (431, fields(&format!("Name: {}\r\n", "a".repeat(200)))),
        (431, fields(&"a:\r\n".repeat(100))),
        (414, get(&format!("/{}", "a".repeat(200))).into_bytes()),
    ];
    let statuses = cases.drain(..).map(|(code, request)| {
        let status = match code {
            400 => "400 Bad Request",
            413 => "413 Content Too Large",
            414 => "414 URI Too Long",
            417 => "417 Expectation Failed",
            431 => "431 Request Header Fields Too Large",
            501 => "501 Not Implemented",
            _ => "505 HTTP Version Not Supported",
        };
        (status, request)
    });
    statuses.collect()
}
