//! What `--listen` takes: no text panics, and what is understood is written back as it is understood.
#![no_main]

use libfuzzer_sys::fuzz_target;
use resound::{frame::Keys, listen::Listen};

fuzz_target!(|text: &str| {
    let listen = match text.parse::<Listen>() {
        Ok(listen) => listen,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let written = listen.to_string();
    assert_eq!(written.parse::<Listen>().as_ref(), Ok(&listen), "{written}");
    let mut keys = Keys::default();
    for (key, value) in &listen.keys {
        if let Err(error) = keys.set(key, value) {
            assert!(!error.to_string().is_empty());
        }
    }
    let _ = keys.dialect();
});
