//! Tells public addresses from special ones: those of IANA's special-purpose registries, and those of the metadata services of clouds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A range of addresses with a common prefix of this many bits, and its purpose.
struct Range<A> {
    first: A,
    bits: u32,
    name: &'static str,
}

const fn v4(first: [u8; 4], bits: u32, name: &'static str) -> Range<Ipv4Addr> {
    let [a, b, c, d] = first;
    Range { first: Ipv4Addr::new(a, b, c, d), bits, name }
}

const fn v6(first: [u16; 3], bits: u32, name: &'static str) -> Range<Ipv6Addr> {
    let [a, b, c] = first;
    Range { first: Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), bits, name }
}

/// The first range that contains an address names it; a narrower range stands before the wider one around it.
const SPECIAL_V4: [Range<Ipv4Addr>; 19] = [
    v4([0, 0, 0, 0], 8, "an address of this machine"),
    v4([10, 0, 0, 0], 8, "a private address"),
    v4([100, 100, 100, 200], 32, "a cloud's metadata service"),
    v4([100, 64, 0, 0], 10, "a shared address of a carrier's network"),
    v4([127, 0, 0, 0], 8, "a loopback address"),
    v4([168, 63, 129, 16], 32, "a cloud's metadata service"),
    v4([169, 254, 169, 254], 32, "a cloud's metadata service"),
    v4([169, 254, 0, 0], 16, "a link-local address"),
    v4([172, 16, 0, 0], 12, "a private address"),
    v4([192, 0, 0, 0], 24, "an address reserved for IETF protocols"),
    v4([192, 0, 2, 0], 24, "an address for documentation"),
    v4([192, 88, 99, 0], 24, "an address of 6to4 relays"),
    v4([192, 168, 0, 0], 16, "a private address"),
    v4([198, 18, 0, 0], 15, "an address for benchmarks"),
    v4([198, 51, 100, 0], 24, "an address for documentation"),
    v4([203, 0, 113, 0], 24, "an address for documentation"),
    v4([224, 0, 0, 0], 4, "a multicast address"),
    v4([255, 255, 255, 255], 32, "the broadcast address"),
    v4([240, 0, 0, 0], 4, "a reserved address"),
];

/// As [`SPECIAL_V4`]. Addresses outside of [`PUBLIC_V6`] are not public either.
const SPECIAL_V6: [Range<Ipv6Addr>; 11] = [
    v6([0x64, 0xff9b, 1], 48, "an address of a local translator"),
    v6([0x100, 0, 0], 64, "a discard address"),
    v6([0x2001, 0, 0], 32, "a Teredo address"),
    v6([0x2001, 0, 0], 23, "an address reserved for IETF protocols"),
    v6([0x2001, 0xdb8, 0], 32, "an address for documentation"),
    v6([0x2002, 0, 0], 16, "a 6to4 address"),
    v6([0x3fff, 0, 0], 20, "an address for documentation"),
    v6([0xfc00, 0, 0], 7, "a private address"),
    v6([0xfe80, 0, 0], 10, "a link-local address"),
    v6([0xfec0, 0, 0], 10, "a site-local address"),
    v6([0xff00, 0, 0], 8, "a multicast address"),
];

/// The only part of IPv6 from which public addresses are allocated.
const PUBLIC_V6: Range<Ipv6Addr> = v6([0x2000, 0, 0], 3, "a public address");

impl Range<Ipv4Addr> {
    fn contains(&self, address: Ipv4Addr) -> bool {
        (self.first.to_bits() ^ address.to_bits()).leading_zeros() >= self.bits
    }
}

impl Range<Ipv6Addr> {
    fn contains(&self, address: Ipv6Addr) -> bool {
        (self.first.to_bits() ^ address.to_bits()).leading_zeros() >= self.bits
    }
}

/// The purpose of an address, if it is not public.
pub(super) fn not_public(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => special_v4(address),
        IpAddr::V6(address) => match embedded_v4(address) {
            Some(address) => special_v4(address),
            None => special_v6(address),
        },
    }
}

/// The IPv4 address that packets for this IPv6 address reach: embedded in a v4-mapped address, or in one that NAT64 translates (64:ff9b::/96).
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, high, low] = address.segments();
    let translated = [a, b, c, d, e, f] == [0x64, 0xff9b, 0, 0, 0, 0];
    let bits = (u32::from(high) << 16) | u32::from(low);
    address.to_ipv4_mapped().or_else(|| translated.then(|| Ipv4Addr::from_bits(bits)))
}

fn special_v4(address: Ipv4Addr) -> Option<&'static str> {
    SPECIAL_V4.iter().find(|range| range.contains(address)).map(|range| range.name)
}

fn special_v6(address: Ipv6Addr) -> Option<&'static str> {
    if address == Ipv6Addr::LOCALHOST {
        return Some("a loopback address");
    }
    let special = SPECIAL_V6.iter().find(|range| range.contains(address)).map(|range| range.name);
    special.or_else(|| (!PUBLIC_V6.contains(address)).then_some("a reserved address"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn named(text: &str) -> Option<&'static str> {
        not_public(text.parse().unwrap())
    }

    #[test]
    fn every_special_range_is_refused_from_its_first_address_to_its_last_and_no_further() {
        // For each range: the last address before it, its first, its last, the first after it.
        for [before, first, last, after] in [
            ["", "0.0.0.0", "0.255.255.255", "1.0.0.0"],
            ["9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0"],
            ["100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0"],
            ["126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0"],
            ["168.63.129.15", "168.63.129.16", "168.63.129.16", "168.63.129.17"],
            ["169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0"],
            ["172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0"],
            ["191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0"],
            ["192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0"],
            ["192.88.98.255", "192.88.99.0", "192.88.99.255", "192.88.100.0"],
            ["192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0"],
            ["198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0"],
            ["198.51.99.255", "198.51.100.0", "198.51.100.255", "198.51.101.0"],
            ["203.0.112.255", "203.0.113.0", "203.0.113.255", "203.0.114.0"],
            ["223.255.255.255", "224.0.0.0", "255.255.255.255", ""],
            ["", "::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2000::"],
            ["2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001::", "2001:1ff:ffff::", "2001:200::"],
            ["2001:db7:ffff::", "2001:db8::", "2001:db8:ffff::", "2001:db9::"],
            ["2001:ffff::", "2002::", "2002:ffff:ffff::", "2003::"],
            ["3ffe:ffff::", "3fff::", "3fff:fff:ffff::", "3fff:1000::"],
            ["3fff:ffff::", "4000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""],
        ] {
            for outside in [before, after].into_iter().filter(|text| !text.is_empty()) {
                assert_eq!(named(outside), None, "{outside}");
            }
            for within in [first, last] {
                assert!(named(within).is_some(), "{within}");
            }
        }
    }

    #[test]
    fn an_address_with_an_embedded_ipv4_address_is_judged_by_that() {
        for (text, name) in [
            ("::ffff:169.254.169.254", Some("a cloud's metadata service")),
            ("::ffff:127.0.0.1", Some("a loopback address")),
            ("::ffff:8.8.8.8", None),
            ("64:ff9b::10.0.0.1", Some("a private address")),
            ("64:ff9b::8.8.8.8", None),
            ("64:ff9b:1::8.8.8.8", Some("an address of a local translator")),
            ("64:ff9b:0:0:0:1:808:808", Some("a reserved address")),
            ("::8.8.8.8", Some("a reserved address")),
            ("2002:0808:0808::1", Some("a 6to4 address")),
            ("2001::1", Some("a Teredo address")),
        ] {
            assert_eq!(named(text), name, "{text}");
        }
    }

    #[test]
    fn an_address_is_named_by_its_narrowest_range() {
        for (text, name) in [
            ("127.0.0.1", "a loopback address"),
            ("::1", "a loopback address"),
            ("169.254.169.254", "a cloud's metadata service"),
            ("fd00:ec2::254", "a private address"),
            ("fe80::1", "a link-local address"),
            ("ff02::1", "a multicast address"),
            ("255.255.255.255", "the broadcast address"),
        ] {
            assert_eq!(named(text), Some(name), "{text}");
        }
    }
}
