//! The client's address, for limits: also behind trusted proxies.
//!
//! A proxy appends the address of its caller to `X-Forwarded-For`. Anybody can send that header, so it is read from
//! its end, and only as far as trusted proxies have written it: the first address that is not theirs is the client's.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de};

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The address that limits count: the client's, of an IPv6 address the part that names the customer.
pub fn counted(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    listener::customer(client(peer, headers, trusted))
}

/// Whether the peer is one of the trusted proxies.
pub fn is_proxy(peer: IpAddr, trusted: &[IpNet]) -> bool {
    let address = peer.to_canonical();
    trusted.iter().any(|network| network.contains(&address))
}

fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let lines = headers.get_all(FORWARDED_FOR).iter().rev();
    let mut hops = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
    let mut address = peer.to_canonical();
    while is_proxy(address, trusted)
        && let Some(before) = hops.next().and_then(hop)
    {
        address = before;
    }
    address
}

/// An address as proxies write it: some add the port. Anything else ends the search.
fn hop(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    text.parse().ok().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

/// Reads networks, each as `10.0.0.0/8` or as one address.
pub fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let network = |text: String| {
        let parsed = text.parse().or_else(|_| text.parse().map(|address: IpAddr| address.into()));
        parsed
            .map_err(|_| de::Error::custom(format!("{text:?} is neither an address nor a network such as 10.0.0.0/8")))
    };
    Vec::deserialize(deserializer)?.into_iter().map(network).collect()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn read(texts: &[&str]) -> serde_json::Result<Vec<IpNet>> {
        networks(serde_json::json!(texts))
    }

    fn check(peer: &str, forwarded: &[&str], expected: &str) {
        let trusted = read(&["10.0.0.0/8", "127.0.0.1", "fd00::/8"]).unwrap();
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
    fn what_is_no_address_ends_the_search() {
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
            assert_eq!(read(&[text]).unwrap()[0].to_string(), text);
        }
        assert_eq!(read(&["127.0.0.1"]).unwrap()[0].to_string(), "127.0.0.1/32");
        assert!(read(&["0.0.0.0/0"]).unwrap()[0].contains(&"198.51.100.1".parse::<IpAddr>().unwrap()));
        for text in ["", "localhost", "10.0.0.0/33", "10.0.0.0/x", "fd00::/129", "10.0.0.0/8/8"] {
            let refused = read(&[text]).unwrap_err().to_string();
            assert!(refused.contains("neither an address nor a network"), "{text}: {refused}");
        }
    }
}
