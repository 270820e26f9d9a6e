//! The lines to blame in the source of a wrong server: a comment that begins with `Wrong:`, and the code behind it up to
//! an empty line or the end of its block.

const MARK: &str = "// Wrong";

/// These lines with their numbers, from 1.
pub(super) fn blamed(source: &str) -> Vec<(usize, &str)> {
    let lines = || source.lines().zip(1..).map(|(line, number)| (number, line));
    let mark = |(_, line): &(usize, &str)| line.trim_start().starts_with(MARK);
    let Some((first, line)) = lines().find(mark) else { return Vec::new() };
    let depth = indentation(line);
    lines()
        .skip(first - 1)
        .take_while(|(_, line)| !line.is_empty() && indentation(line) >= depth)
        .collect()
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_and_the_code_behind_it() {
        let source = "fn f() {\n    a();\n    // Wrong: it\n    // ends.\n    b(|| {\n        c();\n    });\n}\n\nd";
        let numbers: Vec<usize> = blamed(source).iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [3, 4, 5, 6, 7]);
        assert_eq!(blamed("  // Wrong\n  a\n\n  b"), [(1, "  // Wrong"), (2, "  a")]);
        assert_eq!(blamed("right\n"), []);
    }
}
