//! The answer to a WebSocket handshake, as a client has to check it (RFC 6455, section 4.1).

use httparse::Status;

/// The most fields, and the most bytes, of a head.
const FIELDS: usize = 100;
const LONGEST_HEAD: usize = 64 << 10;

/// Reads the answer at the start of `input`. Returns its length; `None` if it is incomplete.
///
/// # Errors
///
/// Text with what is wrong.
pub(super) fn read(input: &[u8], accept: &[u8]) -> Result<Option<usize>, String> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let length = match response.parse(input) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) if input.len() < LONGEST_HEAD => return Ok(None),
        Ok(Status::Partial) => return Err("the handshake's answer is too long".to_owned()),
        Err(error) => return Err(format!("the handshake's answer is not HTTP: {error}")),
    };
    let status = response.code.unwrap_or(0);
    if status != 101 {
        let reason = response.reason.unwrap_or_default();
        let status = format!("{status} {reason}");
        return Err(format!("the handshake's answer is {}, not 101", status.trim_end()));
    }
    let value = |name: &str| {
        let mut found =
            response.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        found.next().map(|field| field.value.trim_ascii())
    };
    let has = |name: &str, word: &str| {
        let value = String::from_utf8_lossy(value(name).unwrap_or_default()).into_owned();
        value.split(',').any(|option| option.trim().eq_ignore_ascii_case(word))
    };
    let wrong = if !has("upgrade", "websocket") {
        "has no Upgrade: websocket"
    } else if !has("connection", "upgrade") {
        "has no Connection: Upgrade"
    } else if value("sec-websocket-accept") != Some(accept) {
        "has a Sec-WebSocket-Accept that is not the one of the key that was sent"
    } else if value("sec-websocket-extensions").is_some_and(|value| !value.is_empty()) {
        "has an extension, and none was offered"
    } else if value("sec-websocket-protocol").is_some() {
        "has a subprotocol, and none was offered"
    } else {
        return Ok(Some(length));
    };
    Err(format!("the handshake's answer {wrong}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    #[test]
    fn what_section_4_1_demands_is_checked() {
        let good = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\
                    sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        let frames = format!("{good}\u{2}");
        assert_eq!(read(frames.as_bytes(), ACCEPT), Ok(Some(good.len())));
        for length in 0..good.len() {
            assert_eq!(read(&good.as_bytes()[..length], ACCEPT), Ok(None), "{length}");
        }
        for (from, to, says) in [
            ("101 Switching Protocols", "404 Not Found", "is 404 Not Found, not 101"),
            ("Upgrade: WebSocket", "Upgrade: h2c", "no Upgrade"),
            ("keep-alive, Upgrade", "keep-alive", "no Connection"),
            ("s3pPLM", "S3pPLM", "not the one of the key"),
            (
                "\r\n\r\n",
                "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
                "an extension",
            ),
            ("\r\n\r\n", "\r\nSec-WebSocket-Protocol: chat\r\n\r\n", "a subprotocol"),
            ("HTTP/1.1", "220 SMTP", "not HTTP"),
        ] {
            let wrong = read(good.replace(from, to).as_bytes(), ACCEPT).unwrap_err();
            assert!(wrong.contains(says), "{wrong}");
        }
    }
}
