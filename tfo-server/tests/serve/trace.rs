//! `--trace` and `--pcap`: the packets of the connections that have ended.

use std::fs;

use tfo_core::{lab::isolated, probe::mirror};

use crate::support::{Lab, answer};

#[test]
fn packets_of_each_connection_are_drawn_and_written() {
    isolated(|| {
        let lab = Lab::new();
        let file = lab.path("server.pcapng");
        let server = lab.serve("", &["--trace", "--pcap", file.to_str().unwrap()]);
        for token in ["a", "b"] {
            let _told = answer(&mut lab.fast_open(&mirror::request(token, 64)));
        }
        let _ = server.out().first(2);
        server.signal("TERM").unwrap();
        let ended = server.finish();
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        for piece in
            ["SYN, TFO request", "SYN-ACK, cookie 8 B", "SYN, cookie 8 B, 64 B of data in the SYN"]
        {
            assert!(ended.out.contains(piece), "{piece} is missing:\n{}", ended.out);
        }
        let pcap = fs::read(file).unwrap();
        assert!(pcap.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]), "a section header of pcapng");
        assert!(pcap.len() > 1000, "with packets");
    });
}
