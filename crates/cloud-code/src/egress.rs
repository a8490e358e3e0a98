//! Which addresses cloud code may reach.
//!
//! The rule is about addresses, not names: a name is resolved once, its addresses are judged, and the connection goes
//! to exactly those. A name that changes its mind between check and connect (DNS rebinding) therefore gains nothing,
//! nor does any spelling of an address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;

use crate::config::Egress;

/// The rules in a form that can be asked.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    allow_private: bool,
    hosts: Vec<(String, Option<u16>)>,
    networks: Vec<(IpAddr, u8)>,
}

/// How a URL's host may be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Wherever the host resolves to.
    Anywhere,
    /// Only at addresses that [`Rules::permits`].
    PermittedOnly,
    /// Not at all; the text says why.
    Refused(&'static str),
}

impl Rules {
    /// Entries that are neither host, address nor network match nothing.
    pub(crate) fn new(egress: &Egress) -> Rules {
        let mut rules = Rules {
            allow_private: egress.allow_private,
            ..Rules::default()
        };
        for entry in &egress.allow {
            match network(entry) {
                Some(network) => rules.networks.push(network),
                None => rules.hosts.push(host_and_port(entry)),
            }
        }
        rules
    }

    /// What to do with a request to `url`; each redirect is judged anew.
    pub(crate) fn judge(&self, url: &Url) -> Verdict {
        if !matches!(url.scheme(), "http" | "https") {
            return Verdict::Refused("only http and https can be fetched");
        }
        let Some(host) = url.host_str() else {
            return Verdict::Refused("the URL names no host");
        };
        let host = plain(host);
        let port = url.port_or_known_default();
        if self.allow_private
            || self
                .hosts
                .iter()
                .any(|(name, at)| *name == host && (at.is_none() || *at == port))
        {
            return Verdict::Anywhere;
        }
        match host.parse::<IpAddr>() {
            Ok(address) if !self.permits(address) => Verdict::Refused("the address is private"),
            _ => Verdict::PermittedOnly,
        }
    }

    /// True for a public address, and for one in a network that is allowed.
    pub(crate) fn permits(&self, address: IpAddr) -> bool {
        self.allow_private
            || is_public(address)
            || self
                .networks
                .iter()
                .any(|&network| contains(network, address))
    }
}

/// A host without brackets and without the root's dot, in lower case.
fn plain(host: &str) -> String {
    host.trim_start_matches('[')
        .trim_end_matches(']')
        .trim_end_matches('.')
        .to_ascii_lowercase()
}

fn host_and_port(entry: &str) -> (String, Option<u16>) {
    match entry.rsplit_once(':') {
        // A colon in what is left, unbracketed, is part of an IPv6 address.
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => match port.parse() {
            Ok(port) => (plain(host), Some(port)),
            Err(_) => (plain(entry), None),
        },
        _ => (plain(entry), None),
    }
}

fn network(entry: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = entry.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let bits = bits.parse().ok()?;
    (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, bits))
}

fn contains((network, bits): (IpAddr, u8), address: IpAddr) -> bool {
    let prefix = |value: u128, width: u8| {
        if bits == 0 {
            0
        } else {
            value >> (width - bits)
        }
    };
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            prefix(u32::from(network).into(), 32) == prefix(u32::from(address).into(), 32)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            prefix(network.into(), 128) == prefix(address.into(), 128)
        }
        _ => false,
    }
}

/// True for an address that the public internet routes.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    // IANA's special-purpose registry, whole.
    const SPECIAL: &[([u8; 4], u8)] = &[
        ([0, 0, 0, 0], 8),
        ([10, 0, 0, 0], 8),
        ([100, 64, 0, 0], 10),
        ([127, 0, 0, 0], 8),
        ([169, 254, 0, 0], 16),
        ([172, 16, 0, 0], 12),
        ([192, 0, 0, 0], 24),
        ([192, 0, 2, 0], 24),
        ([192, 88, 99, 0], 24),
        ([192, 168, 0, 0], 16),
        ([198, 18, 0, 0], 15),
        ([198, 51, 100, 0], 24),
        ([203, 0, 113, 0], 24),
        ([224, 0, 0, 0], 3),
    ];
    !SPECIAL
        .iter()
        .any(|&(network, bits)| contains((IpAddr::from(network), bits), IpAddr::V4(address)))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(embedded) = embedded_v4(address) {
        return is_public_v4(embedded);
    }
    let [first, second, ..] = address.segments();
    // Only 2000::/3 is routed; of it, 2001::/23 and documentation are special purpose.
    first & 0xe000 == 0x2000
        && !(first == 0x2001 && (second < 0x0200 || second == 0x0db8))
        && !(first == 0x3fff && second < 0x1000)
}

/// The IPv4 address that this one is another way to reach: mapped, compatible, translated (NAT64), 6to4.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let bytes = address.octets();
    let at = |start: usize| {
        Some(Ipv4Addr::new(
            bytes[start],
            bytes[start + 1],
            bytes[start + 2],
            bytes[start + 3],
        ))
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, ..]
        | [0, 0, 0, 0, 0xffff, 0, ..]
        | [0x64, 0xff9b, 0, 0, 0, 0, ..] => at(12),
        [0, 0, 0, 0, 0, 0, high, low] if (high, low) > (0, 1) => at(12),
        [0x2002, ..] => at(2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(egress: &Egress, url: &str) -> Verdict {
        Rules::new(egress).judge(&Url::parse(url).unwrap())
    }

    #[test]
    fn no_spelling_of_a_private_address_gets_through() {
        let refused = [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "0",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.2.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "[::1]",
            "[::]",
            "[fe80::1]",
            "[fc00::1]",
            "[fd00:ec2::254]",
            "[ff02::1]",
            "[fec0::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "[2001:db8::1]",
            "[2001::1]",
            "[100::1]",
            "127.0.0.1.",
            "１２７.0.0.1",
        ];
        for host in refused {
            let url = format!("http://{host}/");
            assert!(
                matches!(judge(&Egress::default(), &url), Verdict::Refused(_)),
                "{url}"
            );
        }
    }

    #[test]
    fn public_addresses_and_names_go_on_to_the_resolver() {
        for host in [
            "1.1.1.1",
            "172.32.0.1",
            "[2606:4700::1111]",
            "[::ffff:1.1.1.1]",
            "[64:ff9b::101:101]",
            "localhost",
            "a.test",
        ] {
            assert_eq!(
                judge(&Egress::default(), &format!("https://{host}/")),
                Verdict::PermittedOnly,
                "{host}"
            );
        }
        for url in [
            "file:///etc/passwd",
            "ftp://a.test/",
            "data:,x",
            "unix:/run/x",
        ] {
            assert!(
                matches!(judge(&Egress::default(), url), Verdict::Refused(_)),
                "{url}"
            );
        }
    }

    #[test]
    fn what_is_allowed_is_reached_and_nothing_else() {
        let allow = [
            "mailer",
            "db.local:5432",
            "10.1.0.0/16",
            "[::1]:8080",
            "fd00::/8",
            "nonsense/99",
        ];
        let egress = Egress {
            allow: allow.map(String::from).to_vec(),
            allow_private: false,
        };
        for url in [
            "http://mailer/",
            "https://MAILER.:99/",
            "http://db.local:5432/",
            "http://[::1]:8080/",
        ] {
            assert_eq!(judge(&egress, url), Verdict::Anywhere, "{url}");
        }
        for url in ["http://10.1.2.3/", "http://[fd12::1]/", "http://db.local/"] {
            assert_eq!(judge(&egress, url), Verdict::PermittedOnly, "{url}");
        }
        for url in ["http://10.2.0.1/", "http://[::1]/", "http://192.168.0.1/"] {
            assert!(matches!(judge(&egress, url), Verdict::Refused(_)), "{url}");
        }
        let rules = Rules::new(&egress);
        assert!(rules.permits([10, 1, 2, 3].into()) && !rules.permits([10, 2, 0, 1].into()));
        assert_eq!(
            judge(
                &Egress {
                    allow_private: true,
                    ..Egress::default()
                },
                "http://127.0.0.1/"
            ),
            Verdict::Anywhere
        );
    }
}
