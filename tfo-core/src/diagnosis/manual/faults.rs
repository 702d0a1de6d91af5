//! The pages of the faults that `path` finds between two hops. `path` defines the words, and its tests hold that each
//! has a page.

/// The words, and their pages.
pub(super) const FAULTS: &[(&str, &str)] = &[
    ("option-overwritten", include_str!("faults/option-overwritten.md")),
    ("option-removed", include_str!("faults/option-removed.md")),
    ("option-renumbered", include_str!("faults/option-renumbered.md")),
    ("cookie-changed", include_str!("faults/cookie-changed.md")),
    ("data-removed", include_str!("faults/data-removed.md")),
    ("data-changed", include_str!("faults/data-changed.md")),
    ("dropped", include_str!("faults/dropped.md")),
    ("reset", include_str!("faults/reset.md")),
    ("prohibited", include_str!("faults/prohibited.md")),
    ("intercepted", include_str!("faults/intercepted.md")),
    ("proxy", include_str!("faults/proxy.md")),
    ("flow-dropped", include_str!("faults/flow-dropped.md")),
    ("too-large", include_str!("faults/too-large.md")),
    ("syn-ack-option-removed", include_str!("faults/syn-ack-option-removed.md")),
    ("syn-ack-dropped", include_str!("faults/syn-ack-dropped.md")),
    ("mss-changed", include_str!("faults/mss-changed.md")),
    ("other-option-removed", include_str!("faults/other-option-removed.md")),
    ("other-option-added", include_str!("faults/other-option-added.md")),
    ("address-changed", include_str!("faults/address-changed.md")),
];
