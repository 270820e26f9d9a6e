//! The README's tables say what the command says.

use std::process::Command;

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
    // Each flag has a paragraph of its own that begins with it, or with its short form.
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
    let mut protocol = "";
    for line in protocols.lines() {
        let word = line.split_whitespace().next().unwrap_or_default();
        match word.strip_suffix('=') {
            Some(key) if protocol == "frames" => {
                row(key);
            }
            Some(key) => assert!(row(protocol).contains(&format!("`{key}`")), "no key {key}"),
            None if line.starts_with("            ") && !line.starts_with("             ") => {
                row(word);
                protocol = word;
            }
            None => {}
        }
    }
    assert!(!protocol.is_empty(), "{help}");
}
