//! Several connections of one run: what their sequence says beyond the last of them.

use super::judge::no_evidence;
use super::{Cause, Outcome, Saved, Verdict};
use crate::prose::all;

/// What several connections to one server, made one after another, amount to.
///
/// Outcome, cause, blame and candidates are those of the last connection, on which the probe's exit
/// status rests; finding and advice take the sequence into account.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Summary {
    /// How many connections there were.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub total: usize,
    /// How many of them had the data of their SYN accepted.
    pub fast_open: usize,
    /// The verdict on the whole; in JSON its fields are beside the two numbers.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub verdict: Verdict,
}

/// Sums up the verdicts on connections that were made one after another.
///
/// Of a single verdict, the summary is that verdict; of none, the verdict on no evidence.
///
/// ```no_run
/// use tfo_core::diagnosis::{Evidence, judge, summarize};
/// use tfo_core::probe::Probe;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let probe = Probe::new("192.0.2.1:2222".parse()?);
/// let verdicts: Vec<_> = (0..3)
///     .map(|_| judge(&Evidence::new(Some(probe.run(b"hello\n").evidence), None)))
///     .collect();
/// println!("{}", summarize(&verdicts).verdict);
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn summarize(verdicts: &[Verdict]) -> Summary {
    let total = verdicts.len();
    let fast_open = count(verdicts, Outcome::FastOpen);
    let Some((last, earlier)) = verdicts.split_last() else {
        return Summary { total, fast_open, verdict: no_evidence() };
    };
    let mut verdict = last.clone();
    if !earlier.is_empty() {
        let (finding, advice) = match last.outcome {
            Outcome::FastOpen => saving(verdicts, works(verdicts, earlier)),
            _ if same_throughout(verdicts) => constant(last, total),
            _ => mixed(verdicts, last, fast_open),
        };
        verdict.finding = finding;
        verdict.advice = advice;
    }
    Summary { total, fast_open, verdict }
}

/// The last connection used fast open.
fn works(verdicts: &[Verdict], earlier: &[Verdict]) -> (String, String) {
    let total = verdicts.len();
    let good = count(verdicts, Outcome::FastOpen);
    // What the server's host acknowledged may never reach its service.
    let mut accepted = verdicts.iter().filter(|verdict| verdict.outcome == Outcome::FastOpen);
    let unproven = accepted.all(|verdict| verdict.unanswered);
    let claim = |how: &str, who: &str, more: &str| {
        if unproven {
            format!(
                "The SYN-ACK acknowledged the data of {who}{more}; without an answer nothing shows whether the \
                 service got it."
            )
        } else {
            format!("Fast open works{how}: {who} used it{more}.")
        }
    };
    if good == total {
        return (claim("", &all(total, "connections"), ""), NOTHING.to_owned());
    }
    let who = format!("{good} of {total} connections");
    let granted = count(verdicts, Outcome::CookieGranted);
    if granted == 1 && good + 1 == total && earlier[0].outcome == Outcome::CookieGranted {
        return (claim("", &who, ", the first one fetched the cookie"), NOTHING.to_owned());
    }
    let others = tally(earlier.iter().filter(|verdict| verdict.outcome != Outcome::FastOpen));
    let more = format!("; the others: {others}{}", miss_rate(verdicts));
    let finding = claim(", but not every time", &who, &more);
    let miss = earlier
        .iter()
        .rev()
        .find(|verdict| !matches!(verdict.outcome, Outcome::FastOpen | Outcome::CookieGranted));
    let advice = miss.map_or_else(
        || {
            "A cookie was lost in between: each local address has its own, and the cache is small; \
            use few local addresses."
                .to_owned()
        },
        sporadic,
    );
    (finding, advice)
}

/// Adds that accepted data saved nothing, where that was so.
fn saving(verdicts: &[Verdict], (finding, advice): (String, String)) -> (String, String) {
    let with = |saved| verdicts.iter().filter(move |verdict| verdict.saved == Some(saved));
    let (good, late) = (with(Saved::RoundTrip).count(), with(Saved::Nothing).count());
    let Some(example) = with(Saved::Nothing).next_back() else { return (finding, advice) };
    let number = match (good, late) {
        (0, 1) => "It saved no round trip".to_owned(),
        (0, _) => "None of them saved a round trip".to_owned(),
        (_, _) => format!("{late} of these {} saved no round trip", good + late),
    };
    let advice = if advice == NOTHING { example.advice.clone() } else { advice };
    (format!("{finding} {number}; the last of them: {}", example.finding), advice)
}

/// What a miss means that does not happen each time.
fn sporadic(miss: &Verdict) -> String {
    match miss.cause {
        Some(Cause::DataNotAcked | Cause::QueueFull) => format!(
            "What fails only now and then may be a full fast open queue, or a balancer whose servers are not all \
             set up for fast open. {}",
            miss.advice
        ),
        Some(Cause::CookieRejected | Cause::KeyMismatch | Cause::AddressTranslated) => {
            "A single miss is a key that was changed, which the old key kept as backup avoids; repeated \
             misses are servers with different keys behind one address, or a translated address that \
             changes."
                .to_owned()
        }
        Some(Cause::SynRetransmitted) => {
            "A SYN that is lost once in a while is ordinary loss, or a server that was short of room for a \
             moment: nothing to do for fast open."
                .to_owned()
        }
        Some(Cause::NoCookieReturned | Cause::OptionStripped) => {
            "A box that strips only option 34 is bypassed by the second request, which uses the \
             experimental option 254: let it pass option 34."
                .to_owned()
        }
        _ => miss.advice.clone(),
    }
}

/// Every connection ended the same way, none with fast open.
fn constant(last: &Verdict, total: usize) -> (String, String) {
    let all = if total == 2 { "Both".to_owned() } else { format!("All {total}") };
    let finding = format!("{all} connections ended alike ({}): {}", name(last), last.finding);
    let advice = match (last.outcome, last.cause) {
        (Outcome::CookieGranted, _) => {
            "Cookies are granted and not kept: each connection found none cached. Look at the cache, \
             `tfo-client cookies`; it is keyed by both addresses, so a source address that changes \
             starts anew each time."
                .to_owned()
        }
        (_, Some(Cause::NoCookieReturned)) if total >= 3 => format!(
            "Both kinds of the option, 34 and 254, were tried in vain. {}",
            last.advice
        ),
        (_, Some(Cause::NoCookieReturned)) => format!(
            "Ask at least 3 times, the second request uses option kind 254. {}",
            last.advice
        ),
        (_, Some(Cause::CookieRejected | Cause::KeyMismatch)) => {
            "A cookie that is refused every time means servers behind one address, or two listeners of \
             one host, with different keys, or an address that is translated to another each time: \
             give all of them the same key, and compare them: `sudo tfo-server keys show --sysctl` on each \
             server."
                .to_owned()
        }
        (_, Some(Cause::DataNotAcked)) if last.candidates.contains(&Cause::QueueFull) => {
            format!("A short queue under load misses most connections too. {}", last.advice)
        }
        _ => last.advice.clone(),
    };
    (finding, advice)
}

/// The last connection did not use fast open, and others ended in another way.
fn mixed(verdicts: &[Verdict], last: &Verdict, fast_open: usize) -> (String, String) {
    let finding = format!(
        "{fast_open} of {} connections used fast open ({}{}), and of the last: {}",
        verdicts.len(),
        tally(verdicts.iter()),
        miss_rate(verdicts),
        last.finding
    );
    let advice = if fast_open > 0 { sporadic(last) } else { last.advice.clone() };
    (finding, advice)
}

/// Of the connections that were to use fast open, those that did not, with the range that so few connections leave
/// (Wilson's interval, 95 %). Empty where none did, or all.
fn miss_rate(verdicts: &[Verdict]) -> String {
    let hits = count(verdicts, Outcome::FastOpen);
    let misses = count(verdicts, Outcome::Fallback) + count(verdicts, Outcome::Failed);
    if hits == 0 || misses == 0 {
        return String::new();
    }
    let total = hits + misses;
    #[expect(
        clippy::cast_precision_loss,
        reason = "nobody makes 2^52 connections one after another"
    )]
    let (share, n) = (misses as f64 / total as f64, total as f64);
    let z = 1.96_f64;
    let centre = share + z * z / (2.0 * n);
    let spread = z * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    let percent = |edge: f64| edge / (1.0 + z * z / n) * 100.0;
    format!(
        "; {misses} of {total} attempts missed, which leaves a rate of {:.0} to {:.0} %",
        percent(centre - spread),
        percent(centre + spread)
    )
}

const NOTHING: &str = "Nothing to do.";

fn count(verdicts: &[Verdict], outcome: Outcome) -> usize {
    verdicts.iter().filter(|verdict| verdict.outcome == outcome).count()
}

fn same_throughout(verdicts: &[Verdict]) -> bool {
    verdicts.windows(2).all(|pair| {
        (pair[0].outcome, pair[0].cause, &pair[0].candidates)
            == (pair[1].outcome, pair[1].cause, &pair[1].candidates)
    })
}

/// The sharpest word for a verdict.
fn name(verdict: &Verdict) -> &'static str {
    verdict.cause.map_or(verdict.outcome.as_str(), Cause::as_str)
}

/// "2 x data-not-acked, 1 x cookie-granted", in the order in which they came first.
fn tally<'a>(verdicts: impl Iterator<Item = &'a Verdict>) -> String {
    let mut seen: Vec<(&str, usize)> = Vec::new();
    for name in verdicts.map(name) {
        match seen.iter_mut().find(|(word, _)| *word == name) {
            Some((_, times)) => *times += 1,
            None => seen.push((name, 1)),
        }
    }
    let parts: Vec<_> = seen.iter().map(|(word, times)| format!("{times} x {word}")).collect();
    parts.join(", ")
}
