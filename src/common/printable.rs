//! Text of others for a terminal or a page.

/// Text unchanged; control characters, which a terminal could execute, characters that change the direction of what
/// follows, and bytes that are not text escaped.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if is_harmful(character) {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

fn is_harmful(character: char) -> bool {
    match character {
        '\n' | '\t' => false,
        // Unicode Standard Annex 9: embeddings, overrides and isolates; and the separators of lines and paragraphs.
        '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        other => other.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        for (bytes, text) in [
            (&b"plain"[..], "plain"),
            ("é\t\n".as_bytes(), "é\t\n"),
            (b"\x1b[2J\x07\0", "\\u{1b}[2J\\u{7}\\u{0}"),
            (b"a\xff\xc3", "a\\xff\\xc3"),
            ("\u{9b}5m".as_bytes(), "\\u{9b}5m"),
            ("a\u{202e}b\u{2066}".as_bytes(), "a\\u{202e}b\\u{2066}"),
        ] {
            assert_eq!(printable(bytes), text);
        }
    }
}
