//! HTTP/1.1 (RFC 9110, RFC 9112).

use super::HTTP;
use crate::check::{
    case::{Case, When},
    scene::Scene,
    verdict::{Fail, Verdict},
};

const GROUP: &str = "http";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "chunked-body",
        group: GROUP,
        why: "A client that does not know the length of a body sends it in chunks (RFC 9112, section 7.1).",
        right: "Sends the body back without the chunks' sizes.",
        on: HTTP,
        when: When::Always,
        run: chunked_body,
    },
    Case {
        name: "expect-continue",
        group: GROUP,
        why: "curl waits for `100 Continue` before it sends a large body (RFC 9110, section 10.1.1).",
        right: "Answers 100 before the body is sent, or answers the request at once.",
        on: HTTP,
        when: When::Always,
        run: expect_continue,
    },
    Case {
        name: "connection-close",
        group: GROUP,
        why: "A client that asks for it waits for the end (RFC 9112, section 9.6).",
        right: "Answers, then closes.",
        on: HTTP,
        when: When::Always,
        run: connection_close,
    },
    Case {
        name: "two-lengths",
        group: GROUP,
        why: "Where a proxy and a server disagree about a body's length, a request can be smuggled behind another one \
              (RFC 9112, section 6.3).",
        right: "Refuses a request with two different lengths, and ends the connection.",
        on: HTTP,
        when: When::Always,
        run: two_lengths,
    },
    Case {
        name: "no-request-at-all",
        group: GROUP,
        why: "A TLS client connects to the wrong port. Its bytes are no request, and no line ever ends.",
        right: "Ends the connection, and serves others.",
        on: HTTP,
        when: When::Always,
        run: no_request_at_all,
    },
];

/// A request with those fields and that body.
fn request(scene: &Scene<'_>, fields: &str, body: &str) -> Vec<u8> {
    let host = scene.target.place.host();
    format!("POST / HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n\r\n{body}").into_bytes()
}

fn chunked_body(scene: &Scene<'_>) -> Verdict {
    let mut peer = scene.peer("a")?;
    let body = "5\r\nhello\r\n1;x=y\r\n,\r\n06\r\n world\r\n0\r\n\r\n";
    peer.send(&request(scene, "Transfer-Encoding: chunked", body))?;
    peer.expect_message(b"hello, world")?;
    peer.ping()
}

fn expect_continue(scene: &Scene<'_>) -> Verdict {
    let mut peer = scene.peer("a")?;
    peer.send(&request(scene, "Content-Length: 5\r\nExpect: 100-continue", ""))?;
    if peer.any_answer("100, or an answer")?.status == 100 {
        peer.send(b"hello")?;
        peer.expect_message(b"hello")?;
    }
    Ok(())
}

fn connection_close(scene: &Scene<'_>) -> Verdict {
    let mut peer = scene.peer("a")?;
    peer.send(&request(scene, "Content-Length: 5\r\nConnection: close", "hello"))?;
    peer.expect_message(b"hello")?;
    peer.expect_end()
}

fn two_lengths(scene: &Scene<'_>) -> Verdict {
    for fields in
        ["Content-Length: 5\r\nContent-Length: 6", "Content-Length: 5, 6", "Content-Length: +5"]
    {
        let mut peer = scene.peer("a")?;
        peer.send(&request(scene, fields, "hello"))?;
        peer.expect_refusal().map_err(|fail| match fail {
            Fail::Wrong { expected, got } => {
                let fields = fields.replace("\r\n", "; ");
                Fail::Wrong { expected: format!("{expected}, for {fields}"), got }
            }
            skipped @ Fail::Skipped(_) => skipped,
        })?;
    }
    scene.others_are_served()
}

fn no_request_at_all(scene: &Scene<'_>) -> Verdict {
    let mut peer = scene.peer("a")?;
    // The beginning of a TLS client's first record (RFC 8446, section 5.1).
    peer.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")?;
    peer.expect_refusal()?;
    scene.others_are_served()
}
