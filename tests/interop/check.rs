//! `resound check` and echo servers that others wrote: what it finds in each is what docs/check.md says.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{
    common::{resound, skip, tool},
    python, source,
};

/// What is found in a server.
struct Found {
    /// Its name in docs/check.md.
    name: &'static str,
    target: &'static str,
    /// The cases that fail each time.
    always: &'static [&'static str],
    /// Those that depend on what comes first, and those of other groups than this test runs.
    sometimes: &'static [&'static str],
}

const GO: Found = Found {
    name: "Go",
    target: "frames://",
    always: &[],
    sometimes: &[
        "answers-before-a-refusal",
        "memory-follows-bytes",
        "out-of-descriptors",
        "descriptors-are-back",
        "sigterm-in-flight",
    ],
};
const TOKIO: Found = Found {
    name: "tokio",
    target: "frames://",
    always: &[],
    sometimes: &[
        "urgent-byte",
        "answers-before-a-refusal",
        "out-of-descriptors",
        "descriptors-are-back",
        "sigterm-in-flight",
    ],
};
const LIBUV: Found =
    Found { name: "libuv", target: "raw://", always: &[], sometimes: &["sigterm-in-flight"] };
const LIBEVENT: Found = Found {
    name: "libevent",
    target: "frames://",
    always: &["bounded-output"],
    sometimes: &["answers-before-a-refusal", "fin-behind-much", "sigterm-in-flight"],
};
const NETTY: Found = Found {
    name: "Netty",
    target: "frames://",
    always: &["largest-message"],
    sometimes: &["answers-before-a-refusal", "out-of-descriptors", "descriptors-are-back"],
};
const TWISTED: Found = Found {
    name: "Twisted",
    target: "frames://,preset=twisted-32",
    always: &["bounded-output"],
    sometimes: &[
        "answers-before-a-refusal",
        "fin-behind-a-message",
        "fin-inside-a-head",
        "fin-inside-a-payload",
        "fin-behind-much",
        "sigterm-in-flight",
    ],
};
const ERLANG: Found = Found {
    name: "Erlang",
    target: "frames://,preset=erlang-4",
    always: &[],
    sometimes: &[
        "answers-before-a-refusal",
        "fin-behind-much",
        "out-of-descriptors",
        "descriptors-are-back",
    ],
};
const ASYNCIO: Found = Found {
    name: "asyncio",
    target: "lines://,max=64KiB",
    always: &[],
    sometimes: &["sigterm-in-flight"],
};
const SOCAT: Found =
    Found { name: "socat", target: "raw://", always: &[], sometimes: &["sigterm-in-flight"] };
const NCAT: Found = Found {
    name: "ncat",
    target: "raw://",
    always: &[],
    sometimes: &[
        "thousands-in-flight",
        "small-reader",
        "fin-behind-a-message",
        "fin-behind-much",
        "never-pauses",
        "a-thousand-connections",
        "all-at-once",
        "sigterm-in-flight",
    ],
};

/// The groups that are run. The others depend on how busy the machine is, or take long with a process for each connection.
const GROUPS: [&str; 5] = ["echo", "segments", "limits", "half-close", "fairness"];

/// Fails unless `found` is what is found in the server that this command runs, and what the document says.
fn judge(found: &Found, server: &str) {
    let named = named(found.name);
    let expected: BTreeSet<&str> = found.always.iter().chain(found.sometimes).copied().collect();
    assert_eq!(named, expected, "the row for {} in docs/check.md", found.name);

    let arguments = ["check", found.target, "--server", server, "--timeout", "30s", "--json"];
    let only = GROUPS.iter().flat_map(|group| ["--only", group]);
    let output = resound().args(arguments).args(only).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{}: {error}: {output:?}", found.name));
    let failed =
        report["cases"].as_array().unwrap().iter().filter(|case| case["result"] == "failed");
    let failed: BTreeSet<&str> = failed.map(|case| case["name"].as_str().unwrap()).collect();
    for case in found.always {
        assert!(failed.contains(case), "{}: {case} passes: {failed:?}", found.name);
    }
    for case in failed.into_iter().filter(|case| !found.sometimes.contains(case)) {
        let text = String::from_utf8_lossy(&output.stderr);
        // Where these servers depend on who is faster, a case may fail in one run of many. What the case itself gets wrong
        // fails again.
        let fails_again = || {
            let again = resound().args(arguments).args(["--only", case]).output().unwrap();
            again.status.code() != Some(0)
        };
        let is_always = found.always.contains(&case);
        assert!(is_always || !(fails_again() && fails_again()), "{}: {case}:\n{text}", found.name);
    }
}

/// The cases in the last cell of the server's row in docs/check.md.
fn named(name: &str) -> BTreeSet<&'static str> {
    let document = include_str!("../../docs/check.md");
    let beginning = format!("| {name} | ");
    let row = document.lines().find(|line| line.starts_with(&beginning));
    let row = row.unwrap_or_else(|| panic!("docs/check.md has no row for {name}"));
    let cell = row.rsplit(" | ").next().unwrap_or_default();
    cell.split('`').skip(1).step_by(2).collect()
}

/// A folder for what is built, and the sources of the servers that the benchmarks are compared with.
fn folders() -> (PathBuf, PathBuf) {
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("checked");
    fs::create_dir_all(&built).unwrap();
    (built, Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers"))
}

fn build(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Builds a server in C; `None` where its library is not installed.
fn c_server(name: &str, header: &str, library: &str) -> Option<String> {
    let gcc = tool("gcc")?;
    if !Path::new("/usr/include").join(header).exists() {
        skip(&format!("{header} not installed"));
        return None;
    }
    let (built, sources) = folders();
    let program = built.join(name);
    let mut command = Command::new(gcc);
    command.args(["-D_GNU_SOURCE", "-O2", "-o"]).arg(&program);
    build(command.arg(sources.join(format!("c/{name}.c"))).arg(format!("-l{library}")));
    Some(format!("{} 127.0.0.1:{{port}}", program.display()))
}

/// A server in Go.
fn go_server(name: &str, arguments: &str) -> Option<String> {
    let go = tool("go")?;
    let (built, sources) = folders();
    let program = built.join(format!("go-{name}"));
    let mut command = Command::new(go);
    command.env("GOCACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("go"));
    command
        .env("GO111MODULE", "off")
        .env("GOTOOLCHAIN", "local")
        .args(["build", "-o"])
        .arg(&program);
    build(command.arg(sources.join(format!("go/{name}/main.go"))));
    Some(format!("{} {arguments} 127.0.0.1:{{port}}", program.display()))
}

/// The command that runs one of our Python programs with that package.
fn python_server(package: &str, program: &str) -> Option<String> {
    let command = python(package, program)?;
    // Without timeout(1), which would leave the process group.
    let words: Vec<String> =
        command.get_args().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    Some(format!("exec {} {{port}}", words.join(" ")))
}

#[test]
fn go_with_a_goroutine_for_each_connection() {
    let Some(server) = go_server("framed", "tutorial") else { return };
    judge(&GO, &server);
}

#[test]
fn tokio_with_its_length_delimited_codec() {
    let (built, sources) = folders();
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--release", "--locked", "--quiet", "--bin", "tokio_tutorial"]);
    command.arg("--manifest-path").arg(sources.join("rust/Cargo.toml"));
    // Where the benchmarks build it too.
    let target = built.parent().unwrap().with_file_name("peers").join("rust");
    build(command.arg("--target-dir").arg(&target));
    let program = target.join("release/tokio_tutorial");
    judge(&TOKIO, &format!("{} 127.0.0.1:{{port}}", program.display()));
}

#[test]
fn libuv() {
    let Some(server) = c_server("libuv", "uv.h", "uv") else { return };
    judge(&LIBUV, &server);
}

#[test]
fn libevent_with_buffer_events() {
    let Some(server) = c_server("libevent", "event2/event.h", "event_core") else { return };
    judge(&LIBEVENT, &server);
}

#[test]
fn netty_on_one_event_loop() {
    let (Some(java), Some(javac)) = (tool("java"), tool("javac")) else { return };
    let Some(jars) = crate::netty_jars() else { return };
    let (built, sources) = folders();
    let classes = built.join("netty").display().to_string();
    let mut command = Command::new(javac);
    command.args(["-cp", &jars, "-d", &classes]).arg(sources.join("netty/Framed.java"));
    build(&mut command);
    let options = "-Dio.netty.noUnsafe=true -cp";
    judge(
        &NETTY,
        &format!("{} {options} {jars}:{classes} Framed 127.0.0.1:{{port}}", java.display()),
    );
}

#[test]
fn twisted_string_receiver() {
    let Some(server) = python_server("twisted", "echo_twisted.py") else { return };
    judge(&TWISTED, &server);
}

#[test]
fn erlang_with_a_process_for_each_connection() {
    let Some(escript) = tool("escript") else { return };
    let program = source("echo_erlang.escript");
    judge(&ERLANG, &format!("{} {} {{port}}", escript.display(), program.display()));
}

#[test]
fn asyncio_streams() {
    let Some(python) = tool("python3") else { return };
    let program = source("echo_asyncio.py");
    judge(&ASYNCIO, &format!("{} {} {{port}}", python.display(), program.display()));
}

#[test]
fn socat_with_a_process_for_each_connection() {
    let Some(socat) = tool("socat") else { return };
    let listen = "TCP-LISTEN:{port},fork,reuseaddr,bind=127.0.0.1";
    judge(&SOCAT, &format!("{} {listen} EXEC:cat", socat.display()));
}

#[test]
fn ncat_with_a_process_for_each_connection() {
    let Some(ncat) = tool("ncat") else { return };
    let arguments = "--listen --keep-open --exec /bin/cat 127.0.0.1 {port}";
    judge(&NCAT, &format!("{} {arguments}", ncat.display()));
}
