//! Errors of binding an address, with what to do about each.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::FileTypeExt,
};

use resound::Endpoint;

/// Why `endpoint` cannot be listened on, and what to do. `flag` is the one that sets the address.
pub(super) fn explain(endpoint: &Endpoint, error: &io::Error, flag: &str) -> String {
    match (endpoint, error.kind()) {
        (Endpoint::Tcp(address), ErrorKind::AddrInUse) => format!(
            "the address is in use. Stop what listens there (ss -lntup 'sport = :{}' shows it), or choose \
             another port with {flag} (0 takes any free one)",
            address.port()
        ),
        (Endpoint::Tcp(address), ErrorKind::PermissionDenied) => format!(
            "port {} needs privileges. Choose one from 1024 up, or allow it with: setcap \
             cap_net_bind_service=+ep $(command -v resound)",
            address.port()
        ),
        (Endpoint::Tcp(address), ErrorKind::AddrNotAvailable) => format!(
            "{} is not an address of this machine (ip addr lists them). Use one of those, or 0.0.0.0 or [::] \
             for all",
            address.ip()
        ),
        (Endpoint::Unix(path), ErrorKind::AddrInUse) => {
            let is_socket =
                fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
            if is_socket {
                "the socket is in use. Stop the server behind it, or choose another path".to_owned()
            } else {
                "a file is there, and it is not a socket. Move it away, or choose another path"
                    .to_owned()
            }
        }
        (Endpoint::Unix(_), ErrorKind::InvalidInput) => {
            "the path of a socket may have 107 bytes. Choose a shorter one".to_owned()
        }
        (Endpoint::Unix(_), ErrorKind::NotFound) => {
            "no such directory. Create it, or choose another path".to_owned()
        }
        (Endpoint::Unix(_), ErrorKind::PermissionDenied) => {
            "no permission to create a socket there. Choose a directory that you may write to"
                .to_owned()
        }
        _ => error.to_string(),
    }
}
