//! The frame scanner in every dialect against a decoder that is obviously right.
//!
//! ```text
//! width │ offset │ adjust │ max (2) │ the stream …
//! ```
#![no_main]

#[path = "../../tests/common/obvious.rs"]
mod obvious;

use libfuzzer_sys::fuzz_target;
use obvious::decode;
use resound::frame::{Dialect, Rest, Width};

/// The dialect that the first bytes choose, if there is such a one.
fn dialect(choice: [u8; 5]) -> Option<Dialect> {
    let [width, offset, adjust, max @ ..] = choice;
    let width = Width::ALL[usize::from(width) % Width::ALL.len()];
    let adjust = i32::from(adjust.cast_signed() % 24);
    let max = match u16::from_le_bytes(max) {
        u16::MAX => 16 << 20,
        max => u64::from(max),
    };
    Dialect::new(width).with_offset(offset % 20).with_adjust(adjust).ok()?.with_max(max).ok()
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, input)) = data.split_first_chunk::<5>() else { return };
    let Some(dialect) = dialect(*choice) else { return };
    let obvious = decode(&dialect, input);

    let scan = dialect.scan(input);
    assert_eq!(scan.whole, input.len() - obvious.ahead.len());
    assert_eq!(scan.frames, obvious.payloads.len() as u64);
    match scan.rest {
        Rest::Nothing => assert!(obvious.ahead.is_empty() && !obvious.refused),
        Rest::Refused(_) => assert!(obvious.refused),
        Rest::Part { need } => {
            assert!(!obvious.refused && need > obvious.ahead.len());
            // With what it says it needs, it gets on: to a whole frame, a longer need, or a refusal.
            let mut longer = obvious.ahead.to_vec();
            longer.resize(need.min(1 << 16), 0);
            if longer.len() == need {
                let next = dialect.scan(&longer);
                assert!(next.whole > 0 || !matches!(next.rest, Rest::Part { need: n } if n <= need));
            }
        }
    }

    let mut unpacked = dialect.unpack(input);
    let payloads: Vec<&[u8]> = unpacked.by_ref().map(|frame| frame.payload).collect();
    assert_eq!(payloads, obvious.payloads);
    assert_eq!(unpacked.rest(), scan.rest);
});
