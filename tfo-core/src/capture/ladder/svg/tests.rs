//! The picture is well-formed and contains its text. Only a person can judge how it looks: `TFO_PICTURES=folder`
//! writes one of each kind there.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

use proptest::prelude::*;

use super::super::super::fixture::{self, Host, Wire};
use super::super::super::{Modification, PacketPath};
use super::*;

fn ladder(title: &str, packets: &[PacketPath]) -> Ladder {
    Ladder::new("client 192.0.2.1", "server 192.0.2.200:2222").title(title).packets(packets)
}

/// Parses as much XML as the pictures use: tags in pairs, quoted attributes, known entities.
#[track_caller]
fn assert_well_formed(svg: &str) {
    let mut open = Vec::new();
    let mut rest = svg;
    while let Some((text, after)) = rest.split_once('<') {
        assert_text(text);
        let (tag, after) = after.split_once('>').expect("a tag ends");
        assert_eq!(tag.matches('"').count() % 2, 0, "quotes come in pairs: {tag}");
        // Checked only inside tags: text may contain these letters.
        assert!(!tag.contains("NaN") && !tag.contains("inf"), "a place is unknown: {tag}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "tags are nested");
        } else if !tag.ends_with('/') {
            open.push(tag.split_whitespace().next().expect("a name"));
        }
        rest = after;
    }
    assert_eq!(rest, "\n", "nothing follows the picture");
    assert!(open.is_empty(), "never closed: {open:?}");
}

#[track_caller]
fn assert_text(text: &str) {
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    for (at, _) in text.match_indices('&') {
        let known = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"];
        assert!(known.iter().any(|entity| text[at..].starts_with(entity)), "{text:?}");
    }
}

fn kinds() -> Vec<(&'static str, Ladder)> {
    let fast_open = fixture::fast_open(Wire::v4());
    vec![
        ("fast-open", ladder("Fast open, 40 ms round trip", &fast_open)),
        (
            "cookie-granted",
            ladder("A cookie is asked for, and granted", &fixture::cookie_granted()),
        ),
        ("dropped", ladder("SYNs with data are dropped", &fixture::syn_data_dropped())),
        ("stripped", ladder("The option and the data are stripped", &fixture::stripped())),
        ("reset", ladder("Data in the SYN is reset", &fixture::reset())),
        ("client", ladder("Seen at the client", &fixture::seen_at(Host::Client, &fast_open))),
        ("bulk", ladder("Many packets", &fixture::bulk(100)).limit(16)),
        ("way-back", ladder("All of it on the way back", &fixture::way_back())),
        ("no-delay", ladder("No delay", &fixture::without_delay(fast_open.clone()))),
        ("empty", Ladder::new("a", "b")),
    ]
}

#[test]
fn each_kind_of_picture_is_well_formed() {
    let folder = env::var_os("TFO_PICTURES").map(PathBuf::from);
    for (name, ladder) in kinds() {
        let svg = ladder.to_svg();
        assert_well_formed(&svg);
        assert!(
            svg.contains("<title>") && svg.contains("<desc>"),
            "{name} has a description in words"
        );
        if let Some(folder) = &folder {
            fs::write(folder.join(name).with_extension("svg"), &svg).expect("the folder is there");
        }
    }
}

/// Pairs of connections, the first one regular.
fn pairs() -> Vec<(&'static str, String)> {
    let regular = ladder("A regular connection", &fixture::regular());
    let beside = |title, packets: &[PacketPath]| regular.to_svg_beside(&ladder(title, packets));
    let fast_open = fixture::fast_open(Wire::v4());
    vec![
        ("pair", beside("Fast open, connection 3", &fast_open)),
        ("pair-dropped", beside("SYNs with data are dropped", &fixture::syn_data_dropped())),
        ("pair-stripped", beside("Stripped", &fixture::stripped())),
        ("pair-reset", beside("Reset", &fixture::reset())),
        ("pair-bulk", beside("Many", &fixture::bulk(100))),
        ("pair-way-back", beside("All of it on the way back", &fixture::way_back())),
        ("pair-client", beside("Client only", &fixture::seen_at(Host::Client, &fast_open))),
        ("pair-no-delay", beside("No delay", &fixture::without_delay(fast_open))),
        ("pair-empty", beside("Nothing", &[])),
    ]
}

#[test]
fn each_kind_of_pair_is_well_formed() {
    let folder = env::var_os("TFO_PICTURES").map(PathBuf::from);
    for (name, svg) in pairs() {
        assert_well_formed(&svg);
        if let Some(folder) = &folder {
            fs::write(folder.join(name).with_extension("svg"), &svg).expect("the folder is there");
        }
    }
}

/// The README's first picture is what the lab draws, with the times of an undisturbed path.
#[test]
fn picture_of_the_readme_is_current() {
    let pair = |title, packets: &[PacketPath]| {
        Ladder::new("client 192.0.2.1", "server 192.0.2.2").title(title).packets(packets)
    };
    let regular = pair("A regular connection", &fixture::regular());
    let fast_open = pair("Fast open, connection 3", &fixture::fast_open(Wire::v4()));
    let svg = regular.to_svg_beside(&fast_open);
    for words in [">first byte after 80.6 ms<", ">first byte after 40.3 ms<", ">40.3 ms sooner:<"] {
        assert!(svg.contains(words), "{words} is missing:\n{svg}");
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tfo-client/pictures/lab.svg");
    if env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(&file, &svg).expect("the folder is there");
    }
    let current = fs::read_to_string(&file).expect("the picture is there");
    assert_eq!(current, svg, "update it: UPDATE_SNAPSHOTS=1 cargo test -p tfo-core --lib readme");
}

#[test]
fn text_of_a_pair_is_at_least_13_px_high() {
    let sizes = STYLE.split("font").skip(1).filter_map(|rest| {
        let size = rest.strip_prefix("-size:").or_else(|| rest.strip_prefix(":"))?;
        size.trim_start().split("px").next()?.parse::<f64>().ok()
    });
    let sizes: Vec<f64> = sizes.collect();
    assert!(sizes.len() > 4 && sizes.iter().all(|size| *size >= 13.0), "{sizes:?}");
}

#[test]
fn picture_contains_labels_and_notes() {
    let svg = ladder("Stripped", &fixture::stripped()).to_svg();
    for words in [
        ">SYN, cookie 8 B, 64 B of data in the SYN</text>",
        ">SYN</text>",
        "option 34 overwritten with NOPs",
        ">40.1 ms</text>",
        "prefers-color-scheme: dark",
    ] {
        assert!(svg.contains(words), "{words} is missing:\n{svg}");
    }
    let svg = ladder("Dropped", &fixture::syn_data_dropped()).to_svg();
    assert!(svg.contains("nothing for 1.02 s"), "the silence is named");
    assert_eq!(svg.matches("class=\"cross\"").count(), 2, "one packet was dropped");
}

#[test]
fn time_runs_downward_for_each_host() {
    for (name, ladder) in kinds() {
        let layout = layout::layout(&ladder.items(), &ladder.rungs, 100.0);
        for x in [LEFT, RIGHT] {
            let mut seen: Vec<_> = layout
                .arrows
                .iter()
                .flat_map(|arrow| [(arrow.rung.sent, arrow.from), (arrow.rung.arrived, arrow.to)])
                .filter(|(time, at)| time.is_some() && (at.0 - x).abs() < 1.0)
                .collect();
            seen.sort_by_key(|(time, _)| *time);
            assert!(seen.is_sorted_by(|a, b| a.1.1 < b.1.1), "{name}: {seen:?}");
        }
    }
}

#[test]
fn hostile_text_is_escaped() {
    let mut packets = fixture::syn_data_dropped();
    packets[0].modifications =
        vec![Modification::new("box", "</text><script>&\"'\u{0}\u{1b}]]>\u{ffff}")];
    let svg = Ladder::new("<a>", "b&b").title("\"t'<").packets(&packets).to_svg();
    assert_well_formed(&svg);
    assert!(!svg.contains("<script"), "{svg}");
}

/// The labels of the time scale of a pair.
fn ticks(svg: &str) -> impl Iterator<Item = &str> {
    let texts = svg.split(" x=\"58.0\"").skip(1);
    texts.filter_map(|text| Some(text.split_once('>')?.1.split_once('<')?.0))
}

#[test]
fn tick_label_is_short_and_exact() {
    for (micros, label) in [
        (0, "0 ms"),
        (40_500, "40.5 ms"),
        (100_500, "100.5"),
        (1_140_000, "1140 ms"),
        (1_003_550, "1003.55"),
        (9_999_999, ""),
        (12_000_000, "12 s"),
    ] {
        assert_eq!(pair::tick_label(Duration::from_micros(micros)), label);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_packets_make_a_well_formed_picture(
        all in proptest::collection::vec(fixture::any_crossing(), 0..50),
        names in [".{0,60}", ".{0,60}", ".{0,60}"],
    ) {
        let [client, server, title] = names;
        let ladder = Ladder::new(client, server).title(title).packets(&all);
        assert_well_formed(&ladder.to_svg());
        let regular = Ladder::new("a", "b").packets(&fixture::regular());
        let pair = regular.to_svg_beside(&ladder);
        assert_well_formed(&pair);
        // No longer than there is room for.
        prop_assert!(ticks(&pair).all(|tick| tick.len() <= "1140 ms".len()), "{pair}");
        assert_well_formed(&ladder.to_svg_beside(&regular));
    }
}
