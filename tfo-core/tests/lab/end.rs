//! What remains of a network when its process ends, in whatever way.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tfo_core::lab::{Network, PathSettings, isolated};

/// Set in the process that is killed.
const HOLD: &str = "TFO_LAB_HOLD";

/// A network namespace lives as long as a process, a file descriptor or a mount refers to it, and takes its
/// interfaces with it. When nothing refers to it, nothing remains.
#[test]
fn nothing_is_left_when_the_process_is_killed() {
    isolated(|| {
        if env::var_os(HOLD).is_some() {
            return hold();
        }
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["end::nothing_is_left_when_the_process_is_killed", "--exact", "--nocapture"])
            .env(HOLD, "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut lines = output.lines().map(Result::unwrap);
        // The test runner may have begun this line.
        let line = lines
            .find_map(|line| line.split_once("HELD ").map(|(_, rest)| rest.to_owned()))
            .expect("the child prints what it holds");
        let (namespaces, sleeper) = line.split_once(';').unwrap();
        let namespaces: BTreeSet<String> = namespaces.split(' ').map(str::to_owned).collect();
        assert_eq!(namespaces.len(), 3, "two servers and a client, each on its own: {line}");
        assert!(!holders(&namespaces).is_empty(), "the search finds them while they are held");

        child.kill().unwrap();
        child.wait().unwrap();
        let end = Instant::now() + Duration::from_secs(10);
        let sleeper = PathBuf::from(format!("/proc/{sleeper}/ns/net"));
        loop {
            let left = holders(&namespaces);
            // The namespace of a process that has ended cannot be read, even before it is waited for.
            let sleeps = fs::read_link(&sleeper).is_ok();
            if left.is_empty() && !sleeps {
                return;
            }
            assert!(Instant::now() < end, "left: {left:?}; the program on a host runs: {sleeps}");
            thread::sleep(Duration::from_millis(10));
        }
    });
}

/// Creates a network with a program on one of its hosts, prints both, and waits for the end.
fn hold() {
    let net = Network::with_servers(PathSettings::new(), 2).unwrap();
    let namespace = || fs::read_link("/proc/thread-self/ns/net").unwrap().display().to_string();
    let mut namespaces = vec![net.client().run(namespace)];
    namespaces.extend(net.servers().iter().map(|server| server.run(namespace)));
    let mut sleep = Command::new("sleep");
    sleep.arg("1000");
    let mut sleeper = net.server().spawn(sleep).unwrap();
    println!("HELD {};{}", namespaces.join(" "), sleeper.id());
    sleeper.wait().unwrap();
}

/// Returns the threads, file descriptors and mounts that refer to one of these namespaces, as far as this process
/// may see them.
fn holders(namespaces: &BTreeSet<String>) -> Vec<PathBuf> {
    let entries = |path: PathBuf| {
        fs::read_dir(path).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path())
    };
    let mut found = Vec::new();
    for process in entries("/proc".into()) {
        let threads = entries(process.join("task")).map(|thread| thread.join("ns/net"));
        let links = threads.chain(entries(process.join("fd")));
        found.extend(links.filter(|link| {
            fs::read_link(link)
                .is_ok_and(|target| namespaces.contains(&target.display().to_string()))
        }));
        let mounts = fs::read_to_string(process.join("mountinfo")).unwrap_or_default();
        if namespaces.iter().any(|namespace| mounts.contains(namespace.as_str())) {
            found.push(process.join("mountinfo"));
        }
    }
    found
}

#[test]
fn a_network_can_be_made_again_and_again() {
    isolated(|| {
        let count = || fs::read_dir("/proc/self/fd").unwrap().count();
        drop(Network::new(PathSettings::new()).unwrap());
        let before = count();
        for _ in 0..5 {
            drop(Network::new(PathSettings::new()).unwrap());
        }
        assert_eq!(count(), before, "a network that is dropped leaves no descriptor");
        let threads = fs::read_dir("/proc/self/task").unwrap().count();
        assert!(threads <= 3, "nor a thread: {threads}");
    });
}
