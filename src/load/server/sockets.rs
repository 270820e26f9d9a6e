//! The TCP sockets of this network namespace, as `/proc/net/tcp` lists them (proc(5)).

use std::fs;

/// One socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tcp {
    /// Its port, and the port of its peer (0 of a listener).
    pub(crate) local: u16,
    pub(crate) remote: u16,
    /// Bytes that it has sent and its peer's kernel has not acknowledged, and bytes that have not been sent yet.
    pub(crate) unsent: u64,
    /// Bytes that have come and were not read; of a listener, connections that were not accepted.
    pub(crate) unread: u64,
}

/// All of them, over IPv4 and IPv6.
pub(crate) fn tcp() -> Vec<Tcp> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let tables = tables.map(|table| fs::read_to_string(table).unwrap_or_default());
    tables.iter().flat_map(|table| table.lines().filter_map(socket)).collect()
}

/// `  0: 0100007F:7530 0100007F:D9A2 01 00000000:00000009 …`: number, local and remote address, state,
/// `tx_queue:rx_queue`.
fn socket(line: &str) -> Option<Tcp> {
    let mut fields = line.split_whitespace().skip(1);
    let mut port = || u16::from_str_radix(fields.next()?.rsplit(':').next()?, 16).ok();
    let (local, remote) = (port()?, port()?);
    let (unsent, unread) = fields.nth(1)?.split_once(':')?;
    let bytes = |hex| u64::from_str_radix(hex, 16).ok();
    Some(Tcp { local, remote, unsent: bytes(unsent)?, unread: bytes(unread)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_table() {
        let line = "   0: 0100007F:7530 0100007F:D9A2 01 0000000A:00000009 00:00000000 00000000     0        0 1";
        let expected = Tcp { local: 0x7530, remote: 0xD9A2, unsent: 10, unread: 9 };
        assert_eq!(socket(line), Some(expected));
        assert_eq!(
            socket("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when"),
            None
        );
    }
}
