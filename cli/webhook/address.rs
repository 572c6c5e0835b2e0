//! Tells public addresses from all others: the ranges of IANA's special-purpose registries that are not globally reachable, multicast, IPv6 outside of 2000::/3, and the
//! metadata and platform services of clouds. The ranges for IETF protocols, 192.0.0.0/24 and 2001::/23, count as not public in full, although the registries list
//! reachable addresses within them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A range of addresses.
struct Range<A> {
    first: A,
    /// The length of the prefix that its addresses have in common.
    bits: u32,
    /// What its addresses are, as messages say it: `a loopback address`.
    purpose: &'static str,
}

const fn v4(first: [u8; 4], bits: u32, purpose: &'static str) -> Range<Ipv4Addr> {
    let [a, b, c, d] = first;
    Range { first: Ipv4Addr::new(a, b, c, d), bits, purpose }
}

/// A range whose first address has these segments and then only zeros.
const fn v6(first: [u16; 3], bits: u32, purpose: &'static str) -> Range<Ipv6Addr> {
    let [a, b, c] = first;
    Range { first: Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), bits, purpose }
}

const METADATA: &str = "a cloud's metadata service";

/// The IPv6 metadata service of AWS.
const METADATA_V6: Range<Ipv6Addr> =
    Range { first: Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), bits: 128, purpose: METADATA };

/// The first range that contains an address names it; a narrower range stands before the wider one around it.
const SPECIAL_V4: [Range<Ipv4Addr>; 19] = [
    v4([0, 0, 0, 0], 8, "an address of this machine"),
    v4([10, 0, 0, 0], 8, "a private address"),
    v4([100, 100, 100, 200], 32, METADATA),
    v4([100, 64, 0, 0], 10, "a shared address of a carrier's network"),
    v4([127, 0, 0, 0], 8, "a loopback address"),
    // WireServer, DNS and health probes of Azure.
    v4([168, 63, 129, 16], 32, "a cloud's platform service"),
    v4([169, 254, 169, 254], 32, METADATA),
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
const SPECIAL_V6: [Range<Ipv6Addr>; 12] = [
    v6([0x64, 0xff9b, 1], 48, "a local-use NAT64 address"),
    v6([0x100, 0, 0], 64, "a discard address"),
    v6([0x2001, 0, 0], 32, "a Teredo address"),
    v6([0x2001, 0, 0], 23, "an address reserved for IETF protocols"),
    v6([0x2001, 0xdb8, 0], 32, "an address for documentation"),
    v6([0x2002, 0, 0], 16, "a 6to4 address"),
    v6([0x3fff, 0, 0], 20, "an address for documentation"),
    METADATA_V6,
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

/// What an address is that is not public, such as `a loopback address`; `None` if it is public.
pub(super) fn special_purpose(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => purpose_v4(address),
        IpAddr::V6(address) => match embedded_v4(address) {
            Some(address) => purpose_v4(address),
            None => purpose_v6(address),
        },
    }
}

/// The IPv4 address that packets for this IPv6 address reach: that in a v4-mapped address, or in one that NAT64 translates (64:ff9b::/96). 6to4 and Teredo addresses, which
/// embed one too, are not public whatever it is.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, high, low] = address.segments();
    let translated = [a, b, c, d, e, f] == [0x64, 0xff9b, 0, 0, 0, 0];
    let bits = (u32::from(high) << 16) | u32::from(low);
    address.to_ipv4_mapped().or_else(|| translated.then(|| Ipv4Addr::from_bits(bits)))
}

fn purpose_v4(address: Ipv4Addr) -> Option<&'static str> {
    SPECIAL_V4.iter().find(|range| range.contains(address)).map(|range| range.purpose)
}

fn purpose_v6(address: Ipv6Addr) -> Option<&'static str> {
    if address == Ipv6Addr::LOCALHOST {
        return Some("a loopback address");
    }
    let special = SPECIAL_V6.iter().find(|range| range.contains(address)).map(|range| range.purpose);
    special.or_else(|| (!PUBLIC_V6.contains(address)).then_some("a reserved address"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn named(text: &str) -> Option<&'static str> {
        special_purpose(text.parse().unwrap())
    }

    #[test]
    fn a_range_beside_public_addresses_is_refused_from_its_first_address_to_its_last_and_no_further() {
        // For each such range: the last address before it, its first, its last, the first after it. Adjacent ranges are one row.
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
            [
                "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                "2001::",
                "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
                "2001:200::",
            ],
            [
                "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
                "2001:db8::",
                "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
                "2001:db9::",
            ],
            ["2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2003::"],
            [
                "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                "3fff::",
                "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
                "3fff:1000::",
            ],
            ["3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "4000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""],
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
    fn ranges_that_the_registries_list_as_globally_reachable_are_public() {
        for text in ["192.31.196.1", "192.52.193.1", "192.175.48.1", "2620:4f:8000::1"] {
            assert_eq!(named(text), None, "{text}");
        }
    }

    #[test]
    fn v4_mapped_and_nat64_addresses_are_judged_by_their_ipv4_address_and_6to4_and_teredo_are_refused() {
        for (text, name) in [
            ("::ffff:169.254.169.254", Some("a cloud's metadata service")),
            ("::ffff:127.0.0.1", Some("a loopback address")),
            ("::ffff:8.8.8.8", None),
            ("64:ff9b::10.0.0.1", Some("a private address")),
            ("64:ff9b::8.8.8.8", None),
            ("64:ff9b:1::8.8.8.8", Some("a local-use NAT64 address")),
            ("64:ff9b:0:0:0:1:808:808", Some("a reserved address")),
            ("::8.8.8.8", Some("a reserved address")),
            ("2002:0808:0808::1", Some("a 6to4 address")),
            ("2001::1", Some("a Teredo address")),
        ] {
            assert_eq!(named(text), name, "{text}");
        }
    }

    #[test]
    fn addresses_are_named_after_the_narrowest_range_around_them() {
        for (text, name) in [
            ("127.0.0.1", "a loopback address"),
            ("::1", "a loopback address"),
            ("100.100.100.200", "a cloud's metadata service"),
            ("100.100.100.201", "a shared address of a carrier's network"),
            ("168.63.129.16", "a cloud's platform service"),
            ("169.254.169.254", "a cloud's metadata service"),
            ("169.254.169.253", "a link-local address"),
            ("255.255.255.255", "the broadcast address"),
            ("255.255.255.254", "a reserved address"),
            ("2001:0:ffff::", "a Teredo address"),
            ("2001:1::", "an address reserved for IETF protocols"),
            ("fd00:ec2::254", "a cloud's metadata service"),
            ("fd00:ec2::253", "a private address"),
            ("fe80::1", "a link-local address"),
            ("ff02::1", "a multicast address"),
        ] {
            assert_eq!(named(text), Some(name), "{text}");
        }
    }
}
