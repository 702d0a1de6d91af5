use tempfile::TempDir;

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

fn folder(content: &str) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("keys");
    file::create(&path, content.as_bytes()).unwrap();
    (folder, path)
}

#[test]
fn no_output_contains_a_key() {
    let (one, two) = ("deadbeef".repeat(4), "c0ffee77".repeat(4));
    let (_held, path) = folder(&format!("{one}\n{two}\n"));
    let secret = "deadbeef".repeat(8);
    let (_held_too, secret_path) = folder(&secret);
    let derived = KeySource::Derived { secret: secret_path, rotate_every: DAY };
    for source in [KeySource::File(path), derived] {
        let now = SystemTime::now();
        let keys = Keys::load(&source, now).unwrap();
        let shown = format!("{keys} {keys:?} {keys:#?} {source:?}").to_lowercase();
        let ring = keys.ring().unwrap();
        let known = [ring.primary(), ring.backup().unwrap()];
        let known = known.map(FastOpenKey::reveal_hex);
        for hidden in ["deadbeef", "c0ffee77", "222, 173", &known[0], &known[1]] {
            assert!(!shown.contains(hidden), "{hidden}: {shown}");
        }
        assert!(shown.contains(&ring.primary().fingerprint().to_string()), "{shown}");
    }
}

#[test]
fn derived_keys_change_with_the_time_only() {
    let (_held, path) = folder(&"5a".repeat(32));
    let source = KeySource::Derived { secret: path, rotate_every: DAY };
    let noon = SystemTime::UNIX_EPOCH + DAY * 20_000 + DAY / 2;
    let mut keys = Keys::load(&source, noon).unwrap();
    let first = keys.ring().unwrap().clone();
    assert_eq!(keys.next_ring(noon + DAY / 4, false), None, "nothing changes before evening");
    let evening =
        keys.next_ring(noon + DAY * 2 / 5, false).expect("the next key becomes the backup");
    assert_eq!((evening.primary(), evening.backup()), (first.primary(), first.next()));
    let morning =
        keys.next_ring(noon + DAY * 3 / 5, false).expect("primary and backup have swapped");
    assert_eq!(Some(morning.primary()), evening.backup());
    assert_eq!(morning.backup(), Some(evening.primary()));
    assert_eq!(keys.next_ring(noon + DAY, false), None);
    let late = keys.next_ring(noon + DAY * 9, false).expect("after a suspension of days");
    assert_eq!(late, Keys::load(&source, noon + DAY * 9).unwrap().ring().unwrap().clone());
}

/// The wall clock affects only keys: deadlines and ticks use the monotonic clock.
#[test]
fn clock_jump_changes_only_the_derived_keys() {
    let (_held, path) = folder(&"5a".repeat(32));
    let source = KeySource::Derived { secret: path, rotate_every: DAY };
    let noon = SystemTime::UNIX_EPOCH + DAY * 20_000 + DAY / 2;
    let mut keys = Keys::load(&source, noon).unwrap();
    let first = keys.ring().unwrap().clone();
    let mut at = |now| keys.next_ring(now, false);
    assert_eq!(at(noon - DAY / 4), None, "a jump within the same epoch changes nothing");
    for (jump, when) in [
        ("to the day of the first boot", SystemTime::UNIX_EPOCH),
        ("to before 1970", SystemTime::UNIX_EPOCH - DAY * 1000),
        ("far ahead", SystemTime::UNIX_EPOCH + DAY * 200_000),
        ("to yesterday", noon - DAY),
    ] {
        let there = at(when).unwrap_or_else(|| panic!("{jump}: expected other keys"));
        assert_ne!(there.primary(), first.primary(), "{jump}");
        assert_eq!(at(when), None, "{jump}: unchanged while the clock stays there");
        let back = at(noon).unwrap_or_else(|| panic!("{jump} and back: expected other keys"));
        assert_eq!(back, first, "{jump} and back: the previous keys, for every cookie");
    }
}

#[test]
fn unusable_key_file_is_an_error_at_the_start() {
    let (_held, path) = folder("");
    Keys::load(&KeySource::File(path.clone()), SystemTime::now()).unwrap_err();
    let derived = KeySource::Derived { secret: path, rotate_every: DAY };
    Keys::load(&derived, SystemTime::now()).unwrap_err();
}
