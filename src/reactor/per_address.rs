//! How many connections each address has, where that is limited.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
};

use crate::Peer;

/// The addresses of all connections. Empty, and asked nothing, without a limit.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    limit: Option<u32>,
    counts: HashMap<IpAddr, u32>,
}

/// As many connections as allowed are open from that address.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Crowded;

impl Crowd {
    pub(crate) fn new(limit: Option<u32>) -> Self {
        Self { limit, counts: HashMap::new() }
    }

    /// Counts `peer` in, unless that would be one too many. Returns as whom, for [`leave`](Self::leave).
    pub(crate) fn enter(&mut self, peer: &Peer) -> Result<Option<IpAddr>, Crowded> {
        let (Some(limit), Peer::Tcp(address)) = (self.limit, peer) else {
            return Ok(None);
        };
        let address = household(address.ip());
        let count = self.counts.entry(address).or_default();
        if *count >= limit {
            return Err(Crowded);
        }
        *count += 1;
        Ok(Some(address))
    }

    /// Counts out who was counted in as `address`.
    pub(crate) fn leave(&mut self, address: Option<IpAddr>) {
        let Some(address) = address else { return };
        if let Some(count) = self.counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&address);
            }
        }
    }

    /// Gives back what memory a larger crowd has needed.
    pub(crate) fn trim(&mut self) {
        if self.counts.len() < self.counts.capacity() / 4 {
            self.counts.shrink_to_fit();
        }
    }
}

/// The address that counts: of IPv6 the first 64 bits, of which one machine has all the others to itself
/// (RFC 4291, 2.5.1); an IPv4 address mapped into IPv6 is the IPv4 address.
fn household(address: IpAddr) -> IpAddr {
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

    fn peer(address: &str) -> Peer {
        Peer::Tcp((address.parse::<IpAddr>().unwrap(), 1).into())
    }

    #[test]
    fn one_too_many_is_turned_away_until_one_leaves() {
        let mut crowd = Crowd::new(Some(2));
        let first = crowd.enter(&peer("10.0.0.1")).unwrap();
        crowd.enter(&peer("10.0.0.1")).unwrap();
        assert_eq!(crowd.enter(&peer("10.0.0.1")), Err(Crowded));
        assert_eq!(crowd.enter(&peer("::ffff:10.0.0.1")), Err(Crowded), "the same, mapped");
        assert!(crowd.enter(&peer("10.0.0.2")).is_ok());
        crowd.leave(first);
        assert!(crowd.enter(&peer("10.0.0.1")).is_ok());
    }

    #[test]
    fn an_ipv6_network_of_64_bits_is_one() {
        let mut crowd = Crowd::new(Some(1));
        crowd.enter(&peer("2001:db8:0:1::1")).unwrap();
        assert_eq!(crowd.enter(&peer("2001:db8:0:1:ffff::2")), Err(Crowded));
        assert!(crowd.enter(&peer("2001:db8:0:2::1")).is_ok());
    }

    #[test]
    fn unix_peers_and_everyone_without_a_limit_are_not_counted() {
        let mut crowd = Crowd::new(Some(1));
        assert_eq!(crowd.enter(&Peer::Unix), Ok(None));
        assert_eq!(crowd.enter(&Peer::Unix), Ok(None));
        let mut crowd = Crowd::new(None);
        assert_eq!(crowd.enter(&peer("10.0.0.1")), Ok(None));
        assert_eq!(crowd.counts.capacity(), 0);
    }

    #[test]
    fn nothing_is_left_of_those_who_left() {
        let mut crowd = Crowd::new(Some(5));
        let all: Vec<_> =
            (0..=255).map(|host| crowd.enter(&peer(&format!("10.0.0.{host}"))).unwrap()).collect();
        for address in all {
            crowd.leave(address);
        }
        crowd.trim();
        assert_eq!(crowd.counts.capacity(), 0);
    }
}
