//! Looks a host name up; the only place that does.

use std::net::{SocketAddr, ToSocketAddrs};

/// All addresses of `host`, in the resolver's order; at least one.
pub(crate) fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let addresses: Vec<SocketAddr> = (host, port)
        .to_socket_addrs()
        .map_err(|error| format!("the host name {host:?} cannot be looked up: {error}; check it, or write an IP address"))?
        .collect();
    if addresses.is_empty() {
        return Err(format!("the host name {host:?} has no address; write an IP address"));
    }
    Ok(addresses)
}

/// The one address to listen at. The first IPv4 one if there is any: `localhost` is 127.0.0.1 to most
/// clients, and not all of them try `::1` as well.
pub(crate) fn look_up_to_listen(host: &str, port: u16) -> Result<SocketAddr, String> {
    let addresses = look_up(host, port)?;
    Ok(*addresses.iter().find(|address| address.is_ipv4()).unwrap_or(&addresses[0]))
}
