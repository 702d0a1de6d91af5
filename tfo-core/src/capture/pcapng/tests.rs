//! The file is read back by a small reader in this file, and by tshark if it is installed.

use std::process::Command;

use proptest::prelude::*;

use super::super::fixture::{self, Wire};
use super::*;

#[derive(Debug, PartialEq, Eq)]
struct Block {
    kind: u32,
    body: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
struct Packet {
    interface: u32,
    nanos: u64,
    frame: Vec<u8>,
    options: Vec<(u16, Vec<u8>)>,
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn blocks(mut file: &[u8]) -> Vec<Block> {
    let mut blocks = Vec::new();
    while !file.is_empty() {
        let length = le32(file, 4) as usize;
        assert_eq!(length % 4, 0, "blocks are aligned");
        assert_eq!(le32(file, length - 4) as usize, length, "the length is at both ends");
        blocks.push(Block { kind: le32(file, 0), body: file[8..length - 4].to_vec() });
        file = &file[length..];
    }
    blocks
}

fn options(mut bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut options = Vec::new();
    loop {
        let code = u16::from_le_bytes([bytes[0], bytes[1]]);
        let length = usize::from(u16::from_le_bytes([bytes[2], bytes[3]]));
        if code == 0 {
            assert_eq!(bytes.len(), 4, "the end is at the end");
            return options;
        }
        options.push((code, bytes[4..4 + length].to_vec()));
        bytes = &bytes[4 + length.next_multiple_of(4)..];
    }
}

fn read_packets(file: &[u8]) -> Vec<Packet> {
    let packets = blocks(file).into_iter().filter(|block| block.kind == 6).map(|block| {
        let length = le32(&block.body, 12) as usize;
        assert_eq!(le32(&block.body, 16) as usize, length, "nothing was cut");
        Packet {
            interface: le32(&block.body, 0),
            nanos: u64::from(le32(&block.body, 4)) << 32 | u64::from(le32(&block.body, 8)),
            frame: block.body[20..20 + length].to_vec(),
            options: options(&block.body[20 + length.next_multiple_of(4)..]),
        }
    });
    packets.collect()
}

fn file(packets: &[PacketPath]) -> Vec<u8> {
    let mut file = Vec::new();
    write(&mut file, packets).expect("a vector takes everything");
    file
}

#[test]
fn the_file_begins_with_a_section_and_two_interfaces() {
    let blocks = blocks(&file(&[]));
    let kinds: Vec<_> = blocks.iter().map(|block| block.kind).collect();
    assert_eq!(kinds, [0x0a0d_0d0a, 1, 1]);
    assert_eq!(blocks[0].body[..4], [0x4d, 0x3c, 0x2b, 0x1a], "little-endian");
    for (block, name) in blocks[1..].iter().zip(["client", "server"]) {
        assert_eq!(block.body[..8], [1, 0, 0, 0, 0, 0, 0, 0], "Ethernet, whole packets");
        let options = options(&block.body[8..]);
        assert_eq!(options, [(2, name.as_bytes().to_vec()), (9, vec![9])]);
    }
}

#[test]
fn each_host_has_the_packets_as_it_saw_them() {
    let seen = fixture::stripped();
    let packets = read_packets(&file(&seen));
    assert_eq!(packets.len(), 6, "three packets, each seen twice");
    assert!(packets.is_sorted_by_key(|packet| packet.nanos), "in the order of time");

    let syn = &seen[0];
    let comment = b"strip-syn: option 34 overwritten with NOPs, 64 B of payload removed".to_vec();
    assert_eq!(packets[0].interface, 0, "the client sent it");
    assert_eq!(u128::from(packets[0].nanos), fixture::START.as_nanos());
    assert_eq!(packets[0].frame, syn.sent.as_ref().unwrap().frame);
    assert_eq!(packets[0].options, [(2, vec![2, 0, 0, 0]), (1, comment.clone())], "outbound");
    assert_eq!(packets[1].interface, 1, "the server got it");
    assert_eq!(packets[1].frame, syn.arrived.as_ref().unwrap().frame);
    assert_eq!(packets[1].options, [(2, vec![1, 0, 0, 0]), (1, comment)], "inbound");
    assert_eq!(packets[2].options, [(2, vec![2, 0, 0, 0])], "a packet that was left alone");
}

#[test]
fn packets_can_be_written_as_they_come() {
    let packets = fixture::syn_data_dropped();
    let mut writer = Writer::new(Vec::new()).expect("a vector takes everything");
    for packet in &packets {
        writer.packet(packet).expect("a vector takes everything");
    }
    assert_eq!(writer.into_inner(), file(&packets), "these come in the order of time");
}

#[test]
fn a_comment_that_is_too_long_is_cut_between_two_characters() {
    let mut packet = fixture::stripped().remove(0);
    packet.modifications = vec![Modification::new("b", "é".repeat(40_000))];
    let packets = read_packets(&file(&[packet]));
    let (_, comment) = &packets[0].options[1];
    assert!(comment.len() <= 65_535);
    std::str::from_utf8(comment).expect("no half character");
}

/// Reads the file with tshark. If tshark is missing, the test says so and does nothing.
#[test]
fn tshark_reads_names_comments_directions_and_options() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("packets.pcapng");
    let mut packets = fixture::stripped();
    packets.extend(fixture::fast_open(Wire::v6().port(40_001)));
    std::fs::write(&path, file(&packets)).expect("the folder is ours");
    let mut tshark = Command::new("tshark");
    tshark.arg("-n").arg("-r").arg(&path).args(["-T", "fields"]);
    for field in [
        "frame.interface_name",
        "frame.packet_flags_direction",
        "tcp.len",
        "tcp.options.tfo.cookie",
        "frame.comment",
        "frame.time_relative",
    ] {
        tshark.args(["-e", field]);
    }
    let output = match tshark.output() {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let required = std::env::var("TFO_LAB_REQUIRED").is_ok_and(|value| value == "1");
            assert!(!required, "TFO_LAB_REQUIRED=1, and tshark is not installed");
            eprintln!("SKIPPED: tshark is not installed; only the reader above checked the file");
            return;
        }
        Err(error) => panic!("tshark does not start: {error}"),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(rows.len(), packets.len() * 2, "{text}");
    let comment = "strip-syn: option 34 overwritten with NOPs, 64 B of payload removed";
    let direction =
        |row: &[&str]| u32::from_str_radix(row[1].trim_start_matches("0x"), 16).unwrap();
    assert_eq!((rows[0][0], direction(&rows[0]), rows[0][2]), ("client", 2, "64"), "{text}");
    assert_eq!((rows[0][3], rows[0][4]), ("0102030405060708", comment), "{text}");
    let stripped = rows.iter().rfind(|row| row[4] == comment).expect("as it arrived");
    assert_eq!((stripped[0], direction(stripped), stripped[2]), ("server", 1, "0"), "{text}");
    assert_eq!(stripped[3], "", "its cookie is gone: {text}");
    assert_eq!(stripped[5], "0.020000000", "to the nanosecond: {text}");
}

proptest! {
    #[test]
    fn what_was_written_is_read_back(all in proptest::collection::vec(fixture::any_crossing(), 0..10)) {
        let packets = read_packets(&file(&all));
        let count: usize = all.iter().map(|packet| sightings(packet).count()).sum();
        prop_assert_eq!(packets.len(), count);
        for (interface, flags, sighting, modifications) in all.iter().flat_map(sightings) {
            let found = packets.iter().any(|packet| {
                packet.interface == interface
                    && packet.frame == sighting.frame
                    && packet.options.len() == modifications.len() + 1
                    && packet.options[0] == (2, flags.to_le_bytes().to_vec())
            });
            prop_assert!(found, "{sighting:?}");
        }
    }
}
