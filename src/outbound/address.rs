//! Which addresses may be dialled. Private networks may: only what a policy or a Secret names is called, and much of it
//! is in the cluster. What answers only to the machine itself, the network or the cloud may not. Pure.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What the judgement depends on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules<'a> {
    /// Whether loopback addresses may be dialled, for a cluster on one machine.
    pub allow_loopback: bool,
    /// The addresses and ports of the API server.
    pub api_server: &'a [SocketAddr],
}

/// Why an address may not be dialled, in words that follow "its address is"; `None` if it may.
pub fn refusal(address: SocketAddr, rules: &Rules<'_>) -> Option<&'static str> {
    let same = |known: &SocketAddr| {
        known.port() == address.port() && known.ip().to_canonical() == address.ip().to_canonical()
    };
    if rules.api_server.iter().any(same) {
        return Some("the Kubernetes API server");
    }
    match address.ip() {
        IpAddr::V4(v4) => refused_v4(v4, rules.allow_loopback),
        IpAddr::V6(v6) if v6 == Ipv6Addr::LOCALHOST => loopback(rules.allow_loopback),
        IpAddr::V6(v6) => refused_v6(v6),
    }
}

fn loopback(allowed: bool) -> Option<&'static str> {
    (!allowed).then_some("loopback (allowed only with allowLoopback in Mayday's configuration)")
}

fn refused_v4(v4: Ipv4Addr, allow_loopback: bool) -> Option<&'static str> {
    match v4.octets() {
        [0, ..] => Some("unspecified"),
        [127, ..] => loopback(allow_loopback),
        // Alibaba, Oracle and Azure have theirs outside of the link-local range.
        [100, 100, 100, 200] | [192, 0, 0, 192] | [168, 63, 129, 16] | [169, 254, 169, 254] => {
            Some("a metadata service of a cloud")
        }
        [169, 254, ..] => Some("link-local"),
        [255, 255, 255, 255] => Some("broadcast"),
        [224..=239, ..] => Some("multicast"),
        [240..=255, ..] => Some("reserved"),
        _ => None,
    }
}

fn refused_v6(v6: Ipv6Addr) -> Option<&'static str> {
    // The embedded address is never allowed to be loopback: nothing that is meant well is written like this.
    if let Some(v4) = embedded(v6) {
        return refused_v4(v4, false);
    }
    match v6.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("unspecified"),
        // AWS and Google have theirs in the private range.
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254] => {
            Some("a metadata service of a cloud")
        }
        // Translation of a network's own choice: the IPv4 address in it cannot be told.
        [0x64, 0xff9b, 1, ..] => Some("of a private translation to IPv4"),
        [0x2001, 0, ..] => Some("of a Teredo tunnel"),
        [0xfe80..=0xfebf, ..] => Some("link-local"),
        [0xfec0..=0xfeff, ..] => Some("site-local"),
        [0xff00..=0xffff, ..] => Some("multicast"),
        _ => None,
    }
}

/// The IPv4 address that an IPv6 one stands for: mapped, compatible, translated (SIIT, NAT64), 6to4 or ISATAP.
fn embedded(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let (high, low) = match v6.segments() {
        // ::1 and :: are no compatible addresses.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => return None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => (high, low),
        [0, 0, 0, 0, 0xffff, 0, high, low] => (high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => (high, low),
        [0x2002, high, low, ..] => (high, low),
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => (high, low),
        _ => return None,
    };
    Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(ip: &str, rules: &Rules<'_>) -> Option<&'static str> {
        refusal(SocketAddr::new(ip.parse().unwrap_or_else(|_| panic!("{ip}")), 8080), rules)
    }

    #[test]
    fn public_and_private_addresses_are_dialled() {
        for ip in [
            "93.184.216.34",
            "10.0.0.7",
            "172.16.3.4",
            "192.168.1.1",
            "100.64.0.1",
            "2606:2800:220:1:248:1893:25c8:1946",
            "fd00::7",
            "fdab:1234::1",
            "64:ff9b::5db8:d822",
            "::ffff:10.0.0.7",
            "2002:5db8:d822::1",
        ] {
            assert_eq!(judged(ip, &Rules::default()), None, "{ip}");
        }
    }

    #[test]
    fn an_address_of_the_machine_the_network_or_the_cloud_is_refused() {
        for (ip, why) in [
            ("0.0.0.0", "unspecified"),
            ("0.1.2.3", "unspecified"),
            ("127.0.0.1", "loopback"),
            ("127.255.255.254", "loopback"),
            ("169.254.169.254", "metadata"),
            ("169.254.170.2", "link-local"),
            ("100.100.100.200", "metadata"),
            ("192.0.0.192", "metadata"),
            ("168.63.129.16", "metadata"),
            ("224.0.0.1", "multicast"),
            ("239.255.255.255", "multicast"),
            ("240.0.0.1", "reserved"),
            ("255.255.255.255", "broadcast"),
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("fe80::1", "link-local"),
            ("febf::1", "link-local"),
            ("fe80::a9fe:a9fe", "link-local"),
            ("fec0::1", "site-local"),
            ("ff02::1", "multicast"),
            ("fd00:ec2::254", "metadata"),
            ("fd20:ce::254", "metadata"),
            ("64:ff9b:1::a9fe:a9fe", "translation"),
            ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "Teredo"),
        ] {
            let said = judged(ip, &Rules::default()).unwrap_or_else(|| panic!("{ip} is dialled"));
            assert!(said.contains(why), "{ip}: {said}");
        }
    }

    #[test]
    fn an_ipv6_form_of_a_refused_address_is_refused() {
        for v4 in
            ["127.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "100.100.100.200", "255.255.255.255"]
        {
            let hex = u32::from(v4.parse::<Ipv4Addr>().unwrap());
            let (high, low) = (hex >> 16, hex & 0xffff);
            for ip in [
                format!("::ffff:{v4}"),
                format!("::ffff:0:{v4}"),
                format!("64:ff9b::{v4}"),
                format!("2002:{high:x}:{low:x}::1"),
                format!("2002:{high:x}:{low:x}::"),
                format!("fe00::5efe:{v4}"),
                format!("2606::200:5efe:{v4}"),
            ] {
                let rules = Rules { allow_loopback: true, ..Rules::default() };
                assert!(judged(&ip, &rules).is_some(), "{ip} is dialled");
            }
        }
        for v4 in ["127.0.0.1", "169.254.169.254", "224.0.0.1"] {
            assert!(judged(&format!("::{v4}"), &Rules::default()).is_some(), "::{v4} is dialled");
        }
    }

    #[test]
    fn loopback_is_dialled_only_if_the_configuration_allows_it() {
        let rules = Rules { allow_loopback: true, ..Rules::default() };
        for ip in ["127.0.0.1", "127.0.0.53", "::1"] {
            assert_eq!(judged(ip, &rules), None, "{ip}");
            assert!(judged(ip, &Rules::default()).is_some(), "{ip}");
        }
    }

    #[test]
    fn the_api_server_is_refused_at_its_own_port_wherever_it_is() {
        let api_server: Vec<SocketAddr> =
            ["10.96.0.1:443", "127.0.0.1:6443", "[fd00::1]:443"].map(|known| known.parse().unwrap()).into();
        let rules = Rules { allow_loopback: true, api_server: &api_server };
        let judged = |address: &str| refusal(address.parse().unwrap(), &rules);
        for address in ["10.96.0.1:443", "127.0.0.1:6443", "[fd00::1]:443", "[::ffff:10.96.0.1]:443"] {
            assert_eq!(judged(address), Some("the Kubernetes API server"), "{address}");
        }
        assert_eq!(judged("127.0.0.1:9090"), None);
        assert_eq!(judged("10.96.0.1:9090"), None);
    }
}
