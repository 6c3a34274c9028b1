use std::net::{IpAddr, Ipv6Addr};

/// Bits of an IPv6 address that the customer chooses.
const IPV6_CHOSEN_BITS: u32 = 64;

/// The address that limits count: of an IPv6 address the part that names the customer, who chooses the rest.
pub fn customer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> IPV6_CHOSEN_BITS << IPV6_CHOSEN_BITS).into(),
        address @ IpAddr::V4(_) => address,
    }
}
