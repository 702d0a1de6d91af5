//! Verdicts are counted like in the kernel's counters.

use std::io::{Read, Write};
use std::net::SocketAddr;

use tfo_core::lab::{self, isolated};
use tfo_core::socket::FastOpenStream;

use crate::harness::Lab;
use crate::{answer, count, counters, load, serve, serve_at, verdicts};

#[test]
fn fast_open_count_matches_the_kernels_counter() {
    isolated(|| {
        let lab = Lab::new();
        let _peers = serve(&lab, answer);
        let (load, ended) = load(&lab, &["--count", "500", "--threads", "2"]);
        assert_eq!(ended.code, Some(0), "{load:#}");
        assert_eq!(load["connections"]["replies"], 500, "{load:#}");
        assert_eq!(count(&load, "fast-open"), counters(&lab).active, "{load:#}");
        // The first connections, until a cookie is cached.
        assert!((1..=32).contains(&count(&load, "cookie-granted")), "{load:#}");
        assert_eq!(load["times_us"]["first_byte_fast_open"]["count"], counters(&lab).active);
        assert_eq!(load["times_us"]["late_start"].as_object(), None, "no rate was given: {load:#}");
    });
}

#[test]
fn each_mode_is_counted_with_its_verdict() {
    isolated(|| {
        let lab = Lab::new();
        let _peers = serve(&lab, answer);
        let mut before = 0;
        for mode in ["sendto", "connect", "auto"] {
            let (load, _) = load(&lab, &["--count", "100", "--mode", mode, "--concurrency", "1"]);
            let active = counters(&lab).active - before;
            assert_eq!(count(&load, "fast-open"), active, "{mode} {load:#}");
            assert!(active >= 99, "{mode} {load:#}");
            before += active;
        }
        let (load, _) = load(&lab, &["--count", "100", "--mode", "off"]);
        let regular = [("not-attempted".to_owned(), "disabled-by-config".to_owned(), 100)];
        assert_eq!(verdicts(&load), regular, "{load:#}");
        assert_eq!(counters(&lab).active, before, "the kernel counted no fast open");
    });
}

#[test]
fn mixed_mode_is_half_regular_with_times_of_each() {
    isolated(|| {
        let lab = Lab::new();
        let _peers = serve(&lab, answer);
        let (load, _) = load(&lab, &["--count", "200", "--mode", "mixed"]);
        assert_eq!(count(&load, "not-attempted"), 100, "{load:#}");
        assert_eq!(count(&load, "fast-open"), counters(&lab).active, "{load:#}");
        assert_eq!(load["times_us"]["first_byte_fast_open"]["count"], counters(&lab).active);
        assert_eq!(load["times_us"]["first_byte_others"]["count"], 200 - counters(&lab).active);
    });
}

#[test]
fn disabled_client_and_disabled_server_are_distinguished() {
    isolated(|| {
        let lab = Lab::new();
        let _peers = serve(&lab, answer);
        lab.set_server_bits(1);
        let (seen, _) = load(&lab, &["--count", "50"]);
        let fallback = [("fallback".to_owned(), "no-cookie-returned".to_owned(), 50)];
        assert_eq!(verdicts(&seen), fallback, "{seen:#}");
        lab.set_client_bits(2);
        let (seen, _) = load(&lab, &["--count", "50"]);
        let disabled = [("not-attempted".to_owned(), "client-disabled".to_owned(), 50)];
        assert_eq!(verdicts(&seen), disabled, "{seen:#}");
    });
}

#[test]
fn server_that_rejects_syn_data_causes_fallbacks() {
    isolated(|| {
        let lab = Lab::new();
        let _peers = serve(&lab, answer);
        load(&lab, &["--count", "20"]);
        lab.set_server_bits(1);
        let before = counters(&lab);
        let (seen, _) = load(&lab, &["--count", "50"]);
        let fallback = [("fallback".to_owned(), "data-not-acked".to_owned(), 50)];
        assert_eq!(verdicts(&seen), fallback, "{seen:#}");
        assert_eq!(counters(&lab).since(&before).active_fail, 50, "the kernel's own count");
    });
}

#[test]
fn ipv6_connections_are_counted() {
    isolated(|| {
        if !lab::has_ipv6() {
            return lab::skip("this kernel has no IPv6");
        }
        let lab = Lab::new();
        let _peers = serve_at(&lab, SocketAddr::from((lab::SERVER_V6, 2222)), answer);
        let (load, _) = load(&lab, &["-s", "2001:db8::2", "--count", "100"]);
        assert_eq!(load["connections"]["replies"], 100, "{load:#}");
        assert_eq!(count(&load, "fast-open"), counters(&lab).active, "{load:#}");
    });
}

/// Answers when the complete request has arrived.
fn answer_to_20000_bytes(mut stream: FastOpenStream, _: usize) {
    let mut request = vec![0; 20_000];
    if stream.read_exact(&mut request).is_ok() && request.ends_with(b".\n") {
        let _ = stream.write_all(&vec![b'x'; 100_000]);
    }
}

#[test]
fn long_requests_and_long_replies_are_transferred_completely() {
    isolated(|| {
        let lab = Lab::new();
        let _peers = serve(&lab, answer_to_20000_bytes);
        let arguments = ["--count", "30", "--size", "20000B", "--concurrency", "3"];
        let (load, ended) = load(&lab, &[&arguments[..], &["--expect-bytes", "100000"]].concat());
        assert_eq!(ended.code, Some(0), "{load:#}");
        assert_eq!(load["connections"]["replies"], 30, "{load:#}");
        assert_eq!(count(&load, "fast-open"), counters(&lab).active, "{load:#}");
        assert!(counters(&lab).active >= 27, "{load:#}");
    });
}

/// Never answers.
fn discard(mut stream: FastOpenStream, _: usize) {
    let _ = stream.read_to_end(&mut Vec::new());
}

#[test]
fn no_reply_counts_established_connections() {
    isolated(|| {
        let lab = Lab::new();
        let _peers = serve(&lab, discard);
        for size in ["64B", "20000B"] {
            let (load, ended) = load(&lab, &["--count", "50", "--no-reply", "--size", size]);
            assert_eq!(ended.code, Some(0), "{load:#}");
            assert_eq!(load["connections"]["replies"], 50, "{load:#}");
            assert!(count(&load, "fast-open") + count(&load, "cookie-granted") == 50, "{load:#}");
        }
        assert!(counters(&lab).active >= 68, "{:?}", counters(&lab));
        let text = lab.probe(&["-q", "load", "--count", "5", "--no-reply"]).out;
        assert!(text.contains(" connections/s\n"), "{text}");
        assert!(text.contains("nothing shows whether its service did"), "{text}");
    });
}

/// Returns the number of the client's connections in `TIME_WAIT`.
fn time_wait(lab: &Lab) -> usize {
    let table = lab.client.run(|| std::fs::read_to_string("/proc/thread-self/net/tcp")).unwrap();
    table.lines().filter(|line| line.split_whitespace().nth(3) == Some("06")).count()
}

/// Answers, and closes once the client has.
fn answer_and_wait(mut stream: FastOpenStream, _: usize) {
    if stream.read_exact(&mut [0; 64]).is_ok() && stream.write_all(b"ok").is_ok() {
        let _ = stream.read(&mut [0]);
    }
}

#[test]
fn closing_first_leaves_time_wait_and_a_reset_does_not() {
    isolated(|| {
        let lab = Lab::new();
        let _peers = serve(&lab, answer);
        load(&lab, &["--count", "40", "--mode", "off"]);
        assert_eq!(time_wait(&lab), 0, "the server closed first");

        let lab = Lab::new();
        let _peers = serve(&lab, answer_and_wait);
        let arguments = ["--count", "40", "--expect-bytes", "2"];
        let (seen, _) = load(&lab, &[&arguments[..], &["--reset"]].concat());
        assert_eq!(seen["connections"]["replies"], 40, "{seen:#}");
        assert_eq!(time_wait(&lab), 0, "a reset leaves no TIME_WAIT");
        load(&lab, &arguments);
        assert!(time_wait(&lab) > 0, "this end closed first");
    });
}
