//! The documents agree with the code: the README's tables what the command says, and every test and file that a
//! document names is there.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const README: &str = include_str!("../README.md");

/// What `resound ARGUMENTS` prints.
fn printed(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_resound"));
    let output = command.args(arguments).env("COLUMNS", "200").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The README's table row that begins with `cell`.
fn row(cell: &str) -> &'static str {
    let beginnings = [format!("| `{cell}` |"), format!("| `{cell}`, ")];
    let is_it = |line: &&str| beginnings.iter().any(|beginning| line.starts_with(beginning));
    README.lines().find(is_it).unwrap_or_else(|| panic!("no row for {cell}"))
}

/// What stands behind `name` in brackets: `[default: 1m]`.
fn bracketed<'h>(help: &'h str, name: &str) -> Option<&'h str> {
    let behind = help.split_once(&format!("[{name}: "))?.1;
    Some(behind.split_once(']')?.0)
}

#[test]
fn each_flag_of_serve_has_a_row_with_its_variable_and_its_default() {
    // Each flag has its own paragraph that begins with it, or with its short form.
    let help = printed(&["serve", "--help"]).replace(", --", "\n      --");
    let mut rows = 0;
    for text in help.split("\n      --").filter(|text| text.contains("[env: ")) {
        let name = text.split([' ', '\n']).next().unwrap();
        let row = row(&format!("--{name}"));
        let variable = bracketed(text, "env").unwrap();
        assert!(row.contains(&format!("`{variable}`")), "no {variable} in {row}");
        if let Some(default) = bracketed(text, "default").filter(|text| !text.contains(' ')) {
            assert!(row.contains(&format!("| `{default}` |")), "no default of {default} in {row}");
        }
        rows += 1;
    }
    assert!(rows >= 10, "{help}");
}

#[test]
fn each_preset_is_named() {
    let table = printed(&["dialects"]);
    let names = table.lines().filter(|line| line.starts_with(|first: char| first.is_lowercase()));
    let names: Vec<&str> = names.filter_map(|line| line.split(' ').next()).collect();
    assert!(names.len() >= 10, "{table}");
    for name in names {
        assert!(row("preset").contains(&format!("`{name}`")), "no {name} in the README");
    }
}

#[test]
fn each_protocol_and_each_key_has_a_row() {
    let help = printed(&["serve", "--help"]);
    let (_, protocols) = help.split_once("The protocols and their keys:").unwrap();
    let (protocols, _) = protocols.split_once("[env: RESOUND_LISTEN]").unwrap();
    let (own, common) = protocols.split_once("All but udp").unwrap();
    let mut protocol = "";
    for line in own.lines() {
        let word = line.split_whitespace().next().unwrap_or_default();
        match word.strip_suffix('=') {
            Some(key) => {
                let row = if protocol == "frames" { row(key) } else { row(protocol) };
                assert!(row.contains(&format!("`{key}`")), "no key {key} of {protocol} in {row}");
            }
            // Names stand further left than their keys, and than what wraps.
            None if line.find(word) == Some(12) => {
                row(word);
                protocol = word;
            }
            None => {}
        }
    }
    for key in common.split_whitespace().filter_map(|word| word.strip_suffix('=')) {
        row(key);
    }
    assert!(!protocol.is_empty(), "{help}");
}

/// Every file below `folder` whose name ends so.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path, ending) } else { vec![path] })
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect()
}

/// Every document, with its folder and its text.
fn documents() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut documents = files(&root.join("docs"), ".md");
    documents.extend(["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root.join(name)));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path.parent().unwrap().to_owned(), text)
    };
    documents.into_iter().map(read).collect()
}

#[test]
fn each_test_that_a_document_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = ["src", "tests"].map(|folder| files(&root.join(folder), ".rs")).concat();
    let sources: String = sources.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let mut names = 0;
    for (_, text) in documents() {
        for quoted in text.split('`').skip(1).step_by(2) {
            let name = quoted.rsplit("::").next().unwrap();
            // No other name is as long as a test's.
            let is_word =
                name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            if is_word && name.matches('_').count() >= 4 {
                assert!(sources.contains(&format!("fn {name}(")), "no test {quoted}");
                names += 1;
            }
        }
    }
    assert!(names >= 20, "only {names} tests are named");
}

#[test]
fn no_row_of_the_fault_table_is_missing() {
    let (_, table) =
        include_str!("../docs/reliability.md").split_once("## The fault table").unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next());
    let numbers: Vec<usize> = rows.filter_map(|number| number.parse().ok()).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    assert!((1..=39).eq(numbers.iter().copied().take(39)), "{numbers:?}");
}

#[test]
fn each_file_that_a_document_links_to_is_there() {
    let mut links = 0;
    for (folder, text) in documents() {
        for target in text.split("](").skip(1).filter_map(|behind| behind.split(')').next()) {
            let file = target.split('#').next().unwrap();
            if !target.contains("://") && !file.is_empty() {
                assert!(folder.join(file).exists(), "{}: no {file}", folder.display());
                links += 1;
            }
        }
    }
    assert!(links >= 10, "only {links} links");
}

#[test]
fn each_dependency_has_its_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let reasons = fs::read_to_string(root.join("docs/architecture.md")).unwrap();
    let (_, reasons) = reasons.split_once("## Dependencies").unwrap();
    let (_, dependencies) = manifest.split_once("[dependencies]").unwrap();
    let (dependencies, _) = dependencies.split_once("\n[").unwrap();
    let names =
        dependencies.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name);
    let names: Vec<&str> = names.filter(|name| !name.starts_with('#')).collect();
    assert!(names.len() >= 9, "{names:?}");
    for name in names {
        assert!(reasons.contains(&format!("`{name}`")), "no reason for {name}");
    }
    // The table has those of the library, and no others.
    let required = dependencies.lines().filter(|line| !line.contains("optional = true"));
    let required = required.filter_map(|line| line.split_once(" = ")).map(|(name, _)| name);
    let mut required: Vec<&str> = required.collect();
    let table = reasons.lines().skip_while(|line| !line.starts_with("|--"));
    let table = table.skip(1).take_while(|line| line.starts_with("| `"));
    let cells = table.filter_map(|line| line.split('|').nth(1));
    let mut reasoned: Vec<&str> =
        cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    required.sort_unstable();
    reasoned.sort_unstable();
    assert_eq!(required, reasoned);
}
