//! Each box, at the first, a middle and the last of six hops, over both families: the interval is the one behind its hop.

use tfo_core::lab::{Middlebox, has_ipv6};

use super::{all, document, told};

/// What a box is found to do, to which kinds of SYNs. The mirror at the target reports the rest.
fn expected(middlebox: Middlebox, place: u8) -> Vec<String> {
    let last = place == 6;
    let faults: &[&str] = match middlebox {
        // The kernel has no cookie for the target.
        Middlebox::StripSynOption => &["option-overwritten request"],
        Middlebox::RemoveSynOption => &["option-removed request"],
        Middlebox::OverwriteOption if last => &["option-overwritten request"],
        Middlebox::OverwriteOption => &["option-overwritten request", "data-removed data"],
        Middlebox::DropSynOption => &["dropped request"],
        // Behind the last hop only what the probe itself sends is known to be lost.
        Middlebox::DropSynData if last => &["dropped cookie-and-data"],
        Middlebox::DropSynData => &["dropped cookie-and-data", "dropped data"],
        Middlebox::StripSynData if last => &["data-removed cookie-and-data"],
        Middlebox::StripSynData => &["data-removed cookie-and-data", "data-removed data"],
        Middlebox::ResetSynData | Middlebox::ProhibitSynData if last => &["reset cookie-and-data"],
        Middlebox::ResetSynData => &["reset cookie-and-data", "reset data"],
        Middlebox::ProhibitSynData => &["prohibited cookie-and-data", "prohibited data"],
        Middlebox::CorruptCookie if last => &["cookie-changed cookie-and-data"],
        Middlebox::CorruptCookie => &["cookie-changed cookie", "cookie-changed cookie-and-data"],
        other => panic!("{other} has no expectation"),
    };
    let mut faults: Vec<String> =
        faults.iter().map(|fault| format!("{fault} {place}-{}", place + 1)).collect();
    faults.sort();
    faults
}

#[test]
fn each_box_is_found_behind_its_hop() {
    let families: &[&str] = if has_ipv6() { &["-4", "-6"] } else { &["-4"] };
    let boxes = [
        Middlebox::StripSynOption,
        Middlebox::RemoveSynOption,
        Middlebox::OverwriteOption,
        Middlebox::DropSynOption,
        Middlebox::DropSynData,
        Middlebox::StripSynData,
        Middlebox::ResetSynData,
        Middlebox::ProhibitSynData,
        Middlebox::CorruptCookie,
    ];
    let cases = boxes.into_iter().flat_map(|middlebox| {
        [1, 3, 6]
            .into_iter()
            .flat_map(move |place| families.iter().map(move |family| (middlebox, place, *family)))
    });
    let wrong = all(cases.collect(), |(middlebox, place, family)| {
        let arguments = format!("--hops 6 --hop {place}:{middlebox} --rtt 20ms {family}");
        let document = document(&arguments);
        let (found, expected) = (told(&document, "faults"), expected(*middlebox, *place));
        if found == expected {
            return Vec::new();
        }
        vec![format!("{arguments}: {found:?}, expected {expected:?}: {document:#}")]
    });
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
