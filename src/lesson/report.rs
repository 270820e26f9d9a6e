//! A lesson as text: before the measurement, and after it.

use std::fmt::Write;

use super::{
    Lesson,
    figure::{Figure, Value},
    lessons::LESSONS,
    source,
};

/// Columns of the text.
const WIDTH: usize = 100;

/// Of the lines behind a label.
const LABEL: usize = 12;

/// A server's figures, under the name of its column.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) figures: Vec<Figure>,
}

/// All lessons, a line each, and what to type.
pub(crate) fn list() -> String {
    let mut out = "Servers that are wrong in one way each, measured beside resound:\n\n".to_owned();
    for lesson in LESSONS {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  {:<22} {}", lesson.name, lesson.title);
    }
    out.push_str(
        "\nresound lesson sticky-packets    shows one of them\n\
         resound lesson --all             measures all of them\n\n\
         docs/course.md leads from the first blocking echo to an event loop, in twelve steps.\n",
    );
    out
}

/// What the mistake is, and what is measured.
pub(crate) fn introduction(lesson: &Lesson) -> String {
    let mut out = format!("{}: {}\n\n", lesson.name, lesson.title);
    push(&mut out, "", 0, lesson.story);
    out.push('\n');
    push(&mut out, "Measured:", LABEL, lesson.method);
    out
}

/// The figures of each column in a table, with their bounds.
pub(crate) fn table(columns: &[Column]) -> String {
    let Some(first) = columns.first() else { return String::new() };
    let what = |figure: &Figure| figure.what.chars().count();
    let width = first.figures.iter().map(what).max().unwrap_or(0);
    let mut out = format!("{:width$}", "");
    for column in columns {
        let _ = write!(out, "  {:>13}", column.name);
    }
    out.push_str("   a right server\n");
    for (row, figure) in first.figures.iter().enumerate() {
        let _ = write!(out, "{:<width$}", figure.what);
        for column in columns {
            let value = column.figures.get(row).map_or(Value::Count(0), |figure| figure.value);
            let _ = write!(out, "  {value:>13}");
        }
        if let Some(bound) = figure.bound {
            let _ = write!(out, "   {bound}");
        }
        out.push('\n');
    }
    out
}

/// The lines to blame, where it is done right, and what to do now.
pub(crate) fn conclusion(lesson: &Lesson) -> String {
    let mut out = format!("The lines to blame, in {}:\n\n", lesson.file);
    for (number, line) in source::blamed(lesson.source) {
        let _ = writeln!(out, "{number:>5} | {line}");
    }
    out.push('\n');
    push(&mut out, "Right:", LABEL, lesson.right);
    push(&mut out, "Its test:", LABEL, &test_command(lesson.test));
    push(&mut out, "Read:", LABEL, lesson.pages);
    out.push_str("\nNow fix it, in a clone of resound's repository:\n\n");
    let server = "target/debug/examples/mine 127.0.0.1:{port}";
    let _ = write!(
        out,
        "  cp {} examples/mine.rs\n  \
         cargo build --example mine       # behind each change\n  \
         resound lesson {} --server '{server}'\n\
         {}\n",
        lesson.file,
        lesson.name,
        check(lesson, server)
    );
    push(&mut out, "Hint:", LABEL, lesson.hint);
    out
}

/// The command that runs a test: `connection::tests::x` is one of the library, `daemon::x` is in `tests/daemon.rs`, and
/// `simulation::rows::x` belongs to `tests/simulation.rs`.
fn test_command(test: &str) -> String {
    let (module, name) = test.rsplit_once("::").unwrap_or(("", test));
    if module.ends_with("tests") {
        return format!("cargo test --lib {name}");
    }
    let file = module.split("::").next().unwrap_or(module);
    format!("cargo test --test {file} {name}")
}

/// The command that judges a server of one's own.
pub(crate) fn check(lesson: &Lesson, server: &str) -> String {
    let only: Vec<String> = lesson.cases.iter().map(|case| format!(" --only {case}")).collect();
    let (server, protocol) = (server.replace('\'', r"'\''"), lesson.protocol);
    format!("  resound check --server '{server}' {protocol} \\\n   {}\n", only.concat())
}

/// `text` behind `label`, wrapped, its lines below each other.
fn push(out: &mut String, label: &str, indent: usize, text: &str) {
    let mut column = indent;
    let _ = write!(out, "{label:<indent$}");
    for word in text.split(' ') {
        let length = word.chars().count();
        if column > indent && column + 1 + length > WIDTH {
            let _ = write!(out, "\n{:indent$}", "");
            column = indent;
        }
        if column > indent {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::{
        super::figure::{Bound, Figure},
        *,
    };
    use crate::check::{case::Case, cases, target::Target};

    #[test]
    fn a_table_has_a_column_for_each_server() {
        let figures = |count| {
            vec![
                Figure::judged("bytes that came back", count, Bound::AtLeast(4096)),
                Figure::count("x", 1),
            ]
        };
        let wrong = Column { name: "wrong", figures: figures(512) };
        let resound = Column { name: "resound", figures: figures(4096) };
        assert_eq!(
            table(&[wrong, resound]),
            "                              wrong        resound   a right server\n\
             bytes that came back            512          4,096   at least 4,096\n\
             x                                 1              1\n"
        );
    }

    #[test]
    fn text_is_wrapped_behind_its_label() {
        let mut out = String::new();
        push(&mut out, "Read:", 6, "word ".repeat(30).trim());
        assert!(out.lines().all(|line| line.len() <= WIDTH), "{out}");
        assert!(out.lines().count() == 2 && out.lines().nth(1).unwrap().starts_with("      word"));
    }

    #[test]
    fn each_lesson_is_whole() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let names: BTreeSet<&str> = LESSONS.iter().map(|lesson| lesson.name).collect();
        assert_eq!(names.len(), LESSONS.len());
        for lesson in LESSONS {
            let name = lesson.name;
            let source = fs::read_to_string(root.join(lesson.file)).unwrap();
            assert_eq!(source, lesson.source, "{name}");
            assert!(source.lines().count() < 100, "{name}: {}", source.lines().count());
            assert!(source.contains(&format!("`resound lesson {name}`")), "{name}");
            let example = lesson.file.rsplit('/').next().unwrap().trim_end_matches(".rs");
            assert!(source.contains(&format!("--example {example}`")), "{name}");
            let blamed = source::blamed(&source).len();
            assert!((3..=16).contains(&blamed), "{name}: {blamed} lines are to blame");
            let target: Target = lesson.protocol.parse().unwrap();
            for wanted in lesson.cases {
                let is_it = |case: &&Case| case.name == *wanted || case.group == *wanted;
                let applies = cases::all().filter(is_it).any(|case| case.applies(&target));
                assert!(applies, "{name}: no case {wanted} for {}", lesson.protocol);
            }
        }
    }

    /// The test that a lesson names exists, and so do the files.
    #[test]
    fn what_a_lesson_refers_to_is_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for lesson in LESSONS {
            for word in lesson.right.split([' ', ':', ',', ';', '(', ')']) {
                if word.starts_with("src/") || word.starts_with("docs/") {
                    assert!(root.join(word).exists(), "{}: no {word}", lesson.name);
                }
            }
            let (module, function) = lesson.test.rsplit_once("::").unwrap();
            let file = match module {
                "connection::tests" => "src/reactor/connection/tests.rs".to_owned(),
                test => format!("tests/{}.rs", test.replace("::", "/")),
            };
            let text = fs::read_to_string(root.join(&file)).unwrap();
            assert!(text.contains(&format!("fn {function}(")), "{}: {function}", lesson.name);
        }
    }
}
