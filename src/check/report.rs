//! What was found, for people and for programs.

use std::fmt::Write;

use resound::plural::Plural;
use serde_json::{Value, json};

use super::{
    case::Case,
    run::{CaseResult, Outcome, Run},
};
use crate::common::units::Time;

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people, a line for each case as soon as it is known.
    Text,
    /// The Test Anything Protocol, version 14.
    Tap,
    Json,
    /// The XML that `JUnit`'s Ant task writes, which CI systems read.
    Junit,
}

const INDENT: &str = "    ";

/// A line for people; for a failure, why the case matters and the diagram.
pub(crate) fn line(outcome: &Outcome) -> String {
    let Outcome { case, result, .. } = outcome;
    let name = format!("{}/{}", case.group, case.name);
    match result {
        CaseResult::Passed => format!("ok    {name}\n"),
        CaseResult::Skipped(reason) => format!("skip  {name}: {reason}\n"),
        CaseResult::Failed { expected, got, diagram } => {
            let mut text = format!("FAIL  {name}\n");
            let _ = writeln!(text, "{INDENT}why it matters: {}", case.why);
            let _ = writeln!(text, "{INDENT}a correct server: {}", case.right);
            if diagram.is_empty() {
                let _ = writeln!(text, "{INDENT}expected: {expected}\n{INDENT}got: {got}");
            }
            for line in diagram.lines() {
                let _ = writeln!(text, "{line}");
            }
            text
        }
    }
}

/// The last line for people: `50 cases: 48 passed, 1 failed, 1 skipped`.
pub(crate) fn summary(run: &Run, outcomes: &[Outcome]) -> String {
    let cases = Plural(outcomes.len() as u64, ["case", "cases"]);
    let count = |is: fn(&CaseResult) -> bool| outcomes.iter().filter(|one| is(&one.result)).count();
    let passed = count(|result| *result == CaseResult::Passed);
    let skipped = count(|result| matches!(result, CaseResult::Skipped(_)));
    let failed = outcomes.len() - passed - skipped;
    let took = outcomes.iter().map(|outcome| outcome.took).sum();
    format!(
        "{}: {cases} in {}: {passed} passed, {failed} failed, {skipped} skipped\n",
        run.target.place,
        Time::rounded(took)
    )
}

/// All of it in a `format` for programs.
pub(crate) fn whole(format: Format, run: &Run, outcomes: &[Outcome]) -> String {
    match format {
        Format::Text => summary(run, outcomes),
        Format::Tap => tap(outcomes),
        Format::Json => json(run, outcomes),
        Format::Junit => junit(run, outcomes),
    }
}

/// Each case: its name, what it applies to, why it matters and what a correct server does.
pub(crate) fn list(cases: &[&Case]) -> String {
    let mut out = String::new();
    let mut group = "";
    for case in cases {
        if case.group != group {
            group = case.group;
            let _ = writeln!(out, "{group}");
        }
        let _ = writeln!(out, "  {} ({})", case.name, case.scope());
        let _ = writeln!(out, "      {}\n      A correct server: {}", case.why, case.right);
    }
    out
}

fn tap(outcomes: &[Outcome]) -> String {
    let mut out = format!("TAP version 14\n1..{}\n", outcomes.len());
    for (number, Outcome { case, result, .. }) in (1..).zip(outcomes) {
        let name = format!("{number} - {}/{}", case.group, case.name);
        let _ = match result {
            CaseResult::Passed => writeln!(out, "ok {name}"),
            // A # begins a directive.
            CaseResult::Skipped(reason) => {
                writeln!(out, "ok {name} # SKIP {}", reason.replace('#', "\\#"))
            }
            CaseResult::Failed { expected, got, diagram } => {
                let _ = writeln!(out, "not ok {name}\n  ---");
                for (key, text) in [("why", case.why), ("expected", expected), ("got", got)] {
                    let _ = writeln!(out, "  {key}: {}", Value::from(text));
                }
                let _ = writeln!(out, "  steps: |");
                for line in diagram.lines() {
                    let _ = writeln!(out, "   |{line}");
                }
                writeln!(out, "  ...")
            }
        };
    }
    out
}

fn json(run: &Run, outcomes: &[Outcome]) -> String {
    let case = |outcome: &Outcome| {
        let Outcome { case, result, took } = outcome;
        let (word, expected, got, diagram, reason) = match result {
            CaseResult::Passed => ("passed", None, None, None, None),
            CaseResult::Skipped(reason) => ("skipped", None, None, None, Some(reason)),
            CaseResult::Failed { expected, got, diagram } => {
                ("failed", Some(expected), Some(got), Some(diagram), None)
            }
        };
        json!({
            "group": case.group, "name": case.name, "result": word, "duration_s": took.as_secs_f64(),
            "why": case.why, "correct": case.right,
            "expected": expected, "got": got, "diagram": diagram, "reason": reason,
        })
    };
    let report = json!({
        "schema": 1,
        "tool": concat!("resound ", env!("CARGO_PKG_VERSION")),
        "target": run.target.place.to_string(),
        "timeout_s": run.timeout.as_secs_f64(),
        "cases": outcomes.iter().map(case).collect::<Vec<_>>(),
    });
    format!("{report:#}\n")
}

fn junit(run: &Run, outcomes: &[Outcome]) -> String {
    let count = |is: fn(&CaseResult) -> bool| outcomes.iter().filter(|one| is(&one.result)).count();
    let failures = count(|result| matches!(result, CaseResult::Failed { .. }));
    let skipped = count(|result| matches!(result, CaseResult::Skipped(_)));
    let time: f64 = outcomes.iter().map(|outcome| outcome.took.as_secs_f64()).sum();
    let name = escaped(&format!("resound check {}", run.target.place));
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"{name}\" tests=\"{}\" failures=\"{failures}\" \
         skipped=\"{skipped}\" time=\"{time:.3}\">\n",
        outcomes.len()
    );
    for Outcome { case, result, took } in outcomes {
        let head = format!(
            "  <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\"",
            case.group,
            case.name,
            took.as_secs_f64()
        );
        let _ = match result {
            CaseResult::Passed => writeln!(out, "{head}/>"),
            CaseResult::Skipped(reason) => {
                writeln!(out, "{head}><skipped message=\"{}\"/></testcase>", escaped(reason))
            }
            CaseResult::Failed { expected, got, diagram } => {
                let message = escaped(&format!("expected {expected}; got {got}"));
                let text = escaped(&format!("{}\n{}\n{diagram}", case.why, case.right));
                writeln!(out, "{head}><failure message=\"{message}\">{text}</failure></testcase>")
            }
        };
    }
    out + "</testsuite>\n"
}

/// `text` in XML: what it has no way to write is left out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(letter),
            letter if letter.is_control() => {}
            letter => out.push(letter),
        }
    }
    out
}
