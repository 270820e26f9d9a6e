//! Conversations with a WebSocket echo, by the sections of the Autobahn test suite.

pub(crate) const FIN: u8 = 0x80;
pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// A frame's first bytes, up to where a mask would be.
pub(crate) fn head(first: u8, masked: u8, length: usize) -> Vec<u8> {
    let [.., a, b] = length.to_be_bytes();
    match length {
        ..=125 => vec![first, masked | b],
        126..=0xFFFF => vec![first, masked | 126, a, b],
        _ => [&[first, masked | 127][..], &length.to_be_bytes()].concat(),
    }
}

/// A client's frame.
pub(crate) fn client(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mask = [0x37, 0xFA, 0x21, 0x3D];
    let mut frame = head(first, 0x80, payload.len());
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// A server's frame.
pub(crate) fn server(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let mut frame = head(first, 0, payload.as_ref().len());
    frame.extend_from_slice(payload.as_ref());
    frame
}

pub(crate) fn close(code: u16, reason: impl AsRef<[u8]>) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_ref()].concat()
}

/// How a conversation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It does not.
    Open,
    /// By the closing handshake.
    Closed,
    /// By the server, with a code and no more than a reason behind it.
    Failed(u16),
}

/// One conversation behind the handshake.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) sent: Vec<u8>,
    /// What comes back; but for the close frame of a failure.
    pub(crate) got: Vec<u8>,
    pub(crate) end: End,
}

pub(crate) fn case(name: impl Into<String>, sent: &[Vec<u8>], got: &[Vec<u8>], end: End) -> Case {
    Case { name: name.into(), sent: sent.concat(), got: got.concat(), end }
}

/// A case in which everything comes back as it was sent.
pub(crate) fn echo(name: impl Into<String>, frames: &[(u8, &[u8])]) -> Case {
    let sent: Vec<_> = frames.iter().map(|(first, payload)| client(*first, payload)).collect();
    let got: Vec<_> = frames.iter().map(|(first, payload)| server(*first, payload)).collect();
    case(name, &sent, &got, End::Open)
}

pub(crate) fn sizes() -> Vec<Case> {
    let sizes = [0, 1, 125, 126, 127, 128, 1000, 65_535, 65_536];
    let text = sizes.map(|size| echo(format!("1.1 {size}"), &[(FIN | TEXT, &vec![b'*'; size])]));
    let binary =
        sizes.map(|size| echo(format!("1.2 {size}"), &[(FIN | BINARY, &vec![0xFE; size])]));
    text.into_iter().chain(binary).collect()
}

pub(crate) fn pings() -> Vec<Case> {
    let pong = |name, payload: &[u8]| {
        let (sent, got) = (client(FIN | PING, payload), server(FIN | PONG, payload));
        case(name, &[sent], &[got], End::Open)
    };
    let (ten_pings, ten_pongs): (Vec<_>, Vec<_>) = (b'0'..=b'9')
        .map(|digit| (client(FIN | PING, [digit]), server(FIN | PONG, [digit])))
        .unzip();
    let pong_then_ping = [client(FIN | PONG, "unasked"), client(FIN | PING, "ping")];
    vec![
        pong("2.1", b""),
        pong("2.2", b"Hello, world!"),
        pong("2.3", b"\x00\xFF\xFE\xFD\xFC\xFB\x00\xFF"),
        pong("2.4", &[0xFE; 125]),
        case("2.5", &[client(FIN | PING, [0xFE; 126])], &[], End::Failed(1002)),
        case("2.7", &[client(FIN | PONG, "")], &[], End::Open),
        case("2.8", &[client(FIN | PONG, "unasked")], &[], End::Open),
        case("2.9", &pong_then_ping, &[server(FIN | PONG, "ping")], End::Open),
        case("2.10", &ten_pings, &ten_pongs, End::Open),
    ]
}

/// Each of these behind a message that is echoed, and before one that is not.
pub(crate) fn faults() -> Vec<Case> {
    let mut faults = Vec::new();
    for rsv in 1..=7 {
        for opcode in [TEXT, BINARY, CLOSE, PING, PONG] {
            faults.push((format!("3.{rsv}"), client(FIN | rsv << 4 | opcode, "Hello")));
        }
    }
    for opcode in (3..=7).chain(11..=15) {
        faults.push((format!("4 {opcode}"), client(FIN | opcode, "")));
        faults.push((format!("4 {opcode}"), client(FIN | opcode, "Hello")));
    }
    for opcode in [CLOSE, PING, PONG] {
        faults.push((format!("5.1 {opcode}"), client(opcode, "part")));
    }
    for first in [FIN | TEXT, FIN | PING, FIN | CLOSE, TEXT] {
        faults.push(("no mask".into(), server(first, "Hello")));
    }
    // Lengths that would have fitted into fewer bytes, and one that does not fit into 63 bits.
    for length in [
        &[FIN | BINARY, 0xFE, 0, 125][..],
        &[FIN | BINARY, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF],
        &[FIN | BINARY, 0xFF, 0, 0, 0, 0, 0, 0, 0, 1],
        &[FIN | BINARY, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0],
        &[FIN | BINARY, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
        &[FIN | PING, 0xFE],
        &[FIN | CLOSE, 0xFF],
    ] {
        faults.push(("length".into(), length.to_vec()));
    }
    let before =
        |frame: &[u8]| [client(FIN | TEXT, "Hello"), frame.to_vec(), client(FIN | PING, "")];
    let got = [server(FIN | TEXT, "Hello")];
    let faults = faults.iter();
    faults.map(|(name, frame)| case(name, &before(frame), &got, End::Failed(1002))).collect()
}

pub(crate) fn fragments() -> Vec<Case> {
    let mut cases = vec![
        echo("5.3", &[(TEXT, b"one"), (FIN, b"two")]),
        echo("5.6, binary", &[(BINARY, b"\xFF"), (0, b""), (0, b"\xFE"), (FIN, b"")]),
        echo("6.1.2", &[(TEXT, b""), (CONTINUATION, b""), (FIN, b"")]),
        echo("6.1.3", &[(TEXT, b""), (CONTINUATION, b"middle"), (FIN, b"")]),
        echo("two messages", &[(TEXT, b"a"), (FIN, b"b"), (BINARY, b"c"), (FIN, b"d")]),
    ];
    let ping = || client(FIN | PING, "ping");
    let pong = || server(FIN | PONG, "ping");
    cases.push(case(
        "5.6, 5.19",
        &[client(TEXT, "1"), ping(), client(0, "2"), ping(), client(FIN, "3")],
        &[pong(), pong(), server(TEXT, "1"), server(0, "2"), server(FIN, "3")],
        End::Open,
    ));
    for first in [FIN, 0] {
        let lost = client(first, "fragment");
        let text = client(FIN | TEXT, "text");
        cases.push(case("5.9, 5.12", &[lost.clone(), text.clone()], &[], End::Failed(1002)));
        let message = [client(TEXT, "1"), client(FIN, "2"), lost, text];
        let got = [server(TEXT, "1"), server(FIN, "2")];
        cases.push(case("5.15", &message, &got, End::Failed(1002)));
    }
    for second in [FIN | TEXT, TEXT, FIN | BINARY, BINARY] {
        let frames = [client(TEXT, "1"), client(second, "2")];
        cases.push(case("5.18", &frames, &[], End::Failed(1002)));
    }
    cases
}

pub(crate) fn utf8() -> Vec<Case> {
    let greek = "κόσμε".as_bytes();
    let mut in_bytes: Vec<_> = greek.chunks(1).map(|byte| (CONTINUATION, byte)).collect();
    in_bytes.push((FIN, b""));
    in_bytes[0].0 = TEXT;
    let mut cases = vec![
        echo("6.2.1", &[(FIN | TEXT, "Hello-µ@ßöäüàá-UTF-8!!".as_bytes())]),
        echo("6.2.3", &in_bytes),
        echo("6.2.2", &[(TEXT, &greek[..3]), (FIN, &greek[3..])]),
        echo("binary is not text", &[(FIN | BINARY, b"\xFF\xC0")]),
        echo("binary, in fragments", &[(BINARY, b"\xC3"), (FIN, b"\xFF")]),
    ];
    for sound in [
        "\0",
        "\u{7F}",
        "\u{80}",
        "\u{7FF}",
        "\u{800}",
        "\u{D7FF}",
        "\u{E000}",
        "\u{FFFD}",
        "\u{FFFE}",
        "\u{FFFF}",
        "\u{10000}",
        "\u{10FFFF}",
        "\u{1FFFE}",
    ] {
        cases.push(echo(format!("6.5 to 6.23 {sound:?}"), &[(FIN | TEXT, sound.as_bytes())]));
    }
    for wrong in [
        &b"\xCE\xBA\xE1\xBD\xB9\xCF\x83\xCE\xBC\xCE\xB5\xED\xA0\x80edited"[..],
        b"\x80",
        b"\xBF",
        b"\x80\xBF",
        b"\xC0 ",
        b"\xFD ",
        b"\xC0",
        b"\xE0\x80",
        b"\xF0\x80\x80",
        b"\xFE",
        b"\xFF",
        b"\xC0\xAF",
        b"\xE0\x80\xAF",
        b"\xF0\x80\x80\xAF",
        b"\xF8\x80\x80\x80\xAF",
        b"\xC1\xBF",
        b"\xE0\x9F\xBF",
        b"\xF0\x8F\xBF\xBF",
        b"\xC0\x80",
        b"\xED\xA0\x80",
        b"\xED\xBF\xBF",
        b"\xED\xA0\x80\xED\xB0\x80",
        b"\xF4\x90\x80\x80",
        b"\xF7\xBF\xBF\xBF",
        // Not wrong yet, but the message ends here.
        b"\xCE",
        b"\xE1\xBD",
        b"\xF0\x9F\x98",
        b"plain \xC3",
    ] {
        let name = format!("6.3 to 6.21 {}", wrong.escape_ascii());
        cases.push(case(&name, &[client(FIN | TEXT, wrong)], &[], End::Failed(1007)));
        let fragments = [client(TEXT, "sound"), client(FIN, wrong)];
        cases.push(case(&name, &fragments, &[], End::Failed(1007)));
    }
    // 6.4.1: the wrong fragment is refused without waiting for the last.
    let fragments = [client(TEXT, greek), client(CONTINUATION, b"\xF4\x90\x80\x80")];
    cases.push(case("6.4.1", &fragments, &[], End::Failed(1007)));
    // A character that two fragments share, wrong in the second.
    let fragments = [client(TEXT, b"\xF4"), client(CONTINUATION, b"\x90")];
    cases.push(case("6.4.2", &fragments, &[], End::Failed(1007)));
    cases
}

pub(crate) fn closes() -> Vec<Case> {
    let bye = || client(FIN | CLOSE, close(1000, ""));
    let bye_back = || server(FIN | CLOSE, close(1000, ""));
    let text = || client(FIN | TEXT, "Hello");
    let mut cases = vec![
        case("7.1.1", &[text(), bye()], &[server(FIN | TEXT, "Hello"), bye_back()], End::Closed),
        case("7.1.2", &[bye(), bye()], &[bye_back()], End::Closed),
        case("7.1.3", &[bye(), client(FIN | PING, "")], &[bye_back()], End::Closed),
        case("7.1.4", &[bye(), text()], &[bye_back()], End::Closed),
        case("7.1.5", &[client(TEXT, "1"), bye(), client(FIN, "2")], &[bye_back()], End::Closed),
        case("7.3.1", &[client(FIN | CLOSE, "")], &[server(FIN | CLOSE, "")], End::Closed),
        case("7.3.2", &[client(FIN | CLOSE, "a")], &[], End::Failed(1002)),
        case("7.3.3", &[bye()], &[bye_back()], End::Closed),
        case("7.3.4", &[client(FIN | CLOSE, close(1000, "why"))], &[bye_back()], End::Closed),
        case("7.3.5", &[client(FIN | CLOSE, close(1000, [b'*'; 123]))], &[bye_back()], End::Closed),
        case("7.3.6", &[client(FIN | CLOSE, close(1000, [b'*'; 124]))], &[], End::Failed(1002)),
        case(
            "7.5.1",
            &[client(FIN | CLOSE, close(1000, "\u{3BA}\u{1F79}".as_bytes()))],
            &[bye_back()],
            End::Closed,
        ),
        case(
            "7.5.1",
            &[client(FIN | CLOSE, close(1000, b"\xCE\xBA\xED\xA0\x80"))],
            &[],
            End::Failed(1007),
        ),
        case("7.5.1", &[client(FIN | CLOSE, close(1000, b"half \xC3"))], &[], End::Failed(1007)),
    ];
    for code in [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000,
        4999,
    ] {
        let (sent, got) =
            (client(FIN | CLOSE, close(code, "")), server(FIN | CLOSE, close(code, "")));
        cases.push(case(format!("7.7 {code}"), &[sent], &[got], End::Closed));
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        let sent = client(FIN | CLOSE, close(code, ""));
        cases.push(case(format!("7.9, 7.13 {code}"), &[sent], &[], End::Failed(1002)));
    }
    cases
}

pub(crate) fn cases() -> Vec<Case> {
    [sizes(), pings(), faults(), fragments(), utf8(), closes()].into_iter().flatten().collect()
}
