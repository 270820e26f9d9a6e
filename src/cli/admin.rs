//! `--admin`: where the admin port is, and who may use it.

use std::path::PathBuf;

use resound::{
    Endpoint,
    listen::{Address, Listen},
};

use super::{Failure, bind_error, cannot};
use crate::{
    admin::{Access, DESCRIPTORS, Port, Token},
    common::resolve,
    handover::{LoopHandle, Role, Successor, Target},
};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Admin")]
pub(crate) struct AdminArgs {
    /// Serve metrics, health checks, lists of connections and controls over HTTP at HOST:PORT, :PORT (127.0.0.1) or
    /// unix:PATH [default: off]
    #[arg(long, env = "RESOUND_ADMIN", hide_env_values = true, value_name = "ADDRESS")]
    #[arg(value_parser = address)]
    admin: Option<Address>,

    /// A file whose first line every request must show as Authorization: Bearer TOKEN, except for /healthz and /readyz;
    /// required if --admin is not on loopback
    #[arg(long, env = "RESOUND_ADMIN_TOKEN_FILE", hide_env_values = true, value_name = "FILE")]
    #[arg(requires = "admin")]
    admin_token_file: Option<PathBuf>,
}

/// Parses `--admin`.
pub(crate) fn address(text: &str) -> Result<Address, String> {
    let remedy = "write HOST:PORT, :PORT for 127.0.0.1, or unix:PATH";
    match text.strip_prefix("unix:") {
        Some("") => Err(format!("no path behind unix:; {remedy}")),
        Some(path) => Ok(Address::Unix(path.into())),
        // The rules for addresses are those of --listen, which names a protocol first.
        None => match format!("admin://{text}").parse::<Listen>() {
            Ok(listen) if listen.keys.is_empty() => Ok(listen.address),
            _ => Err(format!("not an address; {remedy}")),
        },
    }
}

/// Parses what `--admin` takes, and what `listening on` and a browser show.
pub(crate) fn shown_address(text: &str) -> Result<Address, String> {
    let text = text.strip_suffix('/').unwrap_or(text);
    if let Some(path) = text.strip_prefix("admin+unix://") {
        return address(&format!("unix:{path}"));
    }
    let rest = text.strip_prefix("admin://").or_else(|| text.strip_prefix("http://"));
    address(rest.unwrap_or(text))
}

/// As the line `listening on` shows it.
pub(crate) fn place(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Tcp(address) => format!("admin://{address}"),
        Endpoint::Unix(path) => format!("admin+unix://{}", path.display()),
    }
}

impl AdminArgs {
    /// Whether there is to be an admin port.
    pub(crate) const fn is_on(&self) -> bool {
        self.admin.is_some()
    }

    /// The address as it was written.
    pub(crate) fn asked(&self) -> Option<String> {
        self.admin.as_ref().map(ToString::to_string)
    }

    /// Descriptors that it needs at most.
    pub(crate) const fn descriptors(&self) -> u64 {
        if self.is_on() { DESCRIPTORS } else { 0 }
    }

    /// Binds the admin port, if there is to be one; or claims it from the process that this one replaces.
    pub(crate) fn bind(
        &self,
        successor: Option<&mut Successor>,
    ) -> Result<Option<(Port, Access)>, Failure> {
        let Some(address) = &self.admin else { return Ok(None) };
        let endpoint = match address {
            Address::Ip(address) => Endpoint::Tcp(*address),
            Address::Unix(path) => Endpoint::Unix(path.clone()),
            Address::Name { host, port } => resolve::look_up_to_listen(host, *port)
                .map(Endpoint::Tcp)
                .map_err(|error| Failure::Failed(format!("--admin {address}: {error}")))?,
            Address::Passed(_) => {
                return Err(Failure::Usage(format!(
                    "--admin {address}: the admin port binds its own socket; write HOST:PORT, :PORT or unix:PATH"
                )));
            }
        };
        let is_local = match &endpoint {
            Endpoint::Tcp(address) => address.ip().is_loopback(),
            Endpoint::Unix(_) => true,
        };
        if !is_local && self.admin_token_file.is_none() {
            return Err(Failure::Usage(format!(
                "--admin {address} can be reached from other machines: give --admin-token-file with a secret, or use \
                 an address on loopback, like 127.0.0.1:30900"
            )));
        }
        let token = match &self.admin_token_file {
            None => None,
            Some(file) => Some(Token::read(file).map_err(|error| {
                Failure::Failed(format!("--admin-token-file {}: {error}", file.display()))
            })?),
        };
        let claimed = successor.and_then(|successor| {
            let claimed = successor.claim(Role::Admin, &address.to_string(), &endpoint.to_string());
            let (number, offered) = claimed.first()?.0.first()?.clone();
            Some((successor, number, offered))
        });
        if let Some((successor, number, offered)) = claimed {
            let bound = offered.bound.parse().map_or(endpoint, Endpoint::Tcp);
            let port =
                Port::reserve(bound).map_err(|error| cannot("set up the admin port", &error))?;
            let (index, is_copy, takes_connections) = (0, false, false);
            let handle = LoopHandle::new(port.handle(), None);
            successor.place(Target { number, handle, index, is_copy, takes_connections });
            return Ok(Some((port, Access { token })));
        }
        let port = Port::bind(&endpoint).map_err(|error| {
            let why = bind_error::explain(&endpoint, &error, "--admin");
            Failure::Failed(format!("cannot listen on --admin {address}: {why}"))
        })?;
        Ok(Some((port, Access { token })))
    }
}
