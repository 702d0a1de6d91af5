//! How it ends under load, and begins again.

use tfo_core::lab::isolated;

use crate::harness::{Lab, SERVER, ask};
use crate::load::Load;

#[test]
fn sigterm_under_load_loses_nothing_that_was_acknowledged() {
    isolated(|| {
        for round in 0..4 {
            let lab = Lab::new();
            let config = "[engine]\nworkers = 2\n";
            let server = lab.serve(config, &["--service", "echo"]);
            let load = Load::start(&lab.host, SERVER, 8);
            load.more(300 + 37 * round);
            server.signal("TERM").unwrap();
            let ended = server.finish();
            let tally = load.stop();
            assert_eq!(ended.code, Some(0), "{}", ended.err);
            assert!(tally.lost.is_empty(), "round {round}: {tally:?}\n{}", ended.err);
            assert!(tally.turned_away > 0, "the load went on after the end: {tally:?}");
            assert!(tally.in_syn > 100, "half of them go in the SYN: {tally:?}");
            let total = format!("total: {} connections", tally.answered);
            assert!(ended.out.contains(&total), "{tally:?}, and {:?}", ended.out.lines().last());
        }
    });
}

#[test]
fn killed_it_starts_again_at_once_and_clients_find_their_cookies_good() {
    isolated(|| {
        let lab = Lab::new();
        let server = lab.serve("", &["--service", "echo"]);
        let load = Load::start(&lab.host, SERVER, 4);
        load.more(100);
        server.signal("KILL").unwrap();
        assert_eq!(server.finish().code, None, "a signal ended it");
        // Its connections are in TIME_WAIT and FIN_WAIT, on its port.
        let server = lab.serve("", &["--service", "echo"]);
        load.more(100);
        let tally = load.stop();
        assert!(tally.in_syn > 50, "the keys are the namespace's: {tally:?}");
        // Who was connected when it was killed has lost an answer: nothing can help them.
        assert!(tally.lost.len() <= 4, "no more than one of each client: {tally:?}");
        assert_eq!(ask(&mut lab.connect(), b"served"), b"served");
        server.signal("TERM").unwrap();
        assert_eq!(server.finish().code, Some(0));
    });
}
