//! A timeline as one HTML page that needs nothing else.

use serde::{Deserialize, de::IgnoredAny};

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/style.css");
const SCRIPTS: [&str; 3] =
    [include_str!("page/data.js"), include_str!("page/draw.js"), include_str!("page/main.js")];

/// An object with a list of trace events.
#[derive(Deserialize)]
struct Trace {
    #[serde(rename = "traceEvents")]
    events: Vec<Event>,
}

/// What every trace event has.
#[derive(Deserialize)]
struct Event {
    #[serde(rename = "ph")]
    _phase: String,
    #[serde(rename = "ts")]
    _time: Option<f64>,
    #[serde(rename = "args")]
    _arguments: Option<IgnoredAny>,
}

/// The page of the trace events in `json`, with this title, and how many events they are.
///
/// # Errors
///
/// Why these are no trace events.
pub(crate) fn page(json: &str, title: &str) -> Result<(String, usize), String> {
    // The format also allows the list alone.
    let events = if json.trim_start().starts_with('[') {
        serde_json::from_str::<Vec<Event>>(json)
    } else {
        serde_json::from_str::<Trace>(json).map(|trace| trace.events)
    };
    let events = events.map_err(|error| {
        format!("{error}; it should have Chrome trace events, as --record writes them")
    })?;
    // In JSON this character is in strings only. There it could begin the end of the script.
    let json = json.replace('<', "\\u003c");
    let page = fill(
        PAGE,
        &[
            ("TITLE", &escaped(title)),
            ("STYLE", STYLE),
            ("TRACE", &json),
            ("SCRIPT", &SCRIPTS.concat()),
        ],
    );
    Ok((page, events.len()))
}

/// `template` with each of these words, in the order in which they come, replaced by its text.
fn fill(template: &str, words: &[(&str, &str)]) -> String {
    let (mut page, mut rest) = (String::new(), template);
    for (word, text) in words {
        let (before, behind) = rest.split_once(word).unwrap_or((rest, ""));
        page.extend([before, text]);
        rest = behind;
    }
    page + rest
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_of_a_trace_can_leave_its_script() {
        let json = r#"[{"ph":"i","ts":1,"name":"</script><script>alert(1)<!--"}]"#;
        let (page, events) = page(json, "<b>&").unwrap();
        assert_eq!(events, 1);
        assert!(page.contains(r#""name":"\u003c/script>\u003cscript>alert(1)\u003c!--""#));
        assert!(page.contains("<title>&lt;b>&amp;</title>"));
        assert_eq!(page.matches("</script>").count(), 2);
        assert!(page.trim_end().ends_with("</html>"));
    }

    #[test]
    fn what_has_no_trace_events_is_refused_with_the_reason() {
        for json in ["", "{}", "[1]", "{\"traceEvents\": 3}", "<html>"] {
            let error = page(json, "").unwrap_err();
            assert!(error.contains("it should have Chrome trace events"), "{json}: {error}");
        }
        assert!(page(r#"{"traceEvents": [], "displayTimeUnit": "ns"}"#, "").is_ok());
    }
}
