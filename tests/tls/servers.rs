//! TLS servers that others wrote: OpenSSL's, socat, Python.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::{
    common::tool,
    support::{Authority, Certificate, Folder},
};

/// A server that is ended with its test.
pub(crate) struct Foreign {
    child: Child,
    /// `localhost:PORT`.
    pub(crate) address: String,
}

impl Foreign {
    /// Runs `command`, which says the port where it listens behind `before` in a line of its output.
    fn run(mut command: Command, before: &str) -> Self {
        // Both streams in one, because one program uses the one and another program the other.
        let (output, input) = std::io::pipe().unwrap();
        command.stdin(Stdio::piped()).stderr(input.try_clone().unwrap()).stdout(input);
        let child = command.spawn().unwrap();
        drop(command);
        let mut lines = BufReader::new(output).lines();
        let port = loop {
            let line = lines.next().expect("it listens before it ends").unwrap();
            if let Some((_, behind)) = line.split_once(before) {
                break behind.rsplit_once(':').map_or(behind, |(_, port)| port).trim().to_owned();
            }
        };
        // It must not wait for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address: format!("localhost:{port}") }
    }

    /// `openssl s_server` with these further arguments; `None` where it is not installed.
    pub(crate) fn openssl(certificate: &Files, arguments: &[&str]) -> Option<Self> {
        let mut command = Command::new(tool("openssl")?);
        command.args(["s_server", "-accept", "127.0.0.1:0", "-cert", certificate.chain()]);
        command.args(["-key", certificate.key()]).args(arguments);
        Some(Self::run(command, "ACCEPT "))
    }

    /// socat(1), which passes each connection through cat(1).
    pub(crate) fn socat(certificate: &Files) -> Option<Self> {
        let mut command = Command::new(tool("socat")?);
        command.args(["-d", "-d"]).arg(format!(
            "OPENSSL-LISTEN:0,bind=127.0.0.1,fork,reuseaddr,verify=0,cert={},key={}",
            certificate.chain(),
            certificate.key()
        ));
        command.arg("EXEC:cat");
        Some(Self::run(command, "listening on "))
    }

    /// Python's `ssl`, which echoes until the end of the input; then it says `close_notify` with `unwrap`.
    pub(crate) fn python(certificate: &Files) -> Option<Self> {
        Self::python_that_ends(certificate, "unwrap")
    }

    /// As [`python`](Self::python), without `close_notify`.
    pub(crate) fn python_that_cuts(certificate: &Files) -> Option<Self> {
        Self::python_that_ends(certificate, "cut")
    }

    fn python_that_ends(certificate: &Files, how: &str) -> Option<Self> {
        const PROGRAM: &str = r#"
import socket, ssl, sys, threading
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
listener = socket.create_server(("127.0.0.1", 0))
print("listening", listener.getsockname()[1], flush=True)
def echo(client):
    try:
        with context.wrap_socket(client, server_side=True) as stream:
            while received := stream.recv(65536):
                stream.sendall(received)
            if sys.argv[3] == "unwrap":
                stream.unwrap()
            else:
                stream.shutdown(socket.SHUT_WR)
    except OSError as error:
        print(error, flush=True)
while True:
    client, _ = listener.accept()
    threading.Thread(target=echo, args=[client], daemon=True).start()
"#;
        let mut command = Command::new(tool("python3")?);
        command.args(["-c", PROGRAM, certificate.chain(), certificate.key(), how]);
        Some(Self::run(command, "listening "))
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A certificate and its key in files.
pub(crate) struct Files {
    chain: String,
    key: String,
}

impl Files {
    pub(crate) fn put(folder: &Folder, name: &str, certificate: &Certificate) -> Self {
        let put =
            |ending: &str, text: &str| text_of(&folder.put(&format!("{name}.{ending}"), text));
        Self { chain: put("pem", &certificate.pem), key: put("key", &certificate.key_pem) }
    }

    /// A certificate of `authority` for localhost and 127.0.0.1.
    pub(crate) fn local(folder: &Folder, authority: &Authority) -> Self {
        Self::put(folder, "server", &authority.sign(&["localhost", "127.0.0.1"]))
    }

    pub(crate) fn chain(&self) -> &str {
        &self.chain
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// As keys of a listener.
    pub(crate) fn keys(&self) -> String {
        format!("cert={},key={}", self.chain, self.key)
    }
}

/// A folder with the files of a new authority and of its certificate for localhost, and the path of the authority's own.
pub(crate) fn local(name: &str) -> (Folder, Authority, Files, String) {
    let (folder, authority) = (Folder::new(name), Authority::new());
    let (files, ca) = (Files::local(&folder, &authority), authority_file(&folder, &authority));
    (folder, authority, files, ca)
}

/// The file with the certificate of `authority`.
pub(crate) fn authority_file(folder: &Folder, authority: &Authority) -> String {
    text_of(&folder.put("authority.pem", &authority.pem()))
}

fn text_of(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
