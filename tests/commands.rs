//! Every command line of `resound` in the documents, in the help and in the examples is run as it is written there.
//!
//! Each runs in network, mount and process namespaces of its own, because they name ports and paths. A test stands in
//! for what a reader would have: a server at the address that a client is given, files, programs of others. Only the
//! duration of a measurement is changed.
//!
//! The blocks of `docs/course.md` are scripts: each is run as a whole, and prints what the block behind it says.

mod common;

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Mutex, PoisonError},
    thread,
};

use common::{PATIENCE, built_example, resound, skip, tool};

const SUBCOMMANDS: [&str; 10] = [
    "serve", "client", "answer", "bench", "check", "lesson", "status", "timeline", "dialects",
    "faults",
];

/// Its blocks are run as scripts.
const COURSE: &str = "docs/course.md";

/// Held by each of the two long tests: a lesson with 10,000 threads would leave nothing for a measurement of 100 ms.
static MACHINE: Mutex<()> = Mutex::new(());

/// How long a load lasts here: long enough for a frame to come back on a machine with much else to do.
const BRIEFLY: &str = "-z 300ms";

/// How many are run at once.
const THREADS: usize = 3;

/// A command line, with the place where it is documented.
#[derive(Debug)]
struct Documented {
    command: String,
    place: String,
}

/// All of them, each once.
fn documented() -> Vec<Documented> {
    let mut commands = BTreeMap::new();
    let mut add = |command: String, place: String| {
        commands.entry(command).or_insert(place);
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (folder, ending) in [("", "md"), ("docs", "md"), ("examples", "rs")] {
        for path in files(&root.join(folder), ending) {
            if path.ends_with(COURSE) {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            // In Rust, the documentation of the file.
            let text = text.replace("\n//! ", "\n").replace("\n//!\n", "\n\n");
            for command in in_markdown(&text) {
                add(command, path.display().to_string());
            }
        }
    }
    for (subcommand, help) in helps("") {
        for command in in_help(&help) {
            add(command, format!("resound{subcommand} --help"));
        }
    }
    commands.into_iter().map(|(command, place)| Documented { command, place }).collect()
}

/// The files in `folder` whose name ends so.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|found| found == ending)).collect()
}

/// The help of `subcommand` and of those below it, each behind its name.
fn helps(subcommand: &str) -> Vec<(String, String)> {
    let words = subcommand.split_whitespace().chain(["--help"]);
    let output = resound().args(words).env("COLUMNS", "100").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let mut helps = Vec::new();
    if let Some((_, commands)) = help.split_once("Commands:\n") {
        let names = commands.lines().take_while(|line| !line.is_empty());
        // What a description is wrapped to stands further right.
        for name in names.filter_map(|line| line.strip_prefix("  ")?.split(' ').next()) {
            if !name.is_empty() {
                helps.extend(helps_below(subcommand, name));
            }
        }
    }
    helps.push((subcommand.to_owned(), help));
    helps
}

fn helps_below(subcommand: &str, name: &str) -> Vec<(String, String)> {
    helps(&format!("{subcommand} {name}"))
}

/// The lines behind `Examples:`, without what describes them.
fn in_help(help: &str) -> Vec<String> {
    let Some((_, examples)) = help.split_once("Examples:\n") else { return Vec::new() };
    let examples: Vec<&str> = examples.lines().take_while(|line| !line.is_empty()).collect();
    let examples = examples.join("\n").replace("\\\n", " ");
    let command = |line: &str| {
        // One that is too long for the terminal is broken, and then cannot be pasted.
        assert!(is_command(line), "this is no command, or the rest of one: {line:?}");
        line.trim().split("   ").next().unwrap().to_owned()
    };
    examples.lines().map(command).collect()
}

/// The commands in blocks of shell and between backticks.
fn in_markdown(text: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let text = text.replace("\\\n", " ");
    let mut block = None;
    for line in text.lines() {
        if let Some(language) = line.trim().strip_prefix("```") {
            block = if block.is_none() { Some(language) } else { None };
            continue;
        }
        match block {
            Some("sh" | "console") => commands.extend(in_shell(line)),
            Some(_) => {}
            None => {
                let quoted = line.split('`').skip(1).step_by(2);
                commands.extend(quoted.filter(|text| !has_placeholder(text)).filter_map(in_cell));
            }
        }
    }
    commands
}

/// The command in a line of a shell, without its comment.
fn in_shell(line: &str) -> Option<String> {
    let line = line.strip_prefix("$ ").unwrap_or(line);
    let line = line.split(" # ").next().unwrap().trim();
    let line =
        line.replace("cargo run --release -- ", "resound ").replace("cargo run -- ", "resound ");
    let line = line.trim_end_matches(" &").to_owned();
    is_command(&line).then_some(line)
}

/// A command, or what follows `resound serve` in a table.
fn in_cell(text: &str) -> Option<String> {
    let text = text.replace("\\|", "|");
    if text.starts_with("-l ") {
        return Some(format!("resound serve {text}"));
    }
    in_shell(&text)
}

/// Whether `resound` is run in it; it may stand in a pipe, behind variables, and behind taskset(1).
fn is_command(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let is_run = |pair: &[&str]| pair[0] == "resound" && SUBCOMMANDS.contains(&pair[1]);
    !line.starts_with('#') && words.windows(2).any(is_run)
}

/// Whether it only shows a form, like `--reactors N` or `http://…`.
fn has_placeholder(text: &str) -> bool {
    let is_placeholder = |word: &str| {
        let letters = word.trim_matches(|c: char| !c.is_alphabetic());
        !letters.is_empty() && !word.contains('=') && letters.chars().all(char::is_uppercase)
    };
    text.contains('…') || text.split_whitespace().any(is_placeholder)
}

/// The words of a command line; of shell syntax only quotes are known.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for (index, part) in line.split('\'').enumerate() {
        if index % 2 == 1 {
            words.last_mut().unwrap().push_str(part);
            continue;
        }
        for character in part.chars() {
            match character {
                ' ' => words.push(String::new()),
                other => words.last_mut().unwrap().push(other),
            }
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// What a server has to listen at, so that this client or load finds it.
fn listener(words: &[String]) -> String {
    let protocol = words.iter().position(|word| word == "--protocol").map(|at| &words[at + 1]);
    let protocol = protocol.map_or("frames", String::as_str);
    let ends_in_port = |word: &&String| {
        let address = word.split(',').next().unwrap();
        let port = address.rsplit_once(':').map_or("", |(_, port)| port);
        !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
    };
    let is_address = |word: &&String| word.contains("://") || word.starts_with("unix:");
    let address = words.iter().find(|word| is_address(word) || ends_in_port(word));
    let address = address.map_or("127.0.0.1:30000", String::as_str);
    if address.contains("+tls") || address.starts_with("https:") || address.starts_with("wss:") {
        // A client names the file in which it looks for the certificate.
        let ca = words.iter().position(|word| word == "--ca").map(|at| &words[at + 1]);
        let save = ca.map_or_else(String::new, |file| format!(",save-cert={file}"));
        return format!("{address},tls=self-signed{save}");
    }
    match address.strip_prefix("unix:") {
        Some(path) => format!("{protocol}+unix://{path}"),
        None if address.contains("://") => address.to_owned(),
        None => format!("{protocol}://{address}"),
    }
}

/// A folder of one command, which goes with it.
struct Folder(PathBuf);

impl Folder {
    fn new(index: usize) -> Self {
        let name = format!("resound-commands-{}-{index}", std::process::id());
        let folder = Self(std::env::temp_dir().join(name));
        fs::create_dir_all(folder.0.join("bin")).unwrap();
        symlink(env!("CARGO_BIN_EXE_resound"), folder.0.join("bin/resound")).unwrap();
        folder
    }

    /// Another project's server: it listens at the port in its last argument.
    fn foreign_server(&self, path: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let script = "#!/bin/sh\nfor last; do :; done\n\
                      exec resound serve --listen \"raw://127.0.0.1:${last##*:}\"\n";
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Where it cannot be removed, nothing else depends on it.
        let _ = fs::remove_dir_all(&self.0);
    }
}

const SETUP: &str = "\
set -u
ip link set lo up
mount -t tmpfs none /run
# serve COMMAND: runs a server until the end of this shell, and waits until it listens.
serve() {
    : >server.out
    bash -c \"$1\" >server.out 2>server.err </dev/null &
    server=$!
    until grep -q 'listening on' server.out; do
        if ! kill -0 $server 2>/dev/null; then cat server.err >&2; exit 99; fi
        sleep 0.02
    done
}
";

/// A script that runs `command` as it is, after all that it needs was set up in `folder`.
fn script(command: &str, place: &str, folder: &Folder) -> String {
    let mut script = SETUP.to_owned();
    let words = words(command);
    if words.iter().any(|word| word == "--help") {
        return format!("{script}{command}\n");
    }
    let subcommand = words.iter().skip_while(|word| *word != "resound").nth(1).unwrap();
    let reads = |word: &String| word == "compare" || word == "merge";
    let measures = subcommand == "bench" && !words.iter().any(reads);
    let starts_servers = words.iter().any(|word| word == "--server");
    for file in words.iter().filter_map(|word| word.strip_prefix('<')) {
        fs::write(folder.0.join(file), "some bytes, \n".repeat(20_000)).unwrap();
    }
    for pair in words.windows(2).filter(|pair| pair[0] == "--replay") {
        let line = r#"{"event":"opened","listener":1,"connection":1}"#;
        fs::write(folder.0.join(&pair[1]), line).unwrap();
    }
    for pair in words.windows(2).filter(|pair| pair[0] == "--faults") {
        fs::write(folder.0.join(&pair[1]), "flaky = \"drop@1%\"\nmid-body = \"slice=10\"\n")
            .unwrap();
    }
    words.iter().for_each(|word| certificates(word, &folder.0));
    for pair in words.windows(2).filter(|pair| pair[0] == "--server") {
        let program = without_taskset(&pair[1]);
        let program = program.split(' ').next().unwrap();
        if program.contains('/') {
            folder.foreign_server(program);
        }
    }
    let mut command = without_taskset(command);
    match subcommand.as_str() {
        "serve" => {
            let _ = write!(
                script,
                "serve {}\nkill -TERM $server; wait $server || exit 98\ngrep 'served for' server.out\n",
                quoted(&command)
            );
            return script;
        }
        // It ends with its input, or waits for messages.
        "answer" => {
            let _ = write!(script, "serve {}\ncat server.out\n", quoted(&command));
            return script;
        }
        "client" | "bench" | "check" if !starts_servers => {
            let example = Path::new(place).file_stem().filter(|_| place.ends_with(".rs"));
            let server = example.map_or_else(
                || format!("resound serve --listen {}", listener(&words)),
                |name| built_example(&name.to_string_lossy()).display().to_string(),
            );
            let _ = writeln!(script, "serve {}", quoted(&server));
        }
        "timeline" => {
            for file in words.iter().filter(|word| word.ends_with(".json")) {
                fs::write(folder.0.join(file), r#"{"traceEvents":[]}"#).unwrap();
            }
        }
        "status" => {
            let is_address = |word: &&String| word.contains(':');
            let address = words.iter().find(is_address).map_or(":30900", String::as_str);
            let server = format!("resound serve --listen raw://127.0.0.1:0 --admin {address}");
            let _ = writeln!(script, "serve {}", quoted(&server));
            if command.contains("--watch") {
                command.push_str(" | head -n 5");
            }
        }
        _ => {}
    }
    if measures {
        match words.iter().position(|word| word == "-z") {
            Some(at) => command = command.replace(&format!("-z {}", words[at + 1]), BRIEFLY),
            None => command.push_str(&format!(" {BRIEFLY}")),
        }
        if words.iter().any(|word| word == "--ramp") {
            // A slow machine may keep to it at no rate.
            command = command.replace("p99<2ms", "p99<1min");
        }
        if words.iter().any(|word| word == "versus") {
            command.push_str(" --rounds 2");
        }
    } else if subcommand == "bench" {
        for report in words.iter().filter(|word| word.ends_with(".json")) {
            let _ = writeln!(script, "resound bench {BRIEFLY} -c 2 -q --json {report} >/dev/null");
        }
    }
    let _ = writeln!(script, "bash -o pipefail -c {} <<<hello", quoted(&command));
    script
}

/// Writes the certificates and keys that `listen` names.
fn certificates(listen: &str, folder: &Path) {
    let files = |key: &str| {
        let value = listen.split(',').find_map(|part| part.strip_prefix(key)?.strip_prefix('='));
        value.into_iter().flat_map(|files| files.split('+')).map(|file| folder.join(file))
    };
    let signed = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    for (chain, key) in files("cert").zip(files("key")) {
        let rcgen::CertifiedKey { cert, signing_key } = signed();
        fs::write(chain, cert.pem()).unwrap();
        fs::write(key, signing_key.serialize_pem()).unwrap();
    }
    files("client-ca").for_each(|path| fs::write(path, signed().cert.pem()).unwrap());
}

/// The command without the choice of a processor, which this machine may not have.
fn without_taskset(command: &str) -> String {
    let mut words: Vec<&str> = command.split(' ').collect();
    while let Some(at) = words.iter().position(|word| word.trim_start_matches('\'') == "taskset") {
        let quote = if words[at].starts_with('\'') { "'" } else { "" };
        words.drain(at..at + 3);
        if !quote.is_empty() {
            return words[..at].join(" ") + " '" + &without_taskset(&words[at..].join(" "));
        }
    }
    words.join(" ")
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// `bash`, in its own namespaces; all their processes end with it.
fn isolated() -> Command {
    let mut command = Command::new("timeout");
    command.args(["--signal=KILL", &PATIENCE.as_secs().to_string(), "unshare"]);
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash"]);
    command.env_remove("RESOUND_LISTEN");
    command
}

/// Why `documented` does not do what it should, if it does not.
fn wrong(index: usize, documented: &Documented) -> Option<String> {
    let Documented { command, place } = documented;
    let folder = Folder::new(index);
    let script = script(command, place, &folder);
    let path = std::env::var("PATH").unwrap_or_default();
    let mut bash = isolated();
    bash.args(["-c", &script]).current_dir(&folder.0);
    bash.env("PATH", format!("{}:{path}", folder.0.join("bin").display()));
    let Output { status, stdout, stderr } = bash.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    let met = status.code() == Some(3) && command.contains("--fail-if");
    if stderr.contains("raise it (ulimit -n") {
        skip(&format!("{command}: {}", stderr.trim()));
        return None;
    }
    let is_silent = stdout.is_empty() && !command.contains('>');
    (!status.success() && !met || is_silent)
        .then(|| format!("{place}: {command}\n{status}\n{stdout}{stderr}"))
}

#[test]
fn every_command_in_the_documents_does_what_it_is_documented_for() {
    let all = documented();
    for subcommand in SUBCOMMANDS {
        let count = all.iter().filter(|one| one.command.contains(&format!("resound {subcommand}")));
        assert!(count.count() > 0, "no command with {subcommand} was found");
    }
    assert!(all.len() >= 40, "only {} were found", all.len());
    for name in ["unshare", "ip", "timeout", "bash"] {
        if tool(name).is_none() {
            return;
        }
    }
    let possible = isolated().args(["-c", "true"]).output().unwrap();
    if !possible.status.success() {
        let why = String::from_utf8_lossy(&possible.stderr);
        return skip(&format!("unshare: {}", why.trim()));
    }
    let _machine = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let wrongs = Mutex::new(Vec::new());
    let rest = Mutex::new(all.iter().enumerate());
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let next = rest.lock().unwrap().next();
                    let Some((index, documented)) = next else { return };
                    println!("{}: {}", documented.place, documented.command);
                    wrongs.lock().unwrap().extend(wrong(index, documented));
                }
            });
        }
    });
    let wrongs = wrongs.into_inner().unwrap();
    assert!(wrongs.is_empty(), "{} of {}:\n\n{}", wrongs.len(), all.len(), wrongs.join("\n\n"));
}

/// A block of shell in the course, and what it is said to print.
struct Script {
    text: String,
    output: String,
}

fn course() -> Vec<Script> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(COURSE);
    let text = fs::read_to_string(path).unwrap();
    let mut scripts: Vec<Script> = Vec::new();
    let (mut block, mut lines) = (None, String::new());
    for line in text.lines() {
        match (line.strip_prefix("```"), block) {
            (Some(language), None) => (block, lines) = (Some(language), String::new()),
            (Some(_), Some(language)) => {
                match language {
                    "sh" => scripts.push(Script { text: lines.clone(), output: String::new() }),
                    "text" => scripts.last_mut().unwrap().output.clone_from(&lines),
                    other => panic!("a block of {other} in the course"),
                }
                block = None;
            }
            (None, Some(_)) => lines.push_str(&format!("{line}\n")),
            (None, None) => {}
        }
    }
    scripts
}

/// Whether the lines of `expected` come in `printed`, in order; `…` stands for anything in a line, also for nothing, and a
/// line of its own for any lines.
fn prints(printed: &str, expected: &str) -> bool {
    let mut printed = printed.lines();
    expected.lines().filter(|line| *line != "…").all(|line| {
        let parts: Vec<&str> = line.trim_end().split('…').collect();
        printed.any(|found| matches(found.trim_end(), &parts))
    })
}

fn matches(mut line: &str, parts: &[&str]) -> bool {
    let [first, middle @ .., last] = parts else { return line == parts[0] };
    let Some(rest) = line.strip_prefix(first) else { return false };
    line = rest;
    for part in middle {
        let Some((_, rest)) = line.split_once(part) else { return false };
        line = rest;
    }
    line.ends_with(last)
}

/// The script with examples as programs, which are built before, and with patience for a slow machine where a case passes.
fn adapted(script: &str) -> String {
    let patient = if script.contains("--timeout") { "" } else { " --timeout 60s" };
    let script = script.replace("resound check", &format!("resound check{patient}"));
    let mut lines = Vec::new();
    for line in script.lines() {
        match line.split_once("cargo run --example ") {
            Some((before, behind)) => {
                let (name, arguments) = behind.split_once(" -- ").unwrap_or((behind, ""));
                lines.push(format!("{before}{} {arguments}", built_example(name).display()));
            }
            None if line.contains("target/debug/examples/") => {
                let (before, behind) = line.split_once("target/debug/examples/").unwrap();
                let (name, behind) = behind.split_once(' ').unwrap();
                lines.push(format!("{before}{} {behind}", built_example(name).display()));
            }
            None if line.starts_with("cargo build") => {}
            None => lines.push(line.to_owned()),
        }
    }
    lines.join("\n")
}

#[test]
fn every_script_of_the_course_prints_what_the_course_says() {
    if common::is_without_epoll("servers of the lessons that are written for its edges") {
        return;
    }
    let scripts = course();
    assert!(scripts.len() >= 24, "only {} scripts", scripts.len());
    for name in ["unshare", "ip", "timeout", "bash"] {
        if tool(name).is_none() {
            return;
        }
    }
    let possible = isolated().args(["-c", "true"]).output().unwrap();
    if !possible.status.success() {
        let why = String::from_utf8_lossy(&possible.stderr);
        return skip(&format!("unshare: {}", why.trim()));
    }
    let _machine = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut wrongs = Vec::new();
    for (index, Script { text, output: expected }) in scripts.iter().enumerate() {
        println!("{text}");
        let folder = Folder::new(1_000 + index);
        let mut bash = isolated();
        let script = format!("{SETUP}set -e -o pipefail\n{}", adapted(text));
        let path = std::env::var("PATH").unwrap_or_default();
        bash.args(["-c", &script]).current_dir(&folder.0);
        bash.env("PATH", format!("{}:{path}", folder.0.join("bin").display()));
        let output = bash.output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() || printed.is_empty() || !prints(&printed, expected) {
            wrongs.push(format!("{text}{output:?}\n{printed}\n--- expected:\n{expected}"));
        }
    }
    assert!(wrongs.is_empty(), "{} of {}:\n\n{}", wrongs.len(), scripts.len(), wrongs.join("\n\n"));
}

#[test]
fn the_lines_of_a_script_come_in_order() {
    assert!(prints("a\nb 1 c\nd\n", "a\n…\nb … c"));
    assert!(prints("one two three\n", "one…thr…"));
    assert!(!prints("a\nb\n", "b\na"));
    assert!(!prints("b 1 d\n", "b … c"));
}
