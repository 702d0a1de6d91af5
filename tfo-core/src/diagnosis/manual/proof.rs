//! What the table of rules says of a cause, for its page.

use crate::diagnosis::Cause;
use crate::diagnosis::rules::{BROADER, RULES, Rule, Sign, Symptom};

/// The requirements of the rules for a cause that explains one symptom.
///
/// A cause is stated once each other cause of the symptom is excluded. The opposite of a fact that is required
/// excludes the cause itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Proof {
    /// How the connection looked.
    pub symptom: Symptom,
    /// The facts that always go with the cause.
    pub always: Vec<Fact>,
    /// The facts of each way in which it happens, where there are several.
    pub ways: Vec<Vec<Fact>>,
    /// The causes that no single fact excludes, but all of them together.
    pub together: Vec<Cause>,
    /// The causes that the facts leave: they stay candidates beside it.
    pub leaves: Vec<Rival>,
}

/// A cause that has the same signs as another, as far as the facts that the other requires tell.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rival {
    /// The cause.
    pub cause: Cause,
    /// The signs each of which excludes it, with whether the sign has to be there. Empty if none differs.
    pub excluded_by: Vec<(Sign, bool)>,
}

/// A fact that a cause requires.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fact {
    /// The sign.
    pub sign: Sign,
    /// Whether it has to be there.
    pub there: bool,
    /// The causes that it excludes by itself, without those of the facts before it.
    pub excludes: Vec<Cause>,
}

impl Fact {
    /// Returns the fact in words.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        self.sign.in_words(self.there)
    }
}

/// The causes that are left for a broader word to stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Broader {
    /// How the connection looked.
    pub symptom: Symptom,
    /// The causes of which several remain.
    pub causes: Vec<Cause>,
}

/// Returns what the rules require of this cause, by symptom. Empty for a cause that needs no rule.
pub(super) fn proofs(cause: Cause) -> Vec<Proof> {
    let proofs = Symptom::ALL.iter().map(|symptom| proof(*symptom, cause));
    proofs.flatten().collect()
}

/// Returns what a broader word stands for; empty for any other.
pub(super) fn broader(cause: Cause) -> Vec<Broader> {
    let words = BROADER.iter().filter(|word| word.cause == cause);
    words
        .map(|word| Broader {
            symptom: word.symptom,
            causes: causes(word.symptom)
                .into_iter()
                .filter(|other| {
                    rules_of(word.symptom, *other).any(|rule| !contradicts(rule, word.requires))
                })
                .collect(),
        })
        .collect()
}

fn proof(symptom: Symptom, cause: Cause) -> Option<Proof> {
    let rules: Vec<&Rule> = rules_of(symptom, cause).collect();
    let (first, others) = rules.split_first()?;
    let common = |fact: &&(Sign, bool)| others.iter().all(|rule| rule.requires.contains(fact));
    let always: Vec<(Sign, bool)> = first.requires.iter().filter(common).copied().collect();
    let mut rivals: Vec<Cause> =
        causes(symptom).into_iter().filter(|other| *other != cause).collect();
    let excluded_by = |facts: &[(Sign, bool)], rival: Cause| {
        rules_of(symptom, rival).all(|rule| contradicts(rule, facts))
    };
    let mut fact = |(sign, there): (Sign, bool)| {
        let excludes = |rival: &mut Cause| excluded_by(&[(sign, there)], *rival);
        Fact { sign, there, excludes: rivals.extract_if(.., excludes).collect() }
    };
    let stated = always.iter().copied().map(&mut fact).collect();
    let mut ways = Vec::new();
    if !others.is_empty() {
        for rule in &rules {
            let own = rule.requires.iter().filter(|fact| !always.contains(fact)).copied();
            ways.push(
                own.map(|(sign, there)| Fact { sign, there, excludes: Vec::new() }).collect(),
            );
        }
    }
    let (together, left): (Vec<Cause>, Vec<Cause>) = rivals
        .into_iter()
        .partition(|rival| rules.iter().all(|rule| excluded_by(rule.requires, *rival)));
    let leaves = left.into_iter().map(|cause| rival(symptom, cause, &always)).collect();
    Some(Proof { symptom, always: stated, ways, together, leaves })
}

/// A cause that these facts do not exclude, with those that would.
fn rival(symptom: Symptom, cause: Cause, known: &[(Sign, bool)]) -> Rival {
    let rules: Vec<&Rule> =
        rules_of(symptom, cause).filter(|rule| !contradicts(rule, known)).collect();
    let excluded_by = rules.first().map_or(&[][..], |rule| rule.requires).iter();
    let in_each = |fact: &&(Sign, bool)| rules.iter().all(|rule| rule.requires.contains(fact));
    let open = |fact: &&(Sign, bool)| !known.contains(fact);
    let excluded_by = excluded_by.filter(in_each).filter(open).map(|(sign, there)| (*sign, !there));
    Rival { cause, excluded_by: excluded_by.collect() }
}

fn rules_of(symptom: Symptom, cause: Cause) -> impl Iterator<Item = &'static Rule> {
    RULES.iter().filter(move |rule| rule.symptom == symptom && rule.cause == cause)
}

/// The causes of a symptom, in the order of the table.
fn causes(symptom: Symptom) -> Vec<Cause> {
    let mut causes: Vec<Cause> = Vec::new();
    for rule in RULES.iter().filter(|rule| rule.symptom == symptom) {
        if !causes.contains(&rule.cause) {
            causes.push(rule.cause);
        }
    }
    causes
}

/// Whether one of these facts is the opposite of what the rule requires.
fn contradicts(rule: &Rule, facts: &[(Sign, bool)]) -> bool {
    rule.requires.iter().any(|(sign, there)| facts.contains(&(*sign, !there)))
}
