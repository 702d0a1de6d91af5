//! The kernel's own routers, with packet filters of nftables: the lab's path is not its own invention.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tfo_core::lab::{Host, Program, isolated, require};
use tfo_core::probe::serve_mirror;
use tfo_core::socket::FastOpenListener;

use super::{harness, told};

/// Routers between client and server.
const ROUTERS: usize = 3;

/// A client, routers and a server in a row: 10.0.0.1 – 10.0.0.2/10.0.1.1 – … – 10.0.3.2, and the same with `fd00:N::`.
struct Row {
    hosts: Vec<Host>,
}

impl Row {
    fn new() -> Self {
        let hosts: Vec<Host> =
            (0..ROUTERS + 2).map(|number| Host::new(&format!("host-{number}")).unwrap()).collect();
        let row = Self { hosts };
        for link in 0..=ROUTERS {
            let (near, far) = (&row.hosts[link], &row.hosts[link + 1]);
            let namespace = format!("/proc/{}/fd/{}", std::process::id(), far.as_fd().as_raw_fd());
            sh(near, &format!("ip link add right type veth peer name left netns {namespace}"));
            sh(
                near,
                &format!(
                    "ip address add 10.0.{link}.1/24 dev right && ip address add fd00:{link}::1/64 dev right nodad && ip link set right up"
                ),
            );
            sh(
                far,
                &format!(
                    "ip address add 10.0.{link}.2/24 dev left && ip address add fd00:{link}::2/64 dev left nodad && ip link set left up"
                ),
            );
        }
        for (number, host) in row.hosts.iter().enumerate() {
            // No limit of ICMP errors, so that the kernel's routers are as fast as the lab's.
            sh(
                host,
                "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding; \
                      echo 0 > /proc/sys/net/ipv4/icmp_ratelimit; echo 0 > /proc/sys/net/ipv6/icmp/ratelimit",
            );
            if number < ROUTERS + 1 {
                sh(
                    host,
                    &format!(
                        "ip route add 10.0.0.0/16 via 10.0.{number}.2 && ip route add fd00::/16 via fd00:{number}::2"
                    ),
                );
            }
            // The way back.
            for link in 0..number.saturating_sub(1) {
                let gateway = number - 1;
                sh(
                    host,
                    &format!(
                        "ip route add 10.0.{link}.0/24 via 10.0.{gateway}.1 && ip route add fd00:{link}::/64 via fd00:{gateway}::1"
                    ),
                );
            }
        }
        row.hosts[ROUTERS + 1].run(|| {
            let listener =
                FastOpenListener::bind(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 2222))
                    .unwrap();
            thread::spawn(move || serve_mirror(&listener));
        });
        row.hosts[0].run(|| {
            // The first packets wait until neighbours are known.
            for v6 in [false, true] {
                let target: SocketAddr = target(v6).parse().unwrap();
                let start = Instant::now();
                while TcpStream::connect_timeout(&target, Duration::from_secs(4)).is_err() {
                    assert!(start.elapsed() < Duration::from_secs(20), "no way to {target}");
                }
            }
        });
        row
    }

    /// Rules of a router, counted from 1, for what it forwards and for what arrives.
    fn filter(&self, router: usize, rules: &[&str]) {
        let mut script =
            "add table inet t; add chain inet t f { type filter hook forward priority 0; }; \
                          add chain inet t p { type filter hook prerouting priority raw; }; "
                .to_owned();
        for rule in rules {
            script += &format!("add rule inet t {rule}; ");
        }
        sh(&self.hosts[router], &format!("nft '{script}'"));
    }

    fn flush(&self, router: usize) {
        sh(&self.hosts[router], "nft delete table inet t");
    }

    /// `path` from the client, with what it prints.
    fn path(&self, v6: bool, arguments: &[&str]) -> Value {
        let target = target(v6);
        let mut command = harness::clean(Command::new(env!("CARGO_BIN_EXE_tfo-client")));
        command.args(["-q", "path", &target, "-o", "json"]).args(arguments);
        let ended = Program::start(&self.hosts[0], command).unwrap().finish();
        harness::json(&ended.out)
    }
}

fn target(v6: bool) -> String {
    if v6 { format!("[fd00:{ROUTERS}::2]:2222") } else { format!("10.0.{ROUTERS}.2:2222") }
}

fn sh(host: &Host, line: &str) {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("sh");
    command.env("PATH", format!("{path}:/usr/sbin:/sbin")).args(["-c", line]);
    let output = host.output(command).unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Rules for both families that match SYNs with data: their length is more than that of their headers.
const SYN_DATA: [&str; 2] = [
    "tcp flags & (syn | ack) == syn meta nfproto ipv4 ip length > 100",
    "tcp flags & (syn | ack) == syn meta nfproto ipv6 ip6 length > 80",
];

fn with(chain: &str, verdict: &str) -> Vec<String> {
    SYN_DATA.iter().map(|matches| format!("{chain} {matches} {verdict}")).collect()
}

#[test]
fn kernels_routers_are_judged_as_the_labs() {
    if !(require("ip") && require("nft")) {
        return;
    }
    isolated(|| {
        for v6 in [false, true] {
            // A row for each family: what the client's kernel has cached is known.
            let row = Row::new();
            let strip = [
                "f tcp dport 2222 reset tcp option fastopen",
                "f tcp dport 2222 reset tcp option 254",
            ];
            row.filter(2, &strip);
            let found = row.path(v6, &["--to-target"]);
            assert_eq!(told(&found, "faults"), ["option-overwritten request 2-3"], "{found:#}");
            row.flush(2);
            let arriving = strip.map(|rule| rule.replacen('f', "p", 1));
            row.filter(2, &arriving.each_ref().map(String::as_str));
            let found = row.path(v6, &["--to-target"]);
            assert_eq!(told(&found, "faults"), ["option-overwritten request 1-2"], "{found:#}");
            row.flush(2);
            let found = row.path(v6, &["--to-target"]);
            assert_eq!(found["end_to_end"]["verdict"], "fast-open", "{found:#}");

            for (chain, verdict, kind, interval) in [
                ("f", "drop", "dropped", "1-2"),
                ("p", "drop", "dropped", "0-1"),
                ("f", "reject with tcp reset", "reset", "1-2"),
                ("f", "reject with icmpx type admin-prohibited", "prohibited", "1-2"),
            ] {
                let rules = with(chain, verdict);
                row.filter(1, &rules.iter().map(String::as_str).collect::<Vec<_>>());
                let found = row.path(v6, &["--to-target"]);
                let expected =
                    ["cookie-and-data", "data"].map(|syn| format!("{kind} {syn} {interval}"));
                assert_eq!(told(&found, "faults"), expected, "{chain} {verdict}: {found:#}");
                row.flush(1);
            }
        }
    });
}

#[test]
fn kernels_translation_and_rate_limit_are_no_faults() {
    if !(require("ip") && require("nft")) {
        return;
    }
    isolated(|| {
        let row = Row::new();
        sh(
            &row.hosts[1],
            "nft 'add table ip n; add chain ip n o { type nat hook postrouting priority 100; }; add rule ip n o oifname right masquerade'",
        );
        for host in &row.hosts {
            sh(host, "echo 1000 > /proc/sys/net/ipv4/icmp_ratelimit");
        }
        let found = row.path(false, &["--to-target", "--all"]);
        assert_eq!(told(&found, "faults"), Vec::<String>::new(), "{found:#}");
        let changes = told(&found, "changes");
        assert!(changes.iter().all(|change| change.starts_with("address-changed")), "{found:#}");
        assert_eq!(found["distance"], ROUTERS + 1, "{found:#}");
    });
}

#[test]
fn filtered_icmp_is_said_and_both_ends_are_asked() {
    if !(require("ip") && require("nft")) {
        return;
    }
    isolated(|| {
        for v6 in [false, true] {
            let row = Row::new();
            sh(
                &row.hosts[0],
                "nft 'add table inet t; add chain inet t i { type filter hook input priority 0; }; \
                 add rule inet t i ip protocol icmp drop; \
                 add rule inet t i icmpv6 type { destination-unreachable, packet-too-big, time-exceeded } drop'",
            );
            row.filter(
                2,
                &[
                    "f tcp dport 2222 reset tcp option fastopen",
                    "f tcp dport 2222 reset tcp option 254",
                ],
            );
            // Without a flag: the mirror introduces itself.
            let found = row.path(v6, &[]);
            assert_eq!(found["icmp"], false, "{found:#}");
            assert_eq!(found["target"]["mirror"], true, "{found:#}");
            let finding = found["finding"].to_string();
            assert!(finding.contains("No ICMP errors about TCP come back"), "{finding}");
            assert_eq!(told(&found, "faults"), ["option-overwritten request 0-4"], "{found:#}");
        }
    });
}
