//! The daemon and the programs of others: each protocol and each dialect spoken by its own side's implementation.
//!
//! `.ci/install-tools` installs them all; a test whose program is not there skips itself and says so. Their sources are in
//! `programs/`, and each prints how many frames came back as they went.

#[path = "../common/mod.rs"]
mod common;

mod balancer;
mod bodies;
mod check;
mod chromium;
mod datagrams;
mod devtools;
mod faults;
mod frames;
mod http;
mod kubernetes;
mod lines;
mod namespaces;
mod page;
mod prometheus;
mod proxy;
mod rpc;
mod timeline;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
#[path = "../tls/support.rs"]
mod tls_support;
mod websocket;

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use common::{Daemon, PATIENCE, resound, skip, tool};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// `program`, which ends after [`PATIENCE`] at the latest, so that one that hangs fails its test.
fn foreign(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new("timeout");
    command.arg(PATIENCE.as_secs().to_string()).arg(program.as_ref());
    command
}

/// The file `name` in `tests/interop/programs`.
fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/programs").join(name)
}

/// What `.ci/install-tools` has put into `target/interop`, if it has.
fn installed(path: &str, name: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent()?.join("interop");
    if folder.join(path).exists() {
        return Some(folder);
    }
    skip(&format!("{name} not installed (.ci/install-tools does it)"));
    None
}

/// The class path of Netty as Debian packages it.
fn netty_jars() -> Option<String> {
    let folder = Path::new("/usr/share/java");
    if !folder.join("netty-codec.jar").exists() {
        skip("libnetty-java not installed");
        return None;
    }
    let jars = ["buffer", "codec", "common", "handler", "resolver", "transport"]
        .map(|part| folder.join(format!("netty-{part}.jar")).display().to_string());
    Some(jars.join(":"))
}

/// Python with that package of `requirements.txt`, about to run a program of ours.
fn python(package: &str, program: &str) -> Option<Command> {
    tool("python3")?;
    let library = format!("venv/lib/python3.{}/site-packages/{package}", python_minor()?);
    let folder = installed(&library, package)?;
    let mut command = foreign(folder.join("venv/bin/python"));
    command.arg(source(program));
    Some(command)
}

/// Which Python 3 the packages were installed for.
fn python_minor() -> Option<String> {
    let folder = installed("venv", "the packages for Python")?.join("venv/lib");
    let name = folder.read_dir().ok()?.next()?.ok()?.file_name();
    name.to_str()?.strip_prefix("python3.").map(str::to_owned)
}

/// Node.js with that package, about to run a program of ours.
fn node(package: &str, program: &str) -> Option<Command> {
    let node = tool("node")?;
    let folder = installed(&format!("node_modules/{package}"), package)?;
    let mut command = foreign(node);
    command.env("NODE_PATH", folder.join("node_modules")).arg(source(program));
    Some(command)
}

/// Go, about to run a program of ours.
fn go(program: &str) -> Option<Command> {
    let mut command = foreign(tool("go")?);
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go");
    command.env("GOCACHE", cache).env("GO111MODULE", "off").env("GOTOOLCHAIN", "local");
    command.arg("run").arg(source(program));
    Some(command)
}

/// Runs `command` to its end, which must be a good one, and returns what it printed.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{printed}{errors}", output.status);
    printed
}

/// The port of the daemon's `index`th listener.
fn port(daemon: &Daemon, index: usize) -> &str {
    daemon.address(index).rsplit_once(':').unwrap().1
}

/// `resound bench` in the background.
struct Load(Option<Child>);

impl Load {
    /// With these arguments, until [`end`](Self::end).
    fn start(arguments: &[&str]) -> Self {
        let mut command = resound();
        command.arg("bench").args(arguments).args(["-z", "1h", "--json", "-"]);
        Self(Some(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()))
    }

    /// Ends it and returns its report.
    fn end(mut self) -> Value {
        let child = self.0.take().unwrap();
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
