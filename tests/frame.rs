//! Properties of frames and of the protocols over them: however a stream is cut, the same comes back.

#![expect(clippy::unwrap_used, reason = "in tests a panic is the report")]

#[path = "common/drive.rs"]
mod drive;
#[path = "common/obvious.rs"]
mod obvious;

use drive::{Driven, cut, drive};
use proptest::{collection::vec, prelude::*, sample::Index};
use resound::{
    Ends, Reason, Token,
    frame::{Dialect, FrameError, Head, Rest, Width, presets},
    protocol::{Framed, Frames, Handler, Next, Raw, Refusal, Reply},
};

/// Presets, and any other combination in which frames of a few bytes fit.
fn dialects() -> impl Strategy<Value = Dialect> {
    let any = (0..Width::ALL.len(), 0_u8..20, -20..20, prop_oneof![20_u64..300, Just(16 << 20)]);
    prop_oneof![
        (0..presets().len()).prop_map(|at| presets()[at].dialect),
        any.prop_map(|(width, offset, adjust, max)| {
            let dialect = Dialect::new(Width::ALL[width]).with_offset(offset);
            dialect.with_adjust(adjust).unwrap().with_max(max).unwrap()
        }),
    ]
}

/// Payloads that fit the dialect, often many of the same size in a row.
fn payloads(dialect: Dialect) -> impl Strategy<Value = Vec<Vec<u8>>> {
    let least = usize::try_from(dialect.adjust()).unwrap_or(0);
    let most = usize::try_from(dialect.limit().min(300)).unwrap();
    let some = (prop_oneof![Just(least), least..=most], 1_usize..8, any::<u8>());
    vec(some, 0..8).prop_map(|runs| {
        let run = |(size, count, byte)| vec![vec![byte; size]; count];
        runs.into_iter().flat_map(run).collect()
    })
}

fn stream(dialect: &Dialect, payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for payload in payloads {
        dialect.encode(payload, &mut bytes).unwrap();
    }
    bytes
}

prop_compose! {
    /// A dialect, payloads, and their frames.
    fn streams()(dialect in dialects())
        (payloads in payloads(dialect), dialect in Just(dialect))
        -> (Dialect, Vec<Vec<u8>>, Vec<u8>)
    {
        let bytes = stream(&dialect, &payloads);
        (dialect, payloads, bytes)
    }
}

prop_compose! {
    /// A dialect, and a stream of it that at some place is something else.
    fn spoilt_streams()((dialect, _, mut bytes) in streams(), place in any::<Index>(), junk in vec(any::<u8>(), 0..40))
        -> (Dialect, Vec<u8>)
    {
        let place = place.index(bytes.len() + 1);
        bytes.splice(place..place, junk);
        (dialect, bytes)
    }
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    vec(any::<usize>(), 0..20)
}

/// Answers each frame with as many as its first byte's lowest bits say, in capitals, and ends at a `!`.
fn capitals() -> impl Handler {
    |payload: &[u8], reply: &mut Reply<'_>| {
        for _ in 0..payload.first().map_or(1, |byte| byte % 4) {
            reply.build(|out| out.extend(payload.iter().map(u8::to_ascii_uppercase)))?;
        }
        if payload.first() == Some(&b'!') {
            reply.finish();
        }
        Ok(())
    }
}

/// Without what a refused peer's bytes looked like, which is guessed from those that happened to be there.
fn unguessed(mut driven: Driven) -> Driven {
    if let Some(Next::Refuse(Refusal::TooLong { looks_like, .. })) = &mut driven.end {
        *looks_like = None;
    }
    driven
}

proptest! {
    #[test]
    fn any_split_of_frames_comes_back_the_same((dialect, payloads, bytes) in streams(), cuts in cuts()) {
        let driven = drive(&mut Frames::new(dialect), 1, cut(&bytes, &cuts));
        let whole = Driven { sent: bytes.clone(), frames: payloads.len() as u64, rest: vec![], end: None };
        prop_assert_eq!(driven, whole);
    }

    #[test]
    fn any_split_of_anything_is_judged_the_same((dialect, bytes) in spoilt_streams(), cuts in cuts()) {
        let driven = drive(&mut Frames::new(dialect), 1, cut(&bytes, &cuts));
        let decoded = obvious::decode(&dialect, &bytes);
        prop_assert_eq!(driven.frames, decoded.payloads.len() as u64);
        prop_assert_eq!(driven.sent, bytes.strip_suffix(decoded.ahead).unwrap());
        prop_assert_eq!(matches!(driven.end, Some(Next::Refuse(_))), decoded.refused);
        if !decoded.refused {
            prop_assert_eq!(driven.rest, decoded.ahead);
        }
    }

    #[test]
    fn scan_and_unpack_find_what_the_obvious_decoder_finds((dialect, bytes) in spoilt_streams()) {
        let scan = dialect.scan(&bytes);
        let decoded = obvious::decode(&dialect, &bytes);
        prop_assert_eq!(scan.frames, decoded.payloads.len() as u64);
        prop_assert_eq!(&bytes[scan.whole..], decoded.ahead);
        prop_assert_eq!(matches!(scan.rest, Rest::Refused(_)), decoded.refused);
        prop_assert_eq!(scan.rest == Rest::Nothing, decoded.ahead.is_empty());

        let mut frames = dialect.unpack(&bytes);
        let unpacked: Vec<&[u8]> = frames.by_ref().map(|frame| frame.payload).collect();
        prop_assert_eq!(unpacked, decoded.payloads);
        prop_assert_eq!((frames.rest(), frames.ahead()), (scan.rest, decoded.ahead));
    }

    #[test]
    fn what_is_needed_is_enough_and_no_more((dialect, _, bytes) in streams(), end in any::<Index>()) {
        let end = end.index(bytes.len() + 1);
        let scan = dialect.scan(&bytes[..end]);
        if let Rest::Part { need } = scan.rest {
            let same = dialect.scan(&bytes[..scan.whole + need - 1]);
            prop_assert_eq!((same.whole, same.rest), (scan.whole, scan.rest));
            let more = dialect.scan(&bytes[..scan.whole + need]);
            prop_assert!(more.whole == scan.whole + need || more.rest != scan.rest);
        }
    }

    #[test]
    fn built_in_place_or_encoded_the_frame_is_the_same((dialect, payloads, bytes) in streams()) {
        let mut built = b"before".to_vec();
        for payload in &payloads {
            dialect.build(&mut built, |out| out.extend(payload)).unwrap();
        }
        prop_assert_eq!(&built[6..], &bytes);
    }

    #[test]
    fn any_split_is_handled_the_same_however_soon_the_output_is_full(
        (dialect, bytes) in spoilt_streams(), cuts in cuts(), high_water in 1_usize..600,
    ) {
        let whole = drive(&mut Framed::new(dialect, capitals()), usize::MAX, [&bytes[..]]);
        let split = drive(&mut Framed::new(dialect, capitals()), high_water, cut(&bytes, &cuts));
        prop_assert_eq!(&unguessed(split.clone()), &unguessed(whole));

        let mut expected = Vec::new();
        for payload in obvious::decode(&dialect, &bytes).payloads {
            for _ in 0..payload.first().map_or(1, |byte| byte % 4) {
                dialect.encode(&payload.to_ascii_uppercase(), &mut expected).unwrap();
            }
            if payload.first() == Some(&b'!') {
                break;
            }
        }
        prop_assert_eq!(split.sent, expected);
    }

    #[test]
    fn any_split_of_raw_bytes_comes_back_the_same(bytes in vec(any::<u8>(), 0..500), cuts in cuts()) {
        let driven = drive(&mut Raw, 1, cut(&bytes, &cuts));
        prop_assert_eq!(driven, Driven { sent: bytes, frames: 0, rest: vec![], end: None });
    }
}

#[test]
fn every_cut_of_each_preset_and_every_byte_alone() {
    for preset in presets() {
        let bytes = [preset.example(), preset.example(), preset.example()].concat();
        let whole = Driven { sent: bytes.clone(), frames: 3, rest: vec![], end: None };
        for at in 0..=bytes.len() {
            let driven = drive(&mut Frames::new(preset.dialect), 1, cut(&bytes, &[at]));
            assert_eq!(driven, whole, "{} cut at {at}", preset.name);
        }
        let driven = drive(&mut Frames::new(preset.dialect), 1, bytes.chunks(1));
        assert_eq!(driven, whole, "{} byte by byte", preset.name);
    }
}

/// Lengths around every edge there is: of the limit, of the field, of signed numbers, of zero.
fn edges(dialect: &Dialect) -> Vec<u64> {
    let signed = |value: i128| u64::try_from(value).ok();
    let limit = i128::from(dialect.limit()) - i128::from(dialect.adjust());
    let zero = -i128::from(dialect.adjust());
    let around = [limit, zero, 0x80, 0x8000, 0x80_0000, 1 << 31, 1 << 32, 1 << 63, 1 << 64];
    let near = around.into_iter().flat_map(|edge| (edge - 5..=edge + 5).filter_map(signed));
    near.collect()
}

#[test]
fn limit_and_sign_edges_in_each_dialect() {
    let mut dialects: Vec<Dialect> = presets().iter().map(|preset| preset.dialect).collect();
    for width in Width::ALL {
        for adjust in [0, -1, -4, -18, 1, 4, 100, i32::MIN, i32::MAX] {
            for max in [0, 1, 100, 255, 4_096, 65_535, 16 << 20, (1 << 31) - 1] {
                let dialect = Dialect::new(width).with_max(max).unwrap().with_offset(3);
                dialects.extend(dialect.with_adjust(adjust));
            }
        }
    }
    assert!(dialects.len() > 300, "some combinations cannot be, but most can");
    for dialect in dialects {
        for length in edges(&dialect) {
            let Some(head) = head_that_says(&dialect, length) else {
                continue;
            };
            let payload = i128::from(length) + i128::from(dialect.adjust());
            let judged = dialect.head(&head);
            let context = format!("{dialect}: a length of {length} gives {judged:?}");
            if payload < 0 {
                assert!(matches!(judged, Err(FrameError::TooShort { .. })), "{context}");
            } else if payload > i128::from(dialect.limit()) {
                assert!(matches!(judged, Err(FrameError::TooLong { .. })), "{context}");
            } else {
                let payload = usize::try_from(payload).unwrap();
                let size = head.len();
                assert_eq!(judged, Ok(Some(Head { size, payload })), "{context}");
                let scan = dialect.scan(&head);
                if payload > 0 {
                    assert_eq!(scan.rest, Rest::Part { need: size + payload }, "{context}");
                }
                let mut encoded = Vec::new();
                dialect.encode_head(payload as u64, &mut encoded).unwrap();
                assert_eq!(encoded, head, "{context}");
            }
        }
    }
}

/// The head with exactly that `length`, in range or not; `None` where the field cannot hold it.
fn head_that_says(dialect: &Dialect, length: u64) -> Option<Vec<u8>> {
    let name = dialect.width().name();
    let mut head = vec![0; dialect.offset()];
    if name == "varint" {
        let mut left = length;
        while left >= 0x80 {
            head.push(u8::try_from(left & 0x7f).unwrap() | 0x80);
            left >>= 7;
        }
        head.push(u8::try_from(left).unwrap());
        return Some(head);
    }
    let digits = length.to_be_bytes();
    if name == "gob" {
        let first = digits.iter().position(|digit| *digit != 0).unwrap_or(7);
        if length >= 0x80 {
            head.push(u8::try_from(256 - (8 - first)).unwrap());
        }
        head.extend(&digits[first..]);
        return Some(head);
    }
    let count = dialect.width().bytes()?;
    let (high, low) = digits.split_at(8 - count);
    if high.iter().any(|byte| *byte != 0) {
        return None;
    }
    if name.ends_with("be") {
        head.extend(low);
    } else {
        head.extend(low.iter().rev());
    }
    Some(head)
}

#[test]
fn a_length_that_is_negative_as_signed_is_refused_whatever_the_limit() {
    for width in [Width::U32Le, Width::U32Be, Width::U64Le, Width::U64Be] {
        for adjust in [-4, 0, 4] {
            let highest = Dialect::new(width).with_max((1 << 31) - 1).unwrap();
            let dialect = highest.with_adjust(adjust).unwrap();
            let bits = 8 * width.bytes().unwrap();
            let head = head_that_says(&dialect, 1 << (bits - 1)).unwrap();
            let judged = dialect.head(&head);
            assert!(matches!(judged, Err(FrameError::TooLong { .. })), "{dialect}: {judged:?}");
        }
    }
}

#[test]
fn a_reply_that_does_not_fit_ends_the_conversation_after_those_before_it() {
    let dialect = Dialect::default().with_max(4).unwrap();
    let twice = |payload: &[u8], reply: &mut Reply<'_>| reply.frame(&payload.repeat(2));
    let bytes = stream(&dialect, &[b"ab".to_vec(), b"abc".to_vec(), b"a".to_vec()]);
    let driven = drive(&mut Framed::new(dialect, twice), 100, [&bytes[..]]);
    assert_eq!(driven.sent, b"\x04\0\0\0abab");
    assert_eq!(driven.frames, 2);
    assert!(matches!(driven.end, Some(Next::Refuse(Refusal::Malformed(_)))));
}

#[test]
fn a_handler_with_a_memory_greets_counts_and_forgets() {
    #[derive(Default)]
    struct Count(Vec<(Token, u8)>);

    impl Handler for Count {
        fn opened(
            &mut self,
            connection: Token,
            _: &Ends,
            greeting: &mut Reply<'_>,
        ) -> Result<(), Refusal> {
            self.0.push((connection, b'0'));
            greeting.frame(b"hello").unwrap();
            Ok(())
        }

        fn frame(
            &mut self,
            connection: Token,
            _payload: &[u8],
            reply: &mut Reply<'_>,
        ) -> Result<(), FrameError> {
            let (_, count) = self.0.iter_mut().find(|(token, _)| *token == connection).unwrap();
            *count += 1;
            reply.frame(&[*count])
        }

        fn closed(&mut self, connection: Token, _: Reason) {
            self.0.retain(|(token, _)| *token != connection);
        }
    }

    let mut counted = Framed::new(Dialect::new(Width::U8), Count::default());
    for _ in 0..2 {
        let driven = drive(&mut counted, 100, [&b"\x01a\x00"[..], b"\x02bc\x01"]);
        assert_eq!(driven.sent, b"\x05hello\x011\x012\x013");
        assert_eq!(driven.rest, b"\x01");
    }
}
