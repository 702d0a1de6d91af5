//! Runs tests in their own namespaces, as root and as an ordinary user.

use std::env;
use std::process::Command;

use super::{Host, explain_denied};
use crate::sys::{self, namespace};

/// Set in the process that runs the body of one test.
const INSIDE: &str = "TFO_LAB_INSIDE";
/// If this is 1, a missing capability fails a test instead of skipping it.
const REQUIRED: &str = "TFO_LAB_REQUIRED";

/// Runs `body`, a closure of a test function, in its own process, where [`Host`]s can be created.
///
/// ```no_run
/// # use tfo_core::lab::{Host, isolated};
/// #[test]
/// fn two_hosts_can_be_made() {
///     isolated(|| {
///         Host::new("one").unwrap();
///         Host::new("other").unwrap();
///     });
/// }
/// ```
///
/// A process with threads, such as a test binary, cannot enter a user namespace. The binary therefore starts itself
/// again for this one test: in a user namespace if it is not root. Where namespaces are forbidden the test is
/// [skipped](skip), loudly.
///
/// # Panics
/// If the test fails, or if this is called from elsewhere than a test function.
pub fn isolated<F: FnOnce()>(body: F) {
    if env::var_os(INSIDE).is_some() {
        match Host::new("check") {
            Ok(_) => body(),
            Err(e) => skip(&format!("{e}: {}", explain_denied())),
        }
        return;
    }
    // The type name is `binary::module::test::{{closure}}`.
    let full = std::any::type_name::<F>();
    let path = full.trim_end_matches("::{{closure}}");
    let path = path.split_once("::").map_or(path, |(_, path)| path);
    let binary = env::current_exe().unwrap_or_else(|e| panic!("this binary's path: {e}"));
    let mut command = Command::new(binary);
    command.args([path, "--exact", "--nocapture", "--test-threads=1"]).env(INSIDE, "1");
    // Cargo's library path, colours and the like are inherited.
    if sys::process::effective_ids().0 != 0 {
        namespace::start_in_user_namespace(&mut command);
    }
    namespace::end_with_this_thread(&mut command);
    match command.output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{path} failed in its namespace:\n{text}");
            assert!(text.contains("1 passed"), "{path} names no test of this binary:\n{text}");
            report(&text);
        }
        Err(e) => skip(&format!("a user namespace can't be made ({e}): {}", explain_denied())),
    }
}

/// Reports that the running test is skipped, and why. Fails the test if `TFO_LAB_REQUIRED=1`.
///
/// # Panics
/// If `TFO_LAB_REQUIRED=1`.
pub fn skip(why: &str) {
    assert!(env::var_os(REQUIRED).is_none_or(|value| value != "1"), "{REQUIRED}=1, and {why}");
    report(&format!("SKIPPED: {why}\n"));
}

/// Returns whether a program that a test needs is installed. If not, reports the test as [skipped](skip).
#[must_use]
pub fn require(program: &str) -> bool {
    let found = env::var_os("PATH").is_some_and(|path| {
        env::split_paths(&path)
            .chain(["/usr/sbin".into(), "/sbin".into()])
            .any(|folder| folder.join(program).is_file())
    });
    if !found {
        skip(&format!("{program} is not installed"));
    }
    found
}

/// Writes past the output capture of the test runner: a skip must be visible although the test passes, and so must
/// a figure that a test prints after `MEASURED`.
fn report(text: &str) {
    use std::io::Write;
    let mut stderr = std::io::stderr().lock();
    let told = |line: &&str| line.starts_with("SKIPPED") || line.starts_with("MEASURED");
    for line in text.lines().filter(told) {
        let _ = writeln!(stderr, "{line}");
    }
}
