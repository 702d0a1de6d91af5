//! Ladders as stored text. `UPDATE_SNAPSHOTS=1` replaces what is stored by what is drawn.

use std::path::Path;
use std::{env, fs};

use proptest::prelude::*;

use super::super::super::fixture::{self, Host, Wire};
use super::super::super::{Modification, PacketPath};
use super::*;

fn ladder(title: &str, packets: &[PacketPath]) -> Ladder {
    Ladder::new("client 192.0.2.1", "server 192.0.2.200:2222").title(title).packets(packets)
}

#[track_caller]
fn assert_within(text: &str, style: TextStyle) {
    for line in text.lines() {
        let plain = without_escapes(line);
        assert!(plain.chars().count() <= style.width.max(MIN_WIDTH), "too wide: {plain:?}");
        assert_eq!(plain.trim_end(), plain, "nothing but spaces at the end");
        assert!(!plain.chars().any(char::is_control), "a control character: {plain:?}");
        assert!(!style.ascii || plain.is_ascii(), "beyond ASCII: {plain:?}");
        assert!(style.colour || plain == line, "an escape: {line:?}");
    }
    assert!(text.ends_with('\n'));
}

fn without_escapes(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain += before;
        rest = after.split_once('m').expect("the escape ends").1;
    }
    plain + rest
}

#[track_caller]
fn assert_stored(name: &str, ladder: &Ladder, style: TextStyle) {
    let text = ladder.to_text(style);
    assert_within(&text, style);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/capture/ladder/expected");
    let path = folder.join(name);
    if env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::create_dir_all(&folder).expect("the folder is ours");
        fs::write(&path, &text).expect("the folder is ours");
    }
    let stored = fs::read_to_string(&path).expect("the expected text is stored");
    assert_eq!(text, stored, "{name} looks different:\n{text}\nwhat was stored:\n{stored}");
}

#[test]
fn a_fast_open_connection_fits_80_columns() {
    let ladder = ladder("Fast open, 40 ms round trip", &fixture::fast_open(Wire::v4()));
    assert_stored("fast-open.txt", &ladder, TextStyle::default());
    assert_stored("fast-open-ascii.txt", &ladder, TextStyle::default().ascii(true));
    assert_stored("fast-open-colour.txt", &ladder, TextStyle::default().colour(true));
    assert_stored("fast-open-narrow.txt", &ladder, TextStyle::default().width(48));
}

#[test]
fn a_cookie_is_requested_and_granted() {
    let ladder = ladder("Cookie granted", &fixture::cookie_granted());
    assert_stored("cookie-granted.txt", &ladder, TextStyle::default());
}

#[test]
fn dropped_packet_ends_in_the_middle_and_silence_is_named() {
    let ladder = ladder("SYNs with data are dropped", &fixture::syn_data_dropped());
    assert_stored("syn-data-dropped.txt", &ladder, TextStyle::default());
    assert_stored("syn-data-dropped-ascii.txt", &ladder, TextStyle::default().ascii(true));
    assert_stored("syn-data-dropped-colour.txt", &ladder, TextStyle::default().colour(true));
}

#[test]
fn changed_packet_has_a_label_on_both_sides_of_the_change() {
    let ladder = ladder("The option and the data are stripped", &fixture::stripped());
    assert_stored("stripped.txt", &ladder, TextStyle::default());
    assert_stored("stripped-narrow.txt", &ladder, TextStyle::default().width(50));
}

#[test]
fn a_forged_packet_starts_in_the_middle() {
    let ladder = ladder("Data in the SYN is reset", &fixture::reset());
    assert_stored("reset.txt", &ladder, TextStyle::default());
}

#[test]
fn packets_towards_the_client_can_be_dropped_changed_forged() {
    let ladder = ladder("All of it on the way back", &fixture::way_back());
    assert_stored("way-back.txt", &ladder, TextStyle::default());
}

#[test]
fn capture_of_one_host_shows_the_clock_of_that_host() {
    let all = fixture::fast_open(Wire::v4());
    let at_client = ladder("Seen at the client", &fixture::seen_at(Host::Client, &all));
    assert_stored("seen-at-client.txt", &at_client, TextStyle::default());
    let at_server = ladder("Seen at the server", &fixture::seen_at(Host::Server, &all));
    assert_stored("seen-at-server.txt", &at_server, TextStyle::default());
}

#[test]
fn without_a_delay_times_are_shown_in_hundredths() {
    let packets = fixture::without_delay(fixture::fast_open(Wire::v6()));
    assert_stored("without-delay.txt", &ladder("No delay", &packets), TextStyle::default());
}

#[test]
fn a_long_transfer_is_cut_in_the_middle() {
    let packets = fixture::bulk(170);
    let ladder = ladder("Many packets", &packets);
    assert_stored("bulk.txt", &ladder.clone().limit(12), TextStyle::default());
    let rows = ladder.to_text(TextStyle::default()).lines().count();
    assert!(rows < 60, "{rows} rows for 172 packets");
    let exact = ladder.limit(171).to_text(TextStyle::default());
    assert!(!exact.contains('…'), "a line that stands for one packet saves nothing");
}

#[test]
fn ladder_without_packets_is_its_title_and_hosts() {
    let text = Ladder::new("a", "b").to_text(TextStyle::default());
    assert_within(&text, TextStyle::default());
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn hostile_text_keeps_the_layout() {
    let mut packets = fixture::syn_data_dropped();
    packets[0].modifications = vec![
        Modification::new("box", "\x1b[31mred\u{202e}\nnew line é"),
        Modification::new("b", "x".repeat(200)),
    ];
    let ladder = Ladder::new("c\x1b]0;evil\x07", "s".repeat(300))
        .title("long title ".repeat(20))
        .packets(&packets);
    for ascii in [false, true] {
        let style = TextStyle::default().ascii(ascii);
        assert_within(&ladder.to_text(style), style);
    }
}

proptest! {
    #[test]
    fn no_packets_break_the_layout(
        all in proptest::collection::vec(fixture::any_crossing(), 0..60),
        width in 0..200_usize,
        colour: bool,
        ascii: bool,
        names in [".{0,60}", ".{0,60}"],
    ) {
        let [client, server] = names;
        let ladder = Ladder::new(client, server).title("t").packets(&all);
        let style = TextStyle { width, colour, ascii };
        assert_within(&ladder.to_text(style), style);
    }
}
