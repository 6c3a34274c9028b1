//! Where a client is, for limits by address: its own address, also behind proxies that are trusted.
//!
//! A proxy appends the address it was called from to `X-Forwarded-For`. Anybody can send that header, so
//! it is read from its end, and only as far as trusted proxies have written it: the first address that
//! is not one of theirs is the client's.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};

const FORWARDED_FOR: &str = "x-forwarded-for";
/// Bits of an IPv6 address that name a customer: the rest they choose themselves.
const IPV6_CUSTOMER_BITS: u32 = 64;

/// An address, or all that begin with the same bits: `10.0.0.7`, `10.0.0.0/8`, `fd00::/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

/// Text that names no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an address nor a network such as 10.0.0.0/8")]
pub struct InvalidNetwork(String);

impl Network {
    /// Whether an address lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => (own.to_bits() ^ other.to_bits()).leading_zeros() >= self.bits,
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits() ^ other.to_bits()).leading_zeros() >= self.bits,
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let invalid = || InvalidNetwork(text.into());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().map_err(|_| invalid())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        if bits <= most { Ok(Self { address, bits }) } else { Err(invalid()) }
    }
}

impl TryFrom<String> for Network {
    type Error = InvalidNetwork;

    fn try_from(text: String) -> Result<Self, InvalidNetwork> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// Whom to count a request to: the client's address, of an IPv6 one the part that names the customer.
pub fn counted(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    match client(peer, headers, trusted) {
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - IPV6_CUSTOMER_BITS))))
        }
        address @ IpAddr::V4(_) => address,
    }
}

fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address| trusted.iter().any(|network| network.contains(address));
    let lines = headers.get_all(FORWARDED_FOR).iter().rev();
    let mut hops = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
    let mut address = peer.to_canonical();
    while is_trusted(address)
        && let Some(before) = hops.next().and_then(hop)
    {
        address = before;
    }
    address
}

/// An address as proxies write it: some add the port. What is none ends the way back.
fn hop(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    text.parse().ok().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn check(peer: &str, forwarded: &[&str], expected: &str) {
        let trusted = ["10.0.0.0/8", "127.0.0.1", "fd00::/8"].map(|network| network.parse().unwrap());
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        let address = counted(peer.parse().unwrap(), &headers, &trusted);
        assert_eq!(address, expected.parse::<IpAddr>().unwrap(), "{peer} {forwarded:?}");
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        check("203.0.113.9", &["198.51.100.1"], "203.0.113.9");
        check("10.1.2.3", &[], "10.1.2.3");
        check("10.1.2.3", &["198.51.100.1"], "198.51.100.1");
        check("::ffff:10.1.2.3", &["198.51.100.1"], "198.51.100.1");
        check("127.0.0.1", &["6.6.6.6, 198.51.100.1, 10.0.0.5"], "198.51.100.1");
        check("127.0.0.1", &["6.6.6.6", "198.51.100.1", "10.0.0.5"], "198.51.100.1");
        check("fd00::1", &["198.51.100.1:4711"], "198.51.100.1");
        check("127.0.0.1", &["10.0.0.4, 10.0.0.5"], "10.0.0.4");
    }

    #[test]
    fn what_is_no_address_ends_the_way_back() {
        check("127.0.0.1", &["198.51.100.1, unknown"], "127.0.0.1");
        check("127.0.0.1", &["198.51.100.1, , 10.0.0.5"], "10.0.0.5");
        check("127.0.0.1", &["\u{a0}"], "127.0.0.1");
    }

    #[test]
    fn a_customer_of_ipv6_is_one_address() {
        check("2001:db8:1:2:3:4:5:6", &[], "2001:db8:1:2::");
        check("127.0.0.1", &["[2001:db8:1:2::9]:443"], "2001:db8:1:2::");
    }

    #[test]
    fn a_network_is_written_as_it_is_read() {
        for text in ["10.0.0.0/8", "fd00::/8", "0.0.0.0/0"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
        assert_eq!("127.0.0.1".parse::<Network>().unwrap().to_string(), "127.0.0.1/32");
        assert!("0.0.0.0/0".parse::<Network>().unwrap().contains("198.51.100.1".parse().unwrap()));
        for text in ["", "localhost", "10.0.0.0/33", "10.0.0.0/x", "fd00::/129", "10.0.0.0/8/8"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
