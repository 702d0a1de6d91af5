//! Checks the figures against the configured path.

use serde_json::{Value, json};
use tfo_core::lab::isolated;

use super::{alone, among_others, document, number, only, retried};

/// Checks that a time is nearest to this number of round trips. Anything more exact would measure the machine.
fn check_round_trips(name: &str, us: f64, round_trips: f64, rtt_ms: f64) -> Result<(), String> {
    let found = us / 1e3 / rtt_ms;
    let off = (found - round_trips).abs();
    if off < 0.5 { Ok(()) } else { Err(format!("{name}: {found:.3} RTT, not {round_trips}")) }
}

fn check_saved_round_trip(rtt_ms: f64, more: &str) {
    let measure = || document(&format!("--lab --rtt {rtt_ms}ms -n 12 {more}"));
    retried(measure, |document| {
        let found = only(document);
        assert_eq!(found["hit_rate"]["count"], 12, "not all attempts used fast open: {found}");
        let fast_open: Vec<&Value> = found["samples"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|sample| sample["side"] == "fast-open")
            .collect();
        assert!(fast_open.iter().all(|sample| sample["verdict"] == "fast-open"), "{fast_open:?}");
        let times = &found["times"][0];
        assert_eq!(times["metric"], "first-byte");
        check_round_trips("TCP's RTT", number(found, "/rtt_us"), 1.0, rtt_ms)?;
        let rtt_ms = number(found, "/rtt_us") / 1e3;
        check_round_trips("regular", number(times, "/regular/median/us"), 2.0, rtt_ms)?;
        check_round_trips("fast open", number(times, "/fast_open/median/us"), 1.0, rtt_ms)?;
        check_round_trips("saved", number(times, "/saved/us"), 1.0, rtt_ms)?;
        if found["answer"] == "on" { Ok(()) } else { Err(found["finding"].to_string()) }
    });
}

#[test]
fn fast_open_saves_a_round_trip_of_20_ms() {
    let _alone = alone();
    isolated(|| check_saved_round_trip(20.0, ""));
}

#[test]
fn fast_open_saves_a_round_trip_of_50_ms_over_ipv6() {
    let _alone = alone();
    isolated(|| check_saved_round_trip(50.0, "-6"));
}

/// Beside any other test: their load is much less than half of this round trip.
#[test]
fn fast_open_saves_a_round_trip_of_100_ms() {
    isolated(|| check_saved_round_trip(100.0, ""));
}

/// Beside any other test: it waits for the kernel's timeouts, and the round trip is much longer than what load adds.
#[test]
fn box_that_drops_syn_data_means_off_with_its_cost() {
    isolated(|| {
        let measure = || document("--lab --rtt 100ms --box drop-syn-data -n 10");
        retried(measure, |document| {
            let found = only(document);
            assert_eq!(found["hit_rate"]["count"], 0);
            let miss = &found["misses"][0];
            assert_eq!((&miss["what"], &miss["count"]), (&"syn-retransmitted".into(), &10.into()));
            // The regular connections must be alike: on a busy machine the program says that they were not.
            if found["answer"] != "off" {
                return Err(found["finding"].to_string());
            }
            // The kernel's timeout for a SYN is slightly more than a second.
            assert!((900_000.0..2_000_000.0).contains(&number(miss, "/cost_us")), "{miss}");
            assert!(number(found, "/net/us") < -900_000.0, "{found}");
            assert!(number(found, "/net/high_us") < 0.0, "{found}");
            assert!(found["finding"].as_str().unwrap().starts_with("Leave it off."), "{found}");
            Ok(())
        });
    });
}

#[test]
fn box_that_resets_syn_data_means_off() {
    let _others = among_others();
    isolated(|| {
        let measure = || document("--lab --rtt 20ms --box reset-syn-data -n 10");
        retried(measure, |document| {
            let found = only(document);
            assert_eq!(found["misses"][0]["what"], "reset-on-syn-data", "{found}");
            // A program has to connect again.
            let is_off = found["answer"] == "off";
            if is_off { Ok(()) } else { Err(found["finding"].to_string()) }
        });
    });
}

#[test]
fn intervals_of_two_runs_overlap() {
    let _alone = alone();
    isolated(|| {
        let interval = |document: &Value, pointer: &str| {
            let found = &only(document)["times"][0];
            ["low_us", "high_us"].map(|end| number(found, &format!("{pointer}/{end}")))
        };
        let run = || document("--lab --rtt 20ms -n 20");
        retried(
            || json!([run(), run()]),
            |both| {
                for pointer in ["/regular/median", "/fast_open/median", "/saved"] {
                    let [one, other] = [&both[0], &both[1]].map(|run| interval(run, pointer));
                    if one[0] > other[1] || other[0] > one[1] {
                        return Err(format!("{pointer}: {one:?} and {other:?} do not overlap"));
                    }
                }
                Ok(())
            },
        );
    });
}

#[test]
fn mode_off_finds_no_difference() {
    let _alone = alone();
    isolated(|| {
        retried(
            || document("--lab --rtt 20ms --mode off -n 15"),
            |document| {
                let found = only(document);
                let samples = found["samples"].as_array().unwrap();
                let regular = samples.iter().all(|sample| sample["verdict"] == "not-attempted");
                assert!(regular, "a SYN had the option: {samples:?}");
                match found["answer"].as_str() {
                    Some("no-difference") => Ok(()),
                    _ => Err(found["finding"].to_string()),
                }
            },
        );
    });
}

#[test]
fn inconclusive_runs_report_their_reason() {
    let _others = among_others();
    isolated(|| {
        for (arguments, doubt) in [
            ("--lab --rtt 0ms -n 10", "rtt-too-small"),
            ("--lab --rtt 5ms -n 9", "too-few-samples"),
            // Each of four servers accepts only its own cookies.
            ("--lab --rtt 20ms --servers 4 -n 12", "hit-rate-too-low"),
        ] {
            let document = document(arguments);
            let found = only(&document);
            if doubt == "hit-rate-too-low" && found["hit_rate"]["count"] == 0 {
                // By chance no connection reached the server of its cookie: that has a plain answer.
                assert_eq!(found["misses"][0]["what"], "key-mismatch", "{found}");
                continue;
            }
            assert_eq!(found["answer"], "unknown", "{arguments}: {}", found["finding"]);
            assert_eq!(found["doubt"], doubt, "{arguments}: {}", found["finding"]);
        }
    });
}

#[test]
fn pairs_are_in_random_order_and_exclude_the_warm_up() {
    let _others = among_others();
    isolated(|| {
        let document = document("--lab --rtt 2ms -n 60");
        let samples = only(&document)["samples"].as_array().unwrap();
        assert_eq!(samples.len(), 120);
        let mut fast_first = 0;
        for (pair, number) in samples.chunks(2).zip(1..) {
            assert_ne!(pair[0]["side"], pair[1]["side"], "one connection of each side");
            assert_eq!((&pair[0]["pair"], &pair[1]["pair"]), (&number.into(), &number.into()));
            assert_eq!((&pair[0]["first"], &pair[1]["first"]), (&true.into(), &false.into()));
            fast_first += usize::from(pair[0]["side"] == "fast-open");
            for sample in pair {
                assert_ne!(sample["verdict"], "cookie-granted", "the warm-up fetched the cookie");
            }
        }
        // By chance, fewer than 10 or more than 50 of 60 occur once in fifteen million runs.
        assert!((10..=50).contains(&fast_first), "{fast_first} of 60 began with fast open");
    });
}

#[test]
fn until_ci_measures_until_the_interval_is_narrow() {
    let _others = among_others();
    isolated(|| {
        let wide = document("--lab --rtt 20ms --until-ci 20%");
        let found = only(&wide);
        let pairs = number(found, "/hit_rate/total");
        assert!((10.0..200.0).contains(&pairs), "{pairs}: expected far fewer than the maximum");
        let regular = &found["times"][0]["regular"]["median"];
        let reach = (number(regular, "/high_us") - number(regular, "/us")) / number(regular, "/us");
        assert!(reach <= 0.2, "{regular}");
        let narrow = document("--lab --rtt 5ms --jitter 5ms --until-ci 0.1% -n 20");
        assert_eq!(only(&narrow)["hit_rate"]["total"], 20, "at most --pairs");
    });
}
