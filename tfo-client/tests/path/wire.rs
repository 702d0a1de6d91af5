//! What is on the wire: data in a SYN ends in front of everybody who answers TCP, unless it is allowed to arrive.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::thread;
use std::time::Duration;

use tfo_core::capture::{Direction, PacketPath};
use tfo_core::lab::{Network, PathSettings, Program, SERVER_V4, hops, isolated, require};
use tfo_core::probe::serve_mirror;
use tfo_core::socket::FastOpenListener;

use super::harness;

/// What waits at the target.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Server {
    Mirror,
    /// Reads, and answers nothing.
    Silent,
}

/// The frames that arrived at a server while `path` ran, as far as they have data of `path` or of the probe, and the
/// number of all frames.
fn data_arrived(server: Server, rules: &[&str], count: usize, arguments: &str) -> (usize, usize) {
    let rules: Vec<_> = rules.iter().map(|rule| rule.parse().unwrap()).collect();
    let hops = hops(count, &rules).unwrap();
    let net = Network::new(PathSettings::new().hops(hops)).unwrap();
    net.server().run(move || {
        let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 2222);
        let listener = FastOpenListener::bind(any).unwrap();
        thread::spawn(move || match server {
            Server::Mirror => serve_mirror(&listener),
            Server::Silent => {
                while let Ok(mut accepted) = listener.accept() {
                    thread::spawn(move || accepted.stream.read_to_end(&mut Vec::new()));
                }
            }
        });
    });
    let mut command = harness::clean(Command::new(env!("CARGO_BIN_EXE_tfo-client")));
    command.args(["-q", "path", &SERVER_V4.to_string()]).args(arguments.split_whitespace());
    let ended = Program::start(net.client(), command).unwrap().finish();
    assert!(ended.out.contains("  regular"), "{}{}", ended.out, ended.err);
    let packets = net.packets();
    let of_client = packets.iter().filter(|packet| packet.direction == Direction::ToServer);
    let frames: Vec<_> =
        of_client.filter_map(|packet: &PacketPath| packet.arrived.as_ref()).collect();
    // Both begin alike.
    let has_data = |frame: &[u8]| frame.windows(5).any(|bytes| bytes == b"tfo-p");
    (frames.iter().filter(|seen| has_data(&seen.frame)).count(), frames.len())
}

#[test]
fn no_data_reaches_a_target_that_is_no_mirror() {
    isolated(|| {
        let paths: [(&[&str], usize); 4] = [
            (&[], 4),
            (&["2:proxy"], 4),
            (&["1:silent", "3:branches=2", "2:drop-syn-data"], 4),
            (&[], 0),
        ];
        for (rules, count) in paths {
            for arguments in ["", "--all"] {
                let (data, all) = data_arrived(Server::Silent, rules, count, arguments);
                assert_eq!(data, 0, "{rules:?} {arguments}");
                // Nobody opens the proxy's connections here.
                assert!(all > 3 || rules == ["2:proxy"], "regular SYNs arrive: {rules:?}");
            }
        }
    });
}

#[test]
fn data_reaches_a_mirror_and_who_asked_for_it() {
    isolated(|| {
        for (server, arguments) in
            [(Server::Mirror, ""), (Server::Silent, "--to-target"), (Server::Mirror, "--all")]
        {
            let (data, _) = data_arrived(server, &[], 3, arguments);
            assert!(data > 0, "{server:?} {arguments}");
        }
    });
}

#[test]
fn source_and_interface_hold_for_every_packet() {
    isolated(|| {
        let path = hops(3, &["2:strip-syn-data".parse().unwrap()]).unwrap();
        let net = Network::new(PathSettings::new().round_trip(Duration::ZERO).hops(path)).unwrap();
        let other = Ipv4Addr::new(198, 51, 100, 11);
        net.client().add_address(other.into()).unwrap();
        net.server().run(|| {
            let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 2222);
            let listener = FastOpenListener::bind(any).unwrap();
            thread::spawn(move || serve_mirror(&listener));
        });
        let run = |arguments: &str| {
            let before = net.packets().len();
            let mut command = harness::clean(Command::new(env!("CARGO_BIN_EXE_tfo-client")));
            command.env("TFO_CLIENT_CONNECT_TIMEOUT", "100ms");
            command.args(["-q", "path", &SERVER_V4.to_string()]);
            command.args(arguments.split_whitespace());
            let ended = Program::start(net.client(), command).unwrap().finish();
            let packets = net.packets().split_off(before);
            let of_client =
                packets.into_iter().filter(|packet| packet.direction == Direction::ToServer);
            let frames = of_client.filter_map(|packet| packet.sent);
            let is_ipv4 = |frame: &Vec<u8>| frame[12..14] == [8, 0];
            let frames: Vec<_> = frames.map(|seen| seen.frame).filter(is_ipv4).collect();
            (frames, ended)
        };
        let (frames, ended) = run("--all --source 198.51.100.11 --interface eth0");
        assert!(frames.len() > 10, "{}{}", ended.out, ended.err);
        for frame in &frames {
            assert_eq!(frame[26..30], other.octets(), "{}", ended.out);
        }
        assert!(ended.out.contains(" from 198.51.100.11:"), "{}", ended.out);
        assert!(ended.out.contains("SYNs with data lose their"), "{}", ended.out);

        let (frames, ended) = run("--interface lo --max-hops 1");
        assert_eq!((frames.len(), ended.code), (0, Some(3)), "{}{}", ended.out, ended.err);
        let (frames, ended) = run("--interface no-such");
        assert_eq!((frames.len(), ended.code), (0, Some(2)), "{}{}", ended.out, ended.err);
        let expected = "--interface no-such: expected a network interface of this host";
        assert!(ended.err.contains(expected), "{}", ended.err);
        let (_, ended) = run("--source 192.0.2.99");
        assert_eq!(ended.code, Some(2), "{}", ended.err);
    });
}

#[test]
fn no_capability_is_needed() {
    if !require("setpriv") {
        return;
    }
    isolated(|| {
        let program = env!("CARGO_BIN_EXE_tfo-client");
        for target in ["192.0.2.2", "[2001:db8::2]:2222"] {
            let mut command = harness::clean(Command::new(program));
            command.args([
                "-q",
                "lab",
                "--rtt",
                "10ms",
                "--hops",
                "4",
                "--hop",
                "2:strip-syn-data",
            ]);
            command.args(["--", "setpriv", "--bounding-set=-all", "--inh-caps=-all", "sh", "-c"]);
            let path =
                format!("grep CapEff: /proc/self/status; {program} -q path {target} --to-target");
            let output = command.arg(&path).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap().replace('\n', " ");
            assert!(text.contains("CapEff:\t0000000000000000"), "{text}");
            assert!(text.contains("SYNs with data lose their data"), "{text}");
            assert!(text.contains("Between hop 2 ("), "{text}");
        }
    });
}
