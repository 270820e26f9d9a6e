//! The certificate of servers of TLS.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

/// The files with a certificate for 127.0.0.1 (ECDSA, P-256) and with its key, in `directory`; `None` without openssl. They
/// are made once.
pub fn files(directory: &Path) -> io::Result<Option<(String, String)>> {
    let (certificate, key) = (directory.join("certificate.pem"), directory.join("key.pem"));
    if !certificate.exists() || !key.exists() {
        let mut openssl = Command::new("openssl");
        openssl
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
            ])
            .args(["-days", "3650", "-subj", "/CN=localhost"])
            .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        match openssl.status() {
            Ok(status) if status.success() => {}
            Ok(status) => return Err(io::Error::other(format!("openssl req failed: {status}"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some((certificate.display().to_string(), key.display().to_string())))
}
