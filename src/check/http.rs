//! HTTP/1.1 as a client speaks it: requests, and the answers at the start of what was received.

use httparse::Status;

use crate::load::wire::protocol::request;

/// The most fields of an answer's head, and the longest head.
const FIELDS: usize = 64;
const LONGEST_HEAD: usize = 64 << 10;

/// An answer that has come whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    /// How many bytes it has.
    pub(super) length: usize,
}

/// How an answer's body ends.
enum Ends {
    After(usize),
    WithLastChunk,
    WithTheConnection,
}

pub(super) fn head(host: &str, length: u64) -> Vec<u8> {
    let mut out = Vec::new();
    request(host, length, &mut out);
    out
}

pub(super) fn post(host: &str, body: &[u8], out: &mut Vec<u8>) {
    request(host, body.len() as u64, out);
    out.extend_from_slice(body);
}

/// The answer at the start of `input`; `None` while it is incomplete. `has_ended`: no more will come.
///
/// # Errors
///
/// What is wrong with it.
pub(super) fn answer(input: &[u8], has_ended: bool) -> Result<Option<Answer>, String> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let start = match response.parse(input) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) if input.len() < LONGEST_HEAD => return Ok(None),
        Ok(Status::Partial) => return Err("an answer's head is too long".to_owned()),
        Err(error) => return Err(format!("this is no answer of HTTP/1.1: {error}")),
    };
    let status = response.code.unwrap_or(0);
    let ends = ends(status, response.headers)?;
    let rest = &input[start..];
    let whole = |body: &[u8], length| Some(Answer { status, body: body.to_vec(), length });
    Ok(match ends {
        Ends::After(length) => rest.get(..length).and_then(|body| whole(body, start + length)),
        Ends::WithTheConnection if has_ended => whole(rest, input.len()),
        Ends::WithTheConnection => None,
        Ends::WithLastChunk => {
            chunks(rest)?.and_then(|(body, length)| whole(&body, start + length))
        }
    })
}

fn ends(status: u16, fields: &[httparse::Header<'_>]) -> Result<Ends, String> {
    if status < 200 || matches!(status, 204 | 304) {
        return Ok(Ends::After(0));
    }
    let value = |name: &str| {
        let field = fields.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        field.map(|field| String::from_utf8_lossy(field.value).trim().to_ascii_lowercase())
    };
    match (value("transfer-encoding"), value("content-length")) {
        (Some(coding), _) if coding.ends_with("chunked") => Ok(Ends::WithLastChunk),
        (_, Some(length)) => length
            .parse()
            .map(Ends::After)
            .map_err(|_| format!("an answer's Content-Length is {length:?}")),
        (_, None) => Ok(Ends::WithTheConnection),
    }
}

/// The body in the chunks at the start of `rest`, and how many bytes they take; `None` while the last is not there.
fn chunks(rest: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    let (mut at, mut body) = (0, Vec::new());
    loop {
        let (line, size) = match httparse::parse_chunk_size(&rest[at..]) {
            Ok(Status::Complete(found)) => found,
            Ok(Status::Partial) => return Ok(None),
            Err(_) => return Err("a chunk of the answer has no size".to_owned()),
        };
        at += line;
        if size == 0 {
            break;
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let Some(data) = rest[at..].get(..size) else { return Ok(None) };
        body.extend_from_slice(data);
        at += size;
        match rest[at..].get(..2) {
            None => return Ok(None),
            Some(b"\r\n") => at += 2,
            Some(_) => return Err("a chunk of the answer is longer than its size".to_owned()),
        }
    }
    // Trailer fields, up to an empty line.
    loop {
        let Some(end) = memchr::memmem::find(&rest[at..], b"\r\n") else { return Ok(None) };
        at += end + 2;
        if end == 0 {
            return Ok(Some((body, at)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_each_form_are_whole_at_their_last_byte() {
        for (text, status, body) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, ""),
            ("HTTP/1.1 100 Continue\r\n\r\n", 100, ""),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\nX: y\r\n\r\n",
                200,
                "hello",
            ),
        ] {
            for cut in 0..text.len() {
                assert_eq!(answer(&text.as_bytes()[..cut], false), Ok(None), "{text} {cut}");
            }
            let expected = Answer { status, body: body.as_bytes().to_vec(), length: text.len() };
            let more = format!("{text}HTTP/1.1");
            assert_eq!(answer(more.as_bytes(), false), Ok(Some(expected)), "{text}");
        }
    }

    #[test]
    fn an_answer_without_a_length_lasts_until_the_end() {
        let text = b"HTTP/1.0 400 Bad Request\r\n\r\nno";
        assert_eq!(answer(text, false), Ok(None));
        let answer = answer(text, true).unwrap().unwrap();
        assert_eq!((answer.status, &answer.body[..]), (400, &b"no"[..]));
    }

    #[test]
    fn what_is_no_answer_is_named() {
        for (text, says) in [
            ("hello\r\n\r\n", "no answer of HTTP/1.1"),
            ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "Content-Length"),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc",
                "longer than its size",
            ),
        ] {
            let error = answer(text.as_bytes(), false).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
