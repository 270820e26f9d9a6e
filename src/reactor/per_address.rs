//! Connections from each address, where their number is limited.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
};

/// How many connections each address has open.
#[derive(Debug, Default)]
pub(crate) struct PerAddress {
    counts: HashMap<IpAddr, u32>,
}

impl PerAddress {
    /// Counts one more connection from `address`, unless it has `most` or more.
    pub(crate) fn enter(&mut self, address: IpAddr, most: u32) -> bool {
        let count = self.counts.entry(counted_as(address)).or_default();
        let has_room = *count < most;
        *count += u32::from(has_room);
        has_room
    }

    /// Counts one connection less from `address`.
    pub(crate) fn leave(&mut self, address: IpAddr) {
        let address = counted_as(address);
        if let Some(count) = self.counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&address);
            }
        }
    }

    /// Gives back memory that more addresses needed.
    pub(crate) fn trim(&mut self) {
        if self.counts.len() < self.counts.capacity() / 4 {
            self.counts.shrink_to_fit();
        }
    }
}

/// The address that counts. Of an IPv6 address these are the first 64 bits: one machine has all the others to itself
/// (RFC 4291, 2.5.1). An IPv4 address mapped into IPv6 counts as the IPv4 address.
fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => {
            let network = six.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        four => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_too_many_is_refused_until_one_leaves() {
        let mut addresses = PerAddress::default();
        assert!(addresses.enter(address("10.0.0.1"), 2));
        assert!(addresses.enter(address("10.0.0.1"), 2));
        assert!(!addresses.enter(address("10.0.0.1"), 2));
        assert!(!addresses.enter(address("::ffff:10.0.0.1"), 2), "the same, mapped");
        assert!(addresses.enter(address("10.0.0.2"), 2));
        addresses.leave(address("::ffff:10.0.0.1"));
        assert!(addresses.enter(address("10.0.0.1"), 2));
    }

    #[test]
    fn an_ipv6_network_of_64_bits_is_one() {
        let mut addresses = PerAddress::default();
        assert!(addresses.enter(address("2001:db8:0:1::1"), 1));
        assert!(!addresses.enter(address("2001:db8:0:1:ffff::2"), 1));
        assert!(addresses.enter(address("2001:db8:0:2::1"), 1));
    }

    #[test]
    fn nothing_is_left_of_connections_that_are_gone() {
        let mut addresses = PerAddress::default();
        let all = (0..=255).map(|host| IpAddr::from([10, 0, 0, host]));
        assert!(all.clone().all(|address| addresses.enter(address, 5)));
        all.for_each(|address| addresses.leave(address));
        addresses.trim();
        assert_eq!(addresses.counts.capacity(), 0);
    }
}
