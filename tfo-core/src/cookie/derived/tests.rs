use proptest::prelude::*;

use super::*;

/// The length of one epoch in the tests' unit of time.
const EPOCH: u64 = 100_000;
/// A time that is not in the first epoch.
const START: u64 = 1_000 * EPOCH;

fn secret() -> Secret {
    Secret::from_hex(&"5a".repeat(32)).expect("32 bytes")
}

fn schedule() -> Schedule {
    Schedule::new(Duration::from_secs(EPOCH))
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn slots(seconds: u64) -> Slots {
    schedule().slots(at(seconds))
}

#[test]
fn key_depends_only_on_secret_and_epoch() {
    let key = secret().key(7);
    assert_eq!(
        key.reveal_hex(),
        "f37d5bcb13d5b328a0f8f15989e3843e",
        "a fleet must not split by an update"
    );
    assert_ne!(key, secret().key(8));
    assert_ne!(key, Secret::from_hex(&"5b".repeat(32)).expect("32 bytes").key(7));
}

#[test]
fn the_last_fifth_of_an_epoch_prepares_the_next() {
    let epoch = START / EPOCH;
    for (time, primary, backup) in [
        (0, epoch, epoch - 1),
        (EPOCH / 5 * 4 - 1, epoch, epoch - 1),
        (EPOCH / 5 * 4, epoch, epoch + 1),
        (EPOCH - 1, epoch, epoch + 1),
        (EPOCH, epoch + 1, epoch),
    ] {
        assert_eq!(slots(START + time), Slots { primary, backup }, "{time}");
    }
}

#[test]
fn clock_before_the_first_epoch_is_accepted() {
    let first = Slots { primary: 0, backup: 1 };
    assert_eq!(slots(0), first, "no epoch was before");
    let before = SystemTime::UNIX_EPOCH - Duration::from_secs(5);
    assert_eq!(schedule().slots(before), first);
    assert_eq!(schedule().ring(&secret(), before).previous(), []);
    let short = Schedule::new(Duration::ZERO);
    assert_eq!(short.every(), Duration::from_secs(1));
}

#[test]
fn the_ring_holds_the_keys_around_the_two_in_use() {
    let epoch = START / EPOCH;
    let keys = |epochs: [u64; 4]| epochs.map(|epoch| secret().key(epoch));
    let ring = schedule().ring(&secret(), at(START));
    assert_eq!(ring.primary(), &secret().key(epoch));
    assert_eq!(ring.backup(), Some(&secret().key(epoch - 1)));
    assert_eq!(ring.next(), Some(&secret().key(epoch + 1)));
    assert_eq!(ring.previous(), keys([epoch - 2, epoch - 3, epoch - 4, epoch - 5]));
    let ring = schedule().ring(&secret(), at(START + EPOCH - 1));
    assert_eq!(ring.backup(), Some(&secret().key(epoch + 1)));
    assert_eq!(ring.next(), None, "the next key is the backup already");
    assert_eq!(ring.previous(), keys([epoch - 1, epoch - 2, epoch - 3, epoch - 4]));
}

#[test]
fn secret_is_never_printed() {
    let hex = "deadbeef".repeat(8);
    let secret = Secret::from_hex(&hex).expect("32 bytes");
    assert_eq!(format!("{secret:?}"), "Secret(..)");
    assert_eq!(secret.reveal_hex(), hex, "only when asked");
    for text in [&hex[..30], &hex[..33], &hex.repeat(3), "deadbeef-deadbeef-deadbeef-deadbeef"] {
        let error = Secret::from_hex(text).expect_err("no secret");
        assert!(!format!("{error} {error:?}").contains("deadbeef"), "an error may be logged");
    }
    Secret::from_hex(&"00".repeat(32)).expect_err("zeros are no secret");
}

/// Returns the cookie that a client holds after a connection to a server whose clock reads `clock`, and whether its
/// old cookie was accepted.
fn connect(cookie: u64, clock: u64) -> (u64, bool) {
    let Slots { primary, backup } = slots(clock);
    // The primary key renews a cookie of the backup and replaces a refused one.
    (primary, cookie == primary || cookie == backup)
}

/// A connection: the time since the previous one, and how far the clock of its server is ahead.
type Visit = (u64, u64);

/// Returns how many of the visits have their cookie refused. The first visit has no cookie.
fn misses(visits: &[Visit], start: u64) -> usize {
    let mut now = START + start;
    let mut cookie = None;
    let mut misses = 0;
    for (gap, ahead) in visits {
        now += gap;
        let (granted, accepted) = connect(cookie.unwrap_or(u64::MAX), now + ahead);
        misses += usize::from(cookie.is_some() && !accepted);
        cookie = Some(granted);
    }
    misses
}

/// The clients of a fleet whose clocks, including the time to notice a change, differ by up to `d`.
fn fleet(d: std::ops::RangeInclusive<u64>) -> impl Strategy<Value = (Vec<Visit>, u64)> {
    d.prop_flat_map(|d| {
        let longest = EPOCH / 5 * 4 - d;
        // Each visit is at another server, as late as the server may be. The limits themselves occur often. A visit
        // depends only on the one before it, so that more of them would only take longer.
        let gap = prop_oneof![0..=longest, Just(longest), (0..=longest / 10)];
        let ahead = prop_oneof![0..=d, Just(0), Just(d)];
        (proptest::collection::vec((gap, ahead), 2..40), 0..EPOCH)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn skew_of_a_tenth_misses_nothing_within_seven_tenths(
        (visits, start) in fleet(EPOCH / 10..=EPOCH / 10),
    ) {
        prop_assert_eq!(misses(&visits, start), 0);
    }

    #[test]
    fn skew_up_to_a_fifth_misses_nothing_within_the_documented_time(
        (visits, start) in fleet(0..=EPOCH / 5),
    ) {
        prop_assert_eq!(misses(&visits, start), 0);
    }

    #[test]
    fn cookie_is_accepted_for_0_8_to_1_8_epochs(
        granted in 0..EPOCH,
        age in 0..3 * EPOCH,
    ) {
        let cookie = slots(START + granted).primary;
        let (_, accepted) = connect(cookie, START + granted + age);
        prop_assert!(accepted || age > EPOCH / 5 * 4, "{} is young", age);
        prop_assert!(!accepted || age < EPOCH / 5 * 9, "{} is old", age);
    }

    #[test]
    fn any_secret_is_read_or_refused(text in "\\PC{0,140}", hex in "[0-9a-fA-F]{0,140}") {
        let _ = Secret::from_hex(&text);
        let length = hex.len();
        let valid = (32..=128).contains(&length) && length % 2 == 0 && hex.contains(|c| c != '0');
        prop_assert_eq!(Secret::from_hex(&hex).is_ok(), valid);
    }
}

#[test]
fn documented_limits_of_the_rule_are_exact() {
    let d = EPOCH / 10;
    let longest = EPOCH / 5 * 4 - d;
    // Granted at the last moment of an epoch by a server that is behind, and used at one that is ahead.
    assert_eq!(misses(&[(0, 0), (longest, d)], EPOCH - 1), 0);
    assert_eq!(misses(&[(0, 0), (longest + 1, d)], EPOCH - 1), 1, "away for too long");
    // Granted by a server that is ahead, and used at once at one that is behind by more than a fifth.
    let fifth = EPOCH / 5;
    assert_eq!(misses(&[(0, fifth), (0, 0)], EPOCH - fifth), 0);
    assert_eq!(misses(&[(0, fifth + 1), (0, 0)], EPOCH - fifth - 1), 1, "too much skew");
}
