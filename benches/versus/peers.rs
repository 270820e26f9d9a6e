//! The servers that are compared: what each is, and how it is built.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The server that all others are measured against.
pub const YARDSTICK: &str = "bare-c";

/// A server and where it comes from.
#[derive(Debug)]
pub struct Peer {
    pub name: &'static str,
    /// What it does, for the table.
    pub what: &'static str,
    source: Source,
    /// Whether it is part of a `--quick` run.
    pub quick: bool,
}

#[derive(Debug)]
enum Source {
    /// This crate's own command, with these arguments besides the usual ones.
    Resound(&'static [&'static str]),
    /// A file in `c/`; the header that has to be there, or an empty string; the library to link with.
    C(&'static str, &'static str, &'static str),
    /// A binary of the crate in `rust/`.
    Rust(&'static str),
    /// A program in `go/` and its arguments.
    Go(&'static str, &'static [&'static str]),
    Netty,
    Uvloop,
    /// A command given when it was run.
    Given(Vec<String>),
}

const fn peer(name: &'static str, what: &'static str, source: Source) -> Peer {
    Peer { name, what, source, quick: false }
}

const fn quick(name: &'static str, what: &'static str, source: Source) -> Peer {
    Peer { name, what, source, quick: true }
}

/// All of them, in the order of the tables.
pub static ALL: [Peer; 15] = [
    quick(YARDSTICK, "C epoll, no parsing", Source::C("bare", "", "")),
    quick("resound", "whole frames", Source::Resound(&[])),
    quick("framed-c", "C epoll, whole frames", Source::C("framed", "", "")),
    peer("uring", "C io_uring, no parsing", Source::C("uring", "liburing.h", "uring")),
    peer("libuv", "no parsing, tuned", Source::C("libuv", "uv.h", "uv")),
    peer(
        "libevent",
        "bufferevent, whole frames",
        Source::C("libevent", "event2/event.h", "event_core"),
    ),
    peer("threads", "Rust std, a thread per connection, no parsing", Source::Rust("threads")),
    peer("tokio-raw", "no parsing", Source::Rust("tokio_raw")),
    peer("tokio-tuned", "LengthDelimitedCodec, feed all, flush once", Source::Rust("tokio_tuned")),
    peer("tokio-tutorial", "LengthDelimitedCodec, send per frame", Source::Rust("tokio_tutorial")),
    peer("go-raw", "no parsing", Source::Go("raw", &[])),
    peer("go-tuned", "whole frames, bufio, flush once", Source::Go("framed", &["tuned"])),
    peer("go-tutorial", "whole frames, a write per frame", Source::Go("framed", &["tutorial"])),
    peer("netty", "NIO, whole frames", Source::Netty),
    peer("uvloop", "Python on libuv, no parsing", Source::Uvloop),
];

/// The same server with an admin port, which nothing asks for anything.
#[allow(dead_code, reason = "`versus` compares servers, and this is none of its own")]
pub static WITH_ADMIN: Peer =
    quick("resound-admin", "whole frames, --admin", Source::Resound(&["--admin", ANY_PORT]));

/// What became of building a peer.
#[derive(Debug)]
pub enum Built {
    /// The command that runs it.
    Command(Vec<String>),
    /// What is not installed.
    Missing(&'static str),
}

/// Where the peers' sources are.
fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers")
}

/// Where built peers and their logs go: `target/peers`.
pub fn directory() -> io::Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from);
    let directory = target.join("peers");
    std::fs::create_dir_all(directory.join("logs"))?;
    Ok(directory)
}

/// Netty's parts as Debian's `libnetty-java` installs them.
const NETTY: [&str; 6] = [
    "/usr/share/java/netty-buffer.jar",
    "/usr/share/java/netty-codec.jar",
    "/usr/share/java/netty-common.jar",
    "/usr/share/java/netty-handler.jar",
    "/usr/share/java/netty-resolver.jar",
    "/usr/share/java/netty-transport.jar",
];

const ANY_PORT: &str = "127.0.0.1:0";

impl Peer {
    /// A server that is not in the list: `NAME=COMMAND ARGUMENT ...`, where the command prints where it listens.
    pub fn given(text: &str) -> Result<&'static Self, String> {
        let (name, words) = text.split_once('=').ok_or("expected NAME=COMMAND ARGUMENT ...")?;
        let words = words.split_whitespace().map(str::to_owned).collect();
        // There are few, and they are needed to the end.
        let name = Box::leak(name.to_owned().into_boxed_str());
        Ok(Box::leak(Box::new(peer(name, "given", Source::Given(words)))))
    }

    /// How many slices it takes before its numbers mean something: more for what is compiled while it runs.
    pub const fn warm_up(&self) -> u32 {
        match self.source {
            Source::Netty => 10,
            _ => 1,
        }
    }

    /// Builds it, unless its toolchain is missing. An error is a build that failed.
    pub fn build(&self) -> io::Result<Built> {
        let directory = directory()?;
        let program = directory.join(self.name).display().to_string();
        match &self.source {
            Source::Given(words) => Ok(command(words)),
            Source::Resound(arguments) => {
                let listen = format!("frames://{ANY_PORT}");
                let usual = [env!("CARGO_BIN_EXE_resound"), "serve", "--listen", &listen];
                let limit = ["--max-connections", "25000"];
                Ok(command(usual.iter().chain(&limit).chain(*arguments)))
            }
            Source::C(file, header, library) => {
                if !works(Command::new("gcc").arg("--version")) {
                    return Ok(Built::Missing("gcc"));
                }
                let mut probe = Command::new("gcc");
                probe.args(["-fsyntax-only", "-xc", "/dev/null", "-include", header]);
                if !header.is_empty() && !works(&mut probe) {
                    return Ok(Built::Missing(header));
                }
                let mut gcc = Command::new("gcc");
                gcc.args(["-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-o", &program]);
                gcc.arg(sources().join(format!("c/{file}.c")));
                if !library.is_empty() {
                    gcc.arg(format!("-l{library}"));
                }
                succeed(&mut gcc)?;
                Ok(command([&program, ANY_PORT]))
            }
            Source::Rust(binary) => {
                let target = directory.join("rust");
                let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
                succeed(
                    Command::new(cargo)
                        .args(["build", "--release", "--locked", "--quiet", "--manifest-path"])
                        .arg(sources().join("rust/Cargo.toml"))
                        .arg("--target-dir")
                        .arg(&target),
                )?;
                let program = target.join("release").join(binary);
                Ok(command([&program.display().to_string(), ANY_PORT]))
            }
            Source::Go(name, arguments) => {
                if !works(Command::new("go").arg("version")) {
                    return Ok(Built::Missing("go"));
                }
                let file = sources().join(format!("go/{name}/main.go"));
                succeed(Command::new("go").args(["build", "-o", &program]).arg(file))?;
                Ok(command([program.as_str()].iter().chain(*arguments).chain(&[ANY_PORT])))
            }
            Source::Netty => {
                if !works(Command::new("javac").arg("-version")) {
                    return Ok(Built::Missing("javac"));
                }
                if !NETTY.iter().all(|jar| Path::new(jar).exists()) {
                    return Ok(Built::Missing("libnetty-java"));
                }
                let classes = format!("{}:{program}", NETTY.join(":"));
                let file = sources().join("netty/Framed.java");
                succeed(Command::new("javac").args(["-cp", &classes, "-d", &program]).arg(file))?;
                Ok(command(["java", "-cp", &classes, "Framed", ANY_PORT]))
            }
            Source::Uvloop => {
                if !works(Command::new("python3").args(["-c", "import uvloop"])) {
                    return Ok(Built::Missing("uvloop"));
                }
                let file = sources().join("python/uvloop_raw.py");
                Ok(command(["python3", &file.display().to_string(), ANY_PORT]))
            }
        }
    }
}

fn command<I>(words: I) -> Built
where
    I: IntoIterator,
    I::Item: ToString,
{
    Built::Command(words.into_iter().map(|word| word.to_string()).collect())
}

/// Whether a command is there and content.
fn works(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn succeed(command: &mut Command) -> io::Result<()> {
    let status = command.status()?;
    if status.success() {
        return Ok(());
    }
    let words: Vec<&OsStr> =
        std::iter::once(command.get_program()).chain(command.get_args()).collect();
    Err(io::Error::other(format!("{words:?} failed: {status}")))
}
