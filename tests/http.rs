//! `http`: what goes back for which request, to the byte; what is refused; any split alike.

#[path = "http/cases.rs"]
mod cases;
#[path = "common/drive.rs"]
mod drive;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cases::{LAST, conversations, echo, echo_chunks, get, hello, post_chunks, refused, request};
use drive::{Driven, cut, drive};
use proptest::prelude::*;
use resound::{
    Ends, Peer, Reason, Token,
    protocol::{
        Ending, Next, Output, Protocol, Refusal,
        http::{Http, HttpLimits},
        identity::{Tag, Template},
    },
};

const LIMITS: HttpLimits = HttpLimits { head: 200, body: 20 };
const CONNECTION: Token = Token::new(1, 1);

/// The time in [`LAST`].
fn clock() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(784_111_777)
}

fn http() -> Http {
    Http::new(LIMITS, None).clocked(clock)
}

fn whole(input: &[u8]) -> Driven {
    drive(&mut http(), 1 << 20, [input])
}

#[test]
fn each_request_has_its_answer() {
    for (sent, got, requests, closes) in conversations() {
        let driven = whole(sent.as_bytes());
        assert_eq!(String::from_utf8_lossy(&driven.sent), got, "to {sent}");
        assert_eq!(driven.frames, requests, "{sent}");
        assert_eq!(driven.end, closes.then_some(Next::Finish), "{sent}");
        assert_eq!(driven.rest, b"", "{sent}");
    }
}

#[test]
fn bad_requests_are_refused_with_their_status_and_the_connection_closed() {
    for (status, request) in refused() {
        let shown = request.escape_ascii().to_string();
        let input = [get("/").as_bytes(), &request].concat();
        let driven = drive(&mut http(), 1 << 20, [&input[..]]);
        let sent = String::from_utf8(driven.sent).unwrap();
        let reply = sent.strip_prefix(&hello("/")).unwrap();
        assert!(reply.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{shown}: {reply}");
        assert!(reply.contains("\r\nConnection: close\r\n"), "{reply}");
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        let last = format!("Content-Length: {}\r\nConnection: close\r\n{LAST}", body.len());
        assert!((head.to_owned() + "\r\n\r\n").ends_with(&last), "{head}");
        assert!(matches!(driven.end, Some(Next::Refuse(_))), "{shown}");
        assert_eq!(driven.frames, 1);
    }
}

#[test]
fn an_error_behind_the_start_of_a_streamed_answer_ends_the_connection() {
    for (sent, got) in [
        (post_chunks("1\r\naxx\r\n"), echo_chunks("1\r\na")),
        (post_chunks("1\r\na\n"), echo_chunks("1\r\na")),
        (post_chunks("1\r\na\rb"), echo_chunks("1\r\na")),
        (post_chunks("1\r\na\r\nx\r\n"), echo_chunks("1\r\na\r\n")),
        (post_chunks("1\r\na\r\n14\r\n"), echo_chunks("1\r\na\r\n")),
        (post_chunks("0\r\nA: b\n\r\n"), echo_chunks("0\r\n")),
        (post_chunks(&["0\r\n", &"A: b\r\n".repeat(1366)].concat()), echo_chunks("0\r\n")),
    ] {
        let driven = drive(&mut http().streamed(), 1 << 20, [sent.as_bytes()]);
        assert_eq!(String::from_utf8_lossy(&driven.sent), got);
        assert!(matches!(driven.end, Some(Next::Refuse(_))), "{sent}");
    }
}

#[test]
fn an_error_in_a_body_that_is_read_past_ends_the_connection() {
    let head = request("HEAD /", "Transfer-Encoding: chunked\r\n", "");
    let driven = whole((head.clone() + "1\r\nabc").as_bytes());
    assert_eq!(String::from_utf8_lossy(&driven.sent), cases::head(&hello("/")));
    assert!(matches!(driven.end, Some(Next::Refuse(_))));
}

#[test]
fn chunks_that_stream_in_go_back_as_chunks() {
    for (chunks, back) in [
        (
            "5\r\nhello\r\n00B\r\n, you there\r\n0\r\n\r\n",
            "5\r\nhello\r\nb\r\n, you there\r\n0\r\n\r\n",
        ),
        ("000\r\n\r\n", "0\r\n\r\n"),
        (
            "1;a;b=\"c\"\r\n\n\r\n1 \t ;d\r\n\r\r\n0;e\r\nField: x\r\nOther:\r\n\r\n",
            "1\r\n\n\r\n1\r\n\r\r\n0\r\n\r\n",
        ),
    ] {
        let sent = post_chunks(chunks) + &get("/");
        let driven = drive(&mut http().streamed(), 1 << 20, [sent.as_bytes()]);
        let want = echo_chunks(back) + &hello("/");
        assert_eq!((String::from_utf8_lossy(&driven.sent), driven.frames), (want.into(), 2));
    }
}

/// Clients read no answer before they have sent everything, and proxies cut an early one off.
#[test]
fn nothing_goes_back_and_nothing_is_consumed_before_a_body_is_whole() {
    let by_length = request("POST /", "Content-Length: 20\r\n", &"a".repeat(20));
    let in_chunks = post_chunks("8\r\n12345678\r\nc\r\n123456789012\r\n0\r\nA: b\r\n\r\n");
    for (sent, body) in [(by_length, "a".repeat(20)), (in_chunks, "12345678123456789012".into())] {
        let mut http = http();
        let mut out = Output::new(1000);
        http.opened(CONNECTION, &Ends::new(Peer::Unix, None), &mut out).unwrap();
        let (mut seen, mut need) = (0, 0);
        for length in 1..sent.len() {
            if length < need {
                continue;
            }
            let received = http.receive(CONNECTION, &sent.as_bytes()[..length], seen, &mut out);
            assert_eq!((received.consumed, out.bytes()), (0, &b""[..]), "{length}");
            let (Next::Rest { need: more } | Next::Handshake { need: more }) = received.next else {
                panic!("{:?}", received.next)
            };
            assert!(more == 0 || (length + 1..=sent.len()).contains(&more), "{more} of {length}");
            (seen, need) = (length, more);
        }
        let received = http.receive(CONNECTION, sent.as_bytes(), seen, &mut out);
        assert_eq!((received.consumed, received.frames), (sent.len(), 1));
        assert_eq!(String::from_utf8_lossy(out.bytes()), echo(&body));
    }
}

/// The data of a large body is not copied: the answer's head goes first, and then the data from where it lies.
#[test]
fn a_large_body_goes_back_from_where_it_lies() {
    let body = vec![b'x'; 15 << 20];
    let length = format!("Content-Length: {}\r\n", body.len());
    let (by_length, in_one_chunk) = (
        [request("POST /", &length, "").as_bytes(), &body].concat(),
        [post_chunks(&format!("{:x}\r\n", body.len())).as_bytes(), &body, b"\r\n0\r\n\r\n"]
            .concat(),
    );
    for (sent, followed) in [
        (by_length.clone(), ""),
        ([&by_length, get("/").as_bytes()].concat(), &*hello("/")),
        (in_one_chunk, ""),
    ] {
        let mut http = Http::default().clocked(clock);
        let mut out = Output::new(1000);
        http.opened(CONNECTION, &Ends::new(Peer::Unix, None), &mut out).unwrap();
        let (mut rest, mut back, mut in_place) = (&sent[..], Vec::new(), 0);
        while !rest.is_empty() {
            out.clear();
            let received = http.receive(CONNECTION, rest, 0, &mut out);
            assert!(received.next == Next::Full || received.consumed == rest.len());
            back.extend_from_slice(out.bytes());
            if received.echo {
                back.extend_from_slice(&rest[..received.consumed]);
                in_place += received.consumed;
            }
            rest = &rest[received.consumed..];
        }
        assert_eq!(in_place, body.len());
        let head = echo("").replace(": 0\r", &format!(": {}\r", body.len()));
        assert!(back == [head.as_bytes(), &body, followed.as_bytes()].concat());
    }
}

#[test]
fn without_cors_no_answer_allows_other_origins() {
    let preflight = "Origin: null\r\nAccess-Control-Request-Method: PUT\r\n";
    let sent = [get("/"), request("OPTIONS /", preflight, ""), "nonsense\n".to_owned()].concat();
    let driven = drive(&mut http().same_origin(), 1 << 20, [sent.as_bytes()]);
    let sent = String::from_utf8(driven.sent).unwrap();
    assert_eq!(sent.matches("HTTP/1.1 200 OK\r\n").count(), 2);
    assert_eq!(sent.matches("\r\nAllow: ").count(), 1);
    assert!(!sent.contains("Access-Control"), "{sent}");
}

#[test]
fn limits_hold_to_the_byte() {
    let padded = |length: usize| {
        let bare = request("GET /", "Name: \r\n", "").len();
        request("GET /", &format!("Name: {}\r\n", "a".repeat(length - bare)), "")
    };
    assert_eq!(padded(200).len(), 200);
    let body = "a".repeat(20);
    let length = request("POST /", "Content-Length: 20\r\n", &body);
    for (sent, refused) in [
        (padded(200), false),
        (padded(201), true),
        (length.clone(), false),
        (length.replace("20", "21"), true),
        (post_chunks("8\r\n12345678\r\nc\r\n123456789012\r\n0\r\n\r\n"), false),
        (post_chunks("8\r\n12345678\r\nd\r\n1234567890123\r\n0\r\n\r\n"), true),
    ] {
        let refuse = matches!(whole(sent.as_bytes()).end, Some(Next::Refuse(_)));
        assert_eq!(refuse, refused, "{sent}");
    }
    let mut roomy = Http::new(HttpLimits { head: 1000, body: 0 }, None);
    for (fields, refused) in [(99, false), (100, true)] {
        let sent = request("GET /", &"a:\r\n".repeat(fields), "");
        let driven = drive(&mut roomy, 1000, [sent.as_bytes()]);
        assert_eq!(matches!(driven.end, Some(Next::Refuse(_))), refused);
    }
}

#[test]
fn a_refusal_tells_the_log_the_limit() {
    let driven = whole(request("PUT /", "Content-Length: 21\r\n", "").as_bytes());
    let refusal = Refusal::TooLong { length: 21, limit: 20, looks_like: None };
    assert_eq!(driven.end, Some(Next::Refuse(refusal)));
}

/// Opens a connection and shows it `input`; the protocol, and what went out.
fn opened(mut http: Http, input: &str) -> (Http, Output) {
    let mut out = Output::new(1000);
    http.opened(CONNECTION, &Ends::new(Peer::Unix, None), &mut out).unwrap();
    if !input.is_empty() {
        http.receive(CONNECTION, input.as_bytes(), 0, &mut out);
    }
    (http, out)
}

#[test]
fn a_request_that_does_not_become_whole_in_time_is_answered_408() {
    let timeout = "HTTP/1.1 408 Request Timeout\r\n";
    let post = request("POST /", "Content-Length: 5\r\n", "");
    for (input, cause, answer) in [
        ("GET / HT", Ending::Unfinished, timeout),
        (&post, Ending::Unfinished, timeout),
        (&post_chunks("5"), Ending::Unfinished, timeout),
        (&(post.clone() + "h"), Ending::Unfinished, timeout),
        ("", Ending::Unfinished, ""),
        ("", Ending::Idle, ""),
        ("", Ending::Stopping, ""),
        ("", Ending::Memory, ""),
        (&get("/"), Ending::Idle, ""),
        (&get("/"), Ending::Stopping, ""),
        (&(post.clone() + "h"), Ending::Memory, "HTTP/1.1 503 Service Unavailable\r\n"),
    ] {
        let (mut http, mut out) = opened(http(), input);
        out.clear();
        http.ending(CONNECTION, cause, &mut out);
        let sent = std::str::from_utf8(out.bytes()).unwrap();
        assert!(sent.starts_with(answer) && sent.is_empty() == answer.is_empty(), "{sent}");
        assert_eq!(sent.contains("\r\nConnection: close\r\n"), !answer.is_empty());
    }
    let (mut first, mut out) = opened(http(), "");
    for (input, next) in [
        ("\r\n", Next::Handshake { need: 0 }),
        ("GET / HT", Next::Handshake { need: 0 }),
        (&*get("/"), Next::Idle),
        ("GET / HT", Next::Rest { need: 0 }),
    ] {
        assert_eq!(first.receive(CONNECTION, input.as_bytes(), 0, &mut out).next, next, "{input}");
    }
    // A streamed answer has started.
    let (mut http, mut out) = opened(http().streamed(), &(post + "h"));
    out.clear();
    http.ending(CONNECTION, Ending::Unfinished, &mut out);
    assert_eq!(out.bytes(), b"");
}

#[test]
fn a_client_that_expects_100_continue_gets_it_before_the_body_and_once() {
    let post = request("POST /", "Content-Length: 2\r\nExpect: 100-continue\r\n", "");
    let (mut http, mut out) = opened(http(), &post);
    assert_eq!(out.bytes(), b"HTTP/1.1 100 Continue\r\n\r\n");
    out.clear();
    let input = post.clone() + "ab";
    let received = http.receive(CONNECTION, input.as_bytes(), post.len(), &mut out);
    assert_eq!(received.consumed, input.len());
    assert_eq!(out.bytes(), echo("ab").as_bytes());
}

#[test]
fn a_streamed_body_goes_back_from_where_it_lies_whatever_its_size() {
    let limits = HttpLimits { body: u64::MAX, ..LIMITS };
    let length = 1_u64 << 40;
    let announced = format!("Content-Length: {length}\r\n");
    for start in [request("POST /", &announced, "a"), post_chunks(&format!("{length:x}\r\na"))] {
        let (mut http, mut out) = opened(Http::new(limits, None).streamed(), &start);
        out.clear();
        for _ in 0..10 {
            let received = http.receive(CONNECTION, &[b'a'; 1 << 16], 0, &mut out);
            assert_eq!((received.consumed, received.echo), (1 << 16, true));
            assert_eq!((received.frames, received.next), (0, Next::Rest { need: 0 }));
            assert_eq!(out.bytes(), b"");
        }
    }
}

/// Each one starts the idle timeout anew, and none of them starts the frame timeout.
#[test]
fn empty_lines_before_a_request_are_few() {
    let mut http = http();
    let mut out = Output::new(1000);
    http.opened(CONNECTION, &Ends::new(Peer::Unix, None), &mut out).unwrap();
    let ended = (0..100).any(|_| {
        let received = http.receive(CONNECTION, b"\r\n", 0, &mut out);
        matches!(received.next, Next::Refuse(_))
    });
    assert!(ended, "a connection lives on empty lines");
    assert!(out.bytes().starts_with(b"HTTP/1.1 400 Bad Request\r\n"));
    // As many as browsers ever sent are passed over, before every request.
    let input = ["\r\n\r\n", &get("/")].concat().repeat(100);
    assert_eq!(whole(input.as_bytes()).frames, 100);
}

#[test]
fn trailer_fields_are_fields() {
    for (trailer, is_sound) in [
        ("", true),
        ("Field: value\r\nOther:\r\n", true),
        ("no colon\r\n", false),
        ("Field : value\r\n", false),
        (" Field: value\r\n", false),
        (": value\r\n", false),
        ("Field: value\r\n folded\r\n", false),
        ("GET / HTTP/1.1\r\nHost: h\r\n", false),
    ] {
        let driven = whole(post_chunks(&format!("1\r\na\r\n0\r\n{trailer}\r\n")).as_bytes());
        assert_eq!(driven.end.is_none(), is_sound, "{trailer}");
        assert_eq!(driven.frames, u64::from(is_sound), "{trailer}");
    }
}

#[test]
fn a_refusal_says_what_was_too_much() {
    let mut roomy = Http::new(HttpLimits { head: 1000, body: 20 }, None);
    let fields = request("GET /", &"a:\r\n".repeat(100), "");
    let driven = drive(&mut roomy, 1000, [fields.as_bytes()]);
    let sent = String::from_utf8(driven.sent).unwrap();
    assert!(sent.starts_with("HTTP/1.1 431 "), "{sent}");
    assert!(sent.ends_with("\r\n\r\nmore than 100 header fields\n"), "{sent}");
    // Not by their length.
    assert!(matches!(driven.end, Some(Next::Refuse(Refusal::Malformed(_)))));

    let limit = "over the limit of 20\n";
    for (length, shown) in [
        ("18446744073709551614", "a length of 18446744073709551614 bytes, "),
        ("18446744073709551615", "a length of 2^64-1 bytes or more, "),
        ("18446744073709551616", "a length of 2^64-1 bytes or more, "),
        ("99999999999999999999999999", "a length of 2^64-1 bytes or more, "),
    ] {
        let sent =
            whole(request("POST /", &format!("Content-Length: {length}\r\n"), "").as_bytes());
        let sent = String::from_utf8(sent.sent).unwrap();
        assert!(sent.ends_with(&format!("\r\n\r\n{shown}{limit}")), "{sent}");
    }
}

#[test]
fn pipelined_requests_wait_for_room_in_the_output() {
    let input = get("/").repeat(1000);
    let (mut http, mut out) = opened(http(), "");
    let mut consumed = 0;
    let mut turns = 0;
    while consumed < input.len() {
        let received = http.receive(CONNECTION, &input.as_bytes()[consumed..], 0, &mut out);
        assert!(out.bytes().len() < 1000 + hello("/").len());
        consumed += received.consumed;
        turns += 1;
        let full = consumed < input.len();
        assert_eq!(received.next, if full { Next::Full } else { Next::Idle });
        out.clear();
    }
    let each = 1000_usize.div_ceil(hello("/").len());
    assert_eq!(turns, 1000_usize.div_ceil(each));
}

#[test]
fn a_tag_is_in_every_answer() {
    let template = |text| Some(Tag::new(Template::parse(text, "box").unwrap()));
    for (text, value) in [("{hostname}", "box"), ("to {peer}", "to unix")] {
        for (input, status) in [
            (get("/"), "200 OK"),
            (request("PUT /", "Content-Length: 1\r\n", "x"), "200 OK"),
            (post_chunks("0\r\n\r\n"), "200 OK"),
            (request("TRACE /", "", ""), "405 Method Not Allowed"),
            ("nonsense\n".into(), "400 Bad Request"),
        ] {
            let (mut http, mut out) = opened(Http::new(LIMITS, template(text)), &input);
            let sent = String::from_utf8(out.bytes().to_vec()).unwrap();
            assert!(sent.starts_with(&format!("HTTP/1.1 {status}\r\n")));
            assert!(sent.contains(&format!("\r\nX-Served-By: {value}\r\n")), "{sent}");
            http.closed(CONNECTION, Reason::PeerClosed);
            out.clear();
        }
    }
}

#[test]
fn every_split_in_two_gives_the_same() {
    let conversations = conversations().into_iter().map(|case| case.0.into_bytes());
    for input in conversations.chain(refused().into_iter().map(|case| case.1)) {
        let want = whole(&input);
        for at in (1..input.len()).step_by(1 + input.len() / 500) {
            let driven = drive(&mut http(), 1 << 20, cut(&input, &[at]));
            assert_eq!(outcome(driven), outcome(want.clone()), "{at} of {}", input.escape_ascii());
        }
        let want = drive(&mut http().streamed(), 1 << 20, [&input[..]]);
        for at in (1..input.len()).step_by(1 + input.len() / 500) {
            let driven = drive(&mut http().streamed(), 1 << 20, cut(&input, &[at]));
            assert_eq!(outcome(driven), outcome(want.clone()), "{at} of {}", input.escape_ascii());
        }
    }
}

/// What must not depend on how the input is split: all but how long a thing without an end was when
/// it was refused.
fn outcome(driven: Driven) -> (Vec<u8>, u64, Vec<u8>, Option<std::mem::Discriminant<Next>>) {
    let end = driven.end.as_ref().map(std::mem::discriminant);
    (driven.sent, driven.frames, driven.rest, end)
}

/// Pieces of requests, sound and not.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let mut pieces: Vec<Vec<u8>> = conversations().into_iter().map(|case| case.0.into()).collect();
    pieces.extend(refused().into_iter().map(|case| case.1));
    let lines = [
        "GET / HTTP/1.1\r\n",
        "POST / HTTP/1.1\r\n",
        "Host: h\r\n",
        "\r\n",
        "\n",
        "\r",
        "5\r\nhello\r\n",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "0\r\n\r\n",
        "Expect: 100-continue\r\n",
        "hello",
    ];
    pieces.extend(lines.map(|line| line.as_bytes().to_vec()));
    prop_oneof![
        4 => prop::sample::select(pieces),
        1 => prop::collection::vec(any::<u8>(), 0..8),
    ]
}

proptest! {
    #[test]
    fn any_split_of_nearly_requests_gives_the_same(
        pieces in prop::collection::vec(piece(), 0..6),
        flip in prop::option::of((any::<usize>(), any::<u8>())),
        cuts in prop::collection::vec(any::<usize>(), 0..20),
        high_water in 1..2000_usize,
    ) {
        let mut input = pieces.concat();
        if let (Some((at, byte)), false) = (flip, input.is_empty()) {
            let at = at % input.len();
            input[at] = byte;
        }
        let want = whole(&input);
        let split = drive(&mut http(), high_water, cut(&input, &cuts));
        let longest = LIMITS.head + 40 + (64 << 10) + 1024;
        prop_assert!(split.rest.len() <= longest, "no more is kept than a head, a body and a line");
        prop_assert_eq!(outcome(split), outcome(want));
        let want = drive(&mut http().streamed(), 1 << 20, [&input[..]]);
        let split = drive(&mut http().streamed(), high_water, cut(&input, &cuts));
        prop_assert!(split.rest.len() <= LIMITS.head + 1024, "no more is kept than a head and a line");
        prop_assert_eq!(outcome(split), outcome(want));
    }

    #[test]
    fn no_bytes_make_it_panic(input in prop::collection::vec(any::<u8>(), 0..500), start in piece()) {
        whole(&input);
        whole(&[start, input].concat());
    }
}
