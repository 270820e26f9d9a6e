//! `lines`: each line back as it completes, its end as it came, none over the limit.

#[path = "common/drive.rs"]
mod drive;

use drive::{cut, drive};
use proptest::prelude::*;
use resound::{
    Token,
    protocol::{Next, Output, Protocol, Refusal, Terms, identity::Template, lines::Lines, offer},
};

/// What `bytes` come to, shown at once: what goes back, how many lines, whether they are refused.
fn whole(max: usize, bytes: &[u8]) -> (Vec<u8>, u64, bool) {
    let driven = drive(&mut Lines { max }, 1 << 20, [bytes]);
    (driven.sent, driven.frames, driven.end.is_some())
}

/// The same by the plainest means: line by line.
fn expected(max: usize, bytes: &[u8]) -> (Vec<u8>, u64, bool) {
    let (mut sent, mut lines) = (Vec::new(), 0);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let complete = line.ends_with(b"\n");
        let mut content = line.strip_suffix(b"\n").unwrap_or(line);
        content = content.strip_suffix(b"\r").unwrap_or(content);
        if content.len() > max {
            return (sent, lines, true);
        }
        if complete {
            sent.extend_from_slice(line);
            lines += 1;
        }
    }
    (sent, lines, false)
}

#[test]
fn each_line_goes_back_as_it_came() {
    for (input, sent, lines) in [
        (&b"hello\n"[..], &b"hello\n"[..], 1),
        (b"hello\r\n", b"hello\r\n", 1),
        (b"\n", b"\n", 1),
        (b"\r\n\n\r\n", b"\r\n\n\r\n", 3),
        (b"one\r\ntwo\nthree", b"one\r\ntwo\n", 2),
        (b"a lone \r is a byte\n", b"a lone \r is a byte\n", 1),
        (b"\r\r\n", b"\r\r\n", 1),
        (b"\0\xFF\n", b"\0\xFF\n", 1),
        (b"no end", b"", 0),
    ] {
        assert_eq!(whole(100, input), (sent.to_vec(), lines, false));
    }
}

#[test]
fn a_long_reply_to_each_of_many_short_lines_is_held_back() {
    let reply = Template::parse(&"x".repeat(100), "").unwrap();
    let terms = Terms { reply: Some(reply), ..Terms::default() };
    let input = b"\n".repeat(1000);
    let mut protocol = offer("lines").unwrap().protocol(&terms).unwrap();
    let mut out = Output::new(250);
    let first = protocol.receive(Token::new(1, 1), &input, 0, &mut out);
    assert_eq!((first.consumed, first.frames, first.next), (3, 3, Next::Full));
    assert_eq!(out.bytes().len(), 303);

    let mut protocol = offer("lines").unwrap().protocol(&terms).unwrap();
    let driven = drive(&mut protocol, 250, [&input[..], b"rest"]);
    assert_eq!((driven.sent.len(), driven.frames), (101_000, 1000));
    assert_eq!(driven.rest, b"rest");
}

#[test]
fn limit_counts_the_line_without_its_end() {
    for (input, sent, refused) in [
        (&b"1234\n"[..], &b"1234\n"[..], false),
        (b"1234\r\n", b"1234\r\n", false),
        (b"12345\n", b"", true),
        (b"12345\r\n", b"", true),
        (b"1234\r", b"", false),
        (b"1234\rx", b"", true),
        (b"1234\r\r\n", b"", true),
        (b"12345", b"", true),
        (b"a\nb\n12345\nc\n", b"a\nb\n", true),
        (b"1234\n12345", b"1234\n", true),
    ] {
        let (got, _, end) = whole(4, input);
        assert_eq!((&got[..], end), (sent, refused), "{}", input.escape_ascii());
    }
}

#[test]
fn too_long_a_line_says_by_how_much() {
    let driven = drive(&mut Lines { max: 4 }, 100, [&b"ok\n123456\r\n"[..]]);
    let refusal = Refusal::TooLong { length: 6, limit: 4, looks_like: None };
    assert_eq!(driven.end, Some(Next::Refuse(refusal)));
}

/// What was seen is not searched again: a line's end hidden in it is not found.
#[test]
fn a_long_line_is_scanned_once() {
    let mut lines = Lines { max: 100 };
    let mut out = Output::new(100);
    let received = lines.receive(Token::new(1, 1), b"seen\nnew", 5, &mut out);
    assert_eq!(received.consumed, 0);
    let received = lines.receive(Token::new(1, 1), b"seen\nnew\n", 8, &mut out);
    assert_eq!((received.consumed, received.frames), (9, 1));
}

#[test]
fn every_split_in_two_gives_the_same() {
    for input in
        [&b"one\r\ntwo\n\r\n\nthree"[..], b"12345678\r\nx\n", b"123456789\n", b"\r\r\r\r\n"]
    {
        for at in 0..=input.len() {
            let chunks = cut(input, &[at]);
            let driven = drive(&mut Lines { max: 8 }, 1, chunks);
            let got = (driven.sent, driven.frames, driven.end.is_some());
            assert_eq!(got, expected(8, input), "{at}");
        }
    }
}

proptest! {
    #[test]
    fn any_split_of_any_bytes_gives_the_same(
        input in prop::collection::vec(prop::sample::select(&b"ab\r\n\n\0"[..]), 0..200),
        cuts in prop::collection::vec(any::<usize>(), 0..20),
        max in 0..12_usize,
    ) {
        let driven = drive(&mut Lines { max }, 1, cut(&input, &cuts));
        let unfinished = driven.rest.len();
        let got = (driven.sent, driven.frames, driven.end.is_some());
        prop_assert_eq!(got, expected(max, &input));
        prop_assert!(unfinished <= max + 1, "no more is kept than the limit and a `\\r`");
    }
}
