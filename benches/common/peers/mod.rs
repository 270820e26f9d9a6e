//! The servers that are compared: what each is, what it speaks, and how it is built.

pub mod frames;
pub mod http;
pub mod lines;
pub mod tls;
pub mod udp;
pub mod websocket;

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::certificate;
use super::protocol::Protocol;

/// A server and where it comes from.
#[derive(Debug)]
pub struct Peer {
    pub name: &'static str,
    /// What it does, for the table.
    pub what: &'static str,
    /// What it speaks. It is started for each of them by itself.
    pub protocols: &'static [Protocol],
    source: Source,
    /// What follows the address in its command.
    arguments: &'static [&'static str],
    /// Whether it is part of a `--quick` run.
    pub quick: bool,
    /// Whether it never sleeps. It is stopped while others are measured.
    pub spins: bool,
}

/// In the words of a command: the name of the protocol that a server is started for.
const PROTOCOL: &str = "{protocol}";

/// In the words of a command: the files with the certificate and the key of servers of TLS.
const CERTIFICATE: &str = "{certificate}";
const KEY: &str = "{key}";

/// In the words of a command: the server `bare-c`, to which others pass on what they get.
const BARE: &str = "{bare-c}";

/// In the words of a command: a free port of 127.0.0.1. The server listens once it accepts a connection there; any
/// other prints `listening on ADDRESS`.
pub const PORT: &str = "{port}";

#[derive(Debug)]
enum Source {
    /// This crate's own command, with these arguments besides the usual ones.
    Resound(&'static [&'static str]),
    /// A file in `c/`, with flags for the compiler, and what has to be installed.
    C {
        file: &'static str,
        flags: &'static [&'static str],
        needs: Library,
    },
    /// A binary of the crate in `rust/`.
    Rust(&'static str),
    /// A program in `go/`, the package that it needs of those that Debian installs, and its arguments.
    Go {
        name: &'static str,
        package: Option<&'static str>,
        arguments: &'static [&'static str],
    },
    Netty,
    /// A file in `python/`, and the modules that it imports.
    Python {
        file: &'static str,
        modules: &'static str,
    },
    /// A shell script that is given a port, runs other programs and ends with them; the files that have to be there.
    Script {
        file: &'static str,
        needs: &'static [&'static str],
    },
    /// A command given when it was run.
    Given(&'static [String]),
}

/// A library in C.
#[derive(Debug, Clone, Copy)]
enum Library {
    /// None but libc.
    Libc,
    /// The header that has to be there, and the name to link with.
    Named(&'static str, &'static str),
    /// That of uWebSockets in Python's package socketify, wherever Python finds it.
    Socketify,
}

/// A program in C that needs no library.
const fn c(file: &'static str) -> Source {
    Source::C { file, flags: &[], needs: Library::Libc }
}

/// A program in Go that needs no package.
const fn go(name: &'static str, arguments: &'static [&'static str]) -> Source {
    Source::Go { name, package: None, arguments }
}

const fn c_with(file: &'static str, header: &'static str, library: &'static str) -> Source {
    Source::C { file, flags: &[], needs: Library::Named(header, library) }
}

impl Peer {
    const fn new(
        name: &'static str,
        what: &'static str,
        protocols: &'static [Protocol],
        source: Source,
    ) -> Self {
        Self { name, what, protocols, source, arguments: &[], quick: false, spins: false }
    }

    /// These follow the address in its command.
    const fn with(self, arguments: &'static [&'static str]) -> Self {
        Self { arguments, ..self }
    }

    /// It is part of a `--quick` run.
    const fn quick(self) -> Self {
        Self { quick: true, ..self }
    }

    /// It never sleeps.
    const fn spins(self) -> Self {
        Self { spins: true, ..self }
    }
}

/// This crate's own server, which speaks all of them.
static RESOUND: Peer =
    Peer::new("resound", "this crate", &Protocol::ALL, Source::Resound(&[])).quick();

/// The same server with an admin port, which nothing asks for anything.
pub static WITH_ADMIN: Peer = Peer::new(
    "resound-admin",
    "this crate, --admin",
    &[Protocol::Frames],
    Source::Resound(&["--admin", ANY_PORT]),
)
.quick();

/// All of them, in the order of the tables.
pub fn all() -> impl Iterator<Item = &'static Peer> {
    let plain = frames::ALL.iter().chain(&lines::ALL).chain(&udp::ALL);
    let others = tls::ALL.iter().chain(&http::ALL).chain(&websocket::ALL);
    [&RESOUND].into_iter().chain(plain).chain(others)
}

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

/// Where Debian installs packages of Go.
const DEBIAN_GO: &str = "/usr/share/gocode";

const ANY_PORT: &str = "127.0.0.1:0";

impl Peer {
    /// A server that is not in the list: `[PROTOCOL:]NAME=COMMAND ARGUMENT ...`. With `{protocol}` in its command it
    /// speaks all protocols; otherwise the one that is named, or frames.
    pub fn given(text: &str) -> Result<&'static Self, String> {
        let (name, words) =
            text.split_once('=').ok_or("expected [PROTOCOL:]NAME=COMMAND ARGUMENT ...")?;
        let (protocols, name) = match name.split_once(':') {
            Some((protocol, name)) => (vec![protocol.parse()?], name),
            None if words.contains(PROTOCOL) => (Protocol::ALL.to_vec(), name),
            None => (vec![Protocol::Frames], name),
        };
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        // There are few, and they are needed to the end.
        let (protocols, name) = (protocols.leak(), name.to_owned().leak());
        Ok(Box::leak(Box::new(Self::new(name, "given", protocols, Source::Given(words.leak())))))
    }

    /// How many slices it takes before its numbers mean something: more for what is compiled while it runs.
    pub const fn warm_up(&self) -> u32 {
        match self.source {
            Source::Netty => 10,
            _ => 1,
        }
    }

    /// Whether its process is a script that runs the servers.
    pub const fn runs_others(&self) -> bool {
        matches!(self.source, Source::Script { .. })
    }

    pub fn speaks(&self, protocol: Protocol) -> bool {
        self.protocols.contains(&protocol)
    }

    /// Builds it, unless its toolchain is missing, and gives the command that runs it for `protocol`. An error is a build
    /// that failed.
    pub fn build(&self, protocol: Protocol) -> io::Result<Built> {
        let mut words = match self.built(protocol)? {
            Built::Command(words) => words,
            missing @ Built::Missing(_) => return Ok(missing),
        };
        words.extend(self.arguments.iter().map(|&word| word.to_owned()));
        let asks_for = |what| words.iter().any(|word| word.contains(what));
        let (mut certificate, mut key, mut bare) = Default::default();
        if asks_for(CERTIFICATE) {
            match certificate::files(&directory()?)? {
                Some(files) => (certificate, key) = files,
                None => return Ok(Built::Missing("openssl")),
            }
        }
        if asks_for(BARE) {
            match frames::BARE.built(Protocol::Raw)? {
                Built::Command(words) => bare = words.into_iter().next().unwrap_or_default(),
                missing @ Built::Missing(_) => return Ok(missing),
            }
        }
        let meant =
            [(PROTOCOL, protocol.name()), (CERTIFICATE, &certificate), (KEY, &key), (BARE, &bare)];
        let filled =
            |word: String| meant.iter().fold(word, |word, (what, meant)| word.replace(what, meant));
        Ok(Built::Command(words.into_iter().map(filled).collect()))
    }

    fn built(&self, protocol: Protocol) -> io::Result<Built> {
        let directory = directory()?;
        let program = directory.join(self.name).display().to_string();
        match &self.source {
            Source::Given(words) => Ok(command(*words)),
            Source::Resound(arguments) => {
                let listen = format!("{protocol}://{ANY_PORT}{}", protocol.keys());
                let usual = [env!("CARGO_BIN_EXE_resound"), "serve", "--listen", &listen];
                let limit = ["--max-connections", "25000"];
                Ok(command(usual.iter().chain(&limit).chain(*arguments)))
            }
            Source::C { file, flags, needs } => {
                if !works(Command::new("gcc").arg("--version")) {
                    return Ok(Built::Missing("gcc"));
                }
                let mut gcc = Command::new("gcc");
                gcc.args(["-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-o", &program]).args(*flags);
                gcc.arg(sources().join(format!("c/{file}.c")));
                if let Library::Named(header, library) = needs {
                    if !has_header(header) {
                        return Ok(Built::Missing(header));
                    }
                    gcc.arg(format!("-l{library}"));
                }
                if let Library::Socketify = needs {
                    let Some(folder) = socketify() else {
                        return Ok(Built::Missing("socketify"));
                    };
                    gcc.arg(folder.join(SOCKETIFY));
                    gcc.arg(format!("-Wl,-rpath,{}", folder.display()));
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
            Source::Go { name, package, arguments } => {
                if !works(Command::new("go").arg("version")) {
                    return Ok(Built::Missing("go"));
                }
                let mut go = Command::new("go");
                if let Some(package) = package {
                    if !Path::new(DEBIAN_GO).join("src").join(package).exists() {
                        return Ok(Built::Missing(package));
                    }
                    go.env("GO111MODULE", "off").env("GOPATH", DEBIAN_GO);
                }
                let file = sources().join(format!("go/{name}/main.go"));
                succeed(go.args(["build", "-o", &program]).arg(file))?;
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
            Source::Python { file, modules } => {
                if !works(Command::new("python3").args(["-c", &format!("import {modules}")])) {
                    return Ok(Built::Missing(modules));
                }
                let file = sources().join("python").join(file);
                Ok(command(["python3", &file.display().to_string(), ANY_PORT]))
            }
            Source::Script { file, needs } => {
                if let Some(missing) = needs.iter().find(|file| !Path::new(file).exists()) {
                    return Ok(Built::Missing(missing));
                }
                let file = sources().join(file);
                Ok(command(["sh", &file.display().to_string(), PORT]))
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

/// The library in Python's package socketify.
const SOCKETIFY: &str = "libsocketify_linux_amd64.so";

/// The folder of Python's package socketify, if its library is there.
fn socketify() -> Option<PathBuf> {
    let find =
        "import importlib.util as i; print(i.find_spec('socketify').submodule_search_locations[0])";
    let found = Command::new("python3").args(["-c", find]).stderr(Stdio::null()).output().ok()?;
    let folder = PathBuf::from(String::from_utf8(found.stdout).ok()?.trim());
    folder.join(SOCKETIFY).exists().then_some(folder)
}

fn has_header(header: &str) -> bool {
    let mut probe = Command::new("gcc");
    works(probe.args(["-fsyntax-only", "-xc", "/dev/null", "-include", header]))
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
