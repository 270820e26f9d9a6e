//! The documents are true: the tables of options agree with `--help`, and every test, file and function that a document
//! names exists.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const README: &str = include_str!("../README.md");
const OPTIONS: &str = include_str!("../docs/options.md");

/// What `resound ARGUMENTS` prints.
fn printed(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_resound"));
    let output = command.args(arguments).env("COLUMNS", "200").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The row that begins with `cell` in a table of `docs/options.md`.
fn row(cell: &str) -> &'static str {
    let beginnings = [format!("| `{cell}` |"), format!("| `{cell}`, ")];
    let is_it = |line: &&str| beginnings.iter().any(|beginning| line.starts_with(beginning));
    OPTIONS.lines().find(is_it).unwrap_or_else(|| panic!("no row for {cell}"))
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
        assert!(row("preset").contains(&format!("`{name}`")), "no {name} in its row");
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
                assert!(README.contains(&format!("\n| `{word}` |")), "no {word} in the README");
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
    let others = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "fuzz/README.md"];
    documents.extend(others.map(|name| root.join(name)));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path.parent().unwrap().to_owned(), text)
    };
    documents.into_iter().map(read).collect()
}

/// What stands between backticks in `text`, outside blocks of code.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split("```").step_by(2).flat_map(|prose| prose.split('`').skip(1).step_by(2))
}

/// Every Rust file in `folders`, with its path below the root and its text.
fn sources(folders: &[&str]) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let paths = folders.iter().flat_map(|folder| files(&root.join(folder), ".rs"));
    paths
        .map(|path| {
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect()
}

/// Whether `path` is where a test with these modules in its name is: `memory::tests` in `src/memory.rs`, `memory` in
/// `tests/memory.rs`, `simulation::rows` in `tests/simulation/rows.rs`.
fn is_in(path: &str, modules: &[&str]) -> bool {
    let is_unit_test = modules.contains(&"tests");
    let parts: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
    let has = |module: &&str| parts.contains(module) || *module == "tests";
    let folder = if is_unit_test || modules == ["wrappers"] { "src" } else { "tests" };
    parts[0] == folder && modules.iter().all(has)
}

#[test]
fn each_test_that_a_document_names_is_there() {
    let sources = sources(&["src", "tests"]);
    let mut names = 0;
    for (_, text) in documents() {
        for quoted in quoted(&text) {
            let mut modules: Vec<&str> = quoted.split("::").collect();
            let name = modules.pop().unwrap();
            // No other name is as long as a test's, but for some metrics.
            let is_word =
                name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            let is_metric = name.starts_with("resound_");
            if is_word && !is_metric && name.matches('_').count() >= 4 {
                let function = format!("fn {name}(");
                let mut paths = sources.iter().filter(|(_, text)| text.contains(&function));
                let is_there = paths.any(|(path, _)| modules.is_empty() || is_in(path, &modules));
                assert!(is_there, "no test {quoted}");
                names += 1;
            }
        }
    }
    assert!(names >= 100, "only {names} tests are named");
}

#[test]
fn each_path_that_a_document_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = 0;
    for (_, text) in documents() {
        for quoted in quoted(&text) {
            let folder = quoted.split('/').next().unwrap();
            let is_path = ["src", "tests", "docs", "benches", "examples", "fuzz", "deploy", ".ci"]
                .contains(&folder)
                && quoted.len() > folder.len()
                && !quoted.contains(' ');
            if is_path {
                assert!(root.join(quoted).exists(), "no {quoted}");
                paths += 1;
            }
        }
    }
    assert!(paths >= 50, "only {paths} paths are named");
}

/// `Type::function`, `Type::field` and `Type::Variant`.
#[test]
fn each_symbol_that_the_architecture_names_is_there() {
    let sources: String = sources(&["src"]).into_iter().map(|(_, text)| text).collect();
    let mut symbols = 0;
    for quoted in quoted(include_str!("../docs/architecture.md")) {
        let Some((owner, name)) = quoted.split_once("::") else { continue };
        let is_type = owner.starts_with(|first: char| first.is_ascii_uppercase());
        if is_type {
            let forms = [
                format!("fn {name}"),
                format!("{name}:"),
                format!(" {name},"),
                format!(" {name} {{"),
            ];
            let is_there = forms.iter().any(|form| sources.contains(form));
            assert!(is_there && sources.contains(owner), "no {quoted}");
            symbols += 1;
        }
    }
    assert!(symbols >= 30, "only {symbols} symbols are named");
}

#[test]
fn no_row_of_the_fault_table_is_missing() {
    let (_, table) =
        include_str!("../docs/reliability.md").split_once("## The fault table").unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    let numbers = rows.iter().filter_map(|row| row.split(' ').nth(1)?.parse().ok());
    let numbers: Vec<usize> = numbers.collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    assert!((1..=50).eq(numbers.iter().copied().take(50)), "{numbers:?}");
    for row in rows {
        let tests = row.split(" | ").nth(3).unwrap_or_default();
        assert!(quoted(tests).any(|name| name.contains("::")), "no test: {row}");
    }
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
