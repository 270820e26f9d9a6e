//! Why connecting to a server fails, and what to do about it.

use std::io::{self, ErrorKind};

use resound::{
    Endpoint,
    plural::{Plural, connections},
};

use super::plan::Plan;
use crate::common::units::Time;

/// The cause and the remedy.
pub(crate) fn why_not(endpoint: &Endpoint, error: &io::Error, plan: &Plan) -> String {
    let cause = match (endpoint, error.kind()) {
        (_, ErrorKind::ConnectionRefused) => {
            "nothing listens there; start a server with: resound serve, or let bench start one with --server 'CMD'".to_owned()
        }
        (Endpoint::Unix(_), ErrorKind::NotFound) => {
            "there is no such socket; start a server with: resound serve --listen frames+unix://PATH".to_owned()
        }
        (_, ErrorKind::TimedOut) => format!(
            "no answer for {}; check the address, and firewalls in between",
            Time(plan.timeout)
        ),
        (_, ErrorKind::UnexpectedEof) => {
            "the server closes connections before the handshake is complete; check that it speaks this protocol".to_owned()
        }
        (_, ErrorKind::AddrNotAvailable) => format!(
            "all local ports are in use: {} and {}; use more source \
             addresses with --sources (loopback has 16 million), or fewer connections",
            Plural(plan.sources, ["source address", "source addresses"]),
            connections(plan.connections + plan.hold)
        ),
        (_, ErrorKind::PermissionDenied) => {
            "not allowed; check the permissions of the socket and of its directory, or the firewall".to_owned()
        }
        _ if error.raw_os_error() == Some(libc::EMFILE) => {
            "all file descriptors are in use; raise the limit (ulimit -n), or open fewer connections".to_owned()
        }
        _ => error.to_string(),
    };
    format!("cannot connect to {}: {cause}", plan.target)
}
