//! What packages need: manual pages and completions, and a log that programs read.

mod common;

use std::{
    fs,
    process::{Command, Stdio},
};

use common::{Daemon, resound, tool};

#[test]
fn every_subcommand_has_a_manual_page_without_a_mistake() {
    let folder = std::env::temp_dir().join(format!("resound-man-{}", std::process::id()));
    let pages = folder.join("pages");
    let status = resound().arg("man").arg(&pages).status().unwrap();
    assert!(status.success());
    let mut names: Vec<String> = fs::read_dir(&pages)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    for name in ["resound-bench-versus.1", "resound-client.1", "resound-serve.1", "resound.1"] {
        assert!(names.iter().any(|found| found == name), "no {name} in {names:?}");
    }
    let serve = fs::read_to_string(pages.join("resound-serve.1")).unwrap();
    for text in ["max\\-connections", "RESOUND_GRACE", "SIGTERM", "loop\\-guard="] {
        assert!(serve.contains(text), "no {text} in {serve}");
    }
    if let Some(groff) = tool("groff") {
        for name in &names {
            let mut command = Command::new(&groff);
            let output =
                command.args(["-man", "-Tutf8", "-ww", "-z"]).arg(pages.join(name)).output();
            let output = output.unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.is_empty(), "{name}: {said}");
        }
    }
    fs::remove_dir_all(folder).unwrap();

    let output = resound().args(["man", "/dev/null/pages"]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("cannot write manual pages to /dev/null/pages"), "{error}");
}

#[test]
fn bash_completes_subcommands_flags_and_values() {
    let Some(bash) = tool("bash") else { return };
    let script = resound().args(["completions", "bash"]).output().unwrap();
    let script = String::from_utf8(script.stdout).unwrap();
    for (words, last, expected) in [
        ("resound se", "se", "serve"),
        ("resound serve --max-c", "--max-c", "--max-connections --max-connections-per-ip"),
        ("resound serve --overload r", "r", "refuse"),
        ("resound --log-format j", "j", "json"),
    ] {
        let count = words.split(' ').count() - 1;
        let before = words.split(' ').nth(count - 1).unwrap();
        let question = format!(
            "{script}\nCOMP_WORDS=({words}); COMP_CWORD={count}; _resound resound '{last}' '{before}'; \
             echo ${{COMPREPLY[@]}}"
        );
        let output = Command::new(&bash).args(["--norc", "-c", &question]).output().unwrap();
        let answer = String::from_utf8_lossy(&output.stdout);
        assert_eq!(answer.trim(), expected, "{words}: {output:?}");
    }
}

#[test]
fn there_are_completions_for_other_shells_and_a_reader_may_leave() {
    for shell in ["zsh", "fish"] {
        let output = resound().args(["completions", shell]).output().unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && script.contains("max-connections-per-ip"), "{script}");
    }
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = resound();
    command.args(["completions", "zsh"]).stdout(Stdio::from(writer));
    assert!(command.status().unwrap().success());
}

#[test]
fn each_line_of_a_json_log_is_an_object_also_the_last_error() {
    let mut command = resound();
    command.args(["serve", "--listen", "frames://127.0.0.1:0", "--log-format", "json"]);
    let stderr = Daemon::spawn(command, 1).stop().stderr;
    let mut command = resound();
    command.args(["serve", "--listen", "frames://192.0.2.1:1"]);
    let failed = command.env("RESOUND_LOG_FORMAT", "json").output().unwrap();
    assert_eq!(failed.status.code(), Some(1));
    let failed = String::from_utf8(failed.stderr).unwrap();
    let mut messages = Vec::new();
    for line in stderr.lines().chain(failed.lines()) {
        let line: serde_json::Value = serde_json::from_str(line).expect(line);
        let text = |name: &str| line[name].as_str().unwrap().to_owned();
        assert_eq!(line.as_object().unwrap().len(), 4);
        assert!(text("time").ends_with('Z') && text("target").starts_with("resound"), "{line}");
        messages.push(format!("{}: {}", text("level"), text("message")));
    }
    for beginning in ["info: at most ", "info: stopping: ", "error: cannot listen on frames://192"]
    {
        let is_there = messages.iter().any(|message| message.starts_with(beginning));
        assert!(is_there, "no {beginning:?} in {messages:#?}");
    }
}
