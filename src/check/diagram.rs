//! A failed case as a sequence diagram in text.
//!
//! ```text
//!      0.1 ms  a         connect ──▶
//!      0.2 ms  a         9 bytes: 05 00 00 00 68 65 6c 6c 6f "....hello" ──▶
//!      0.4 ms  a                                                          ◀── 4 bytes: 05 00 00 00 "...."
//!              expected  9 bytes: 05 00 00 00 68 65 6c 6c 6f "....hello"
//!              got       nothing more for 5s behind 4 of them
//! ```

use std::fmt::Write;

use super::script::{Event, Step, Steps};

/// The columns: what the client does ends here at the latest, and what the server does begins behind it.
const MIDDLE: usize = 64;

/// The steps, then what was expected and what came instead.
pub(super) fn diagram(steps: &Steps, expected: &str, got: &str) -> String {
    let all = || steps.first.iter().chain(&steps.last);
    let name = all().map(|step| step.peer.chars().count()).max().unwrap_or(0).max("expected".len());
    let mut out = String::new();
    for step in &steps.first {
        line(step, name, &mut out);
    }
    if steps.left_out > 0 {
        // Writing to a text cannot fail.
        let _ = writeln!(out, "{:>13} … {} more steps …", "", steps.left_out);
    }
    for step in &steps.last {
        line(step, name, &mut out);
    }
    for (word, text) in [("expected", expected), ("got", got)] {
        let _ = writeln!(out, "{:>13}  {word:<name$}  {text}", "");
    }
    out
}

fn line(step: &Step, name: usize, out: &mut String) {
    let Step { at, peer, event } = step;
    let time = format!("{:.1} ms", at.as_secs_f64() * 1e3);
    let start = format!("{time:>13}  {peer:<name$}  ");
    let _ = match event {
        Event::Sent(what) => writeln!(out, "{start}{what} ──▶"),
        Event::Came(what) => {
            let width = MIDDLE.saturating_sub(start.chars().count());
            writeln!(out, "{start}{:>width$} ◀── {what}", "")
        }
        Event::Note(what) => writeln!(out, "{time:>13}  ({what})"),
    };
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_side_has_its_column() {
        let step = |at, peer: &str, event| Step {
            at: Duration::from_micros(at),
            peer: peer.to_owned(),
            event,
        };
        let steps = Steps {
            first: vec![
                step(100, "a", Event::Sent("connect".to_owned())),
                step(250, "", Event::Note("a note".to_owned())),
            ],
            left_out: 3,
            last: [step(1_300, "other", Event::Came("FIN".to_owned()))].into(),
        };
        let text = diagram(&steps, "9 bytes", "FIN");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "       0.1 ms  a         connect ──▶");
        assert_eq!(lines[1], "       0.2 ms  (a note)");
        assert_eq!(lines[2], "              … 3 more steps …");
        assert_eq!(
            lines[3].split_whitespace().collect::<Vec<_>>(),
            ["1.3", "ms", "other", "◀──", "FIN"]
        );
        assert_eq!(lines[4], "               expected  9 bytes");
        assert_eq!(lines[5], "               got       FIN");
    }
}
