//! What is in the way when it starts.

use tfo_core::lab::isolated;

use crate::harness::{Lab, ask};

/// Its own listeners share their port among the workers; that must not let a second server in.
#[test]
fn a_second_server_on_the_same_port_is_refused() {
    isolated(|| {
        let lab = Lab::new();
        let config = "[engine]\nworkers = 2\n";
        let first = lab.serve(config, &["--service", "echo"]);
        let ended = lab.start(config, &["--service", "discard"]).finish();
        assert_eq!(ended.code, Some(1), "{}", ended.err);
        let error = ended.err.lines().last().unwrap();
        assert!(error.starts_with("error: can't listen on 127.0.0.1:2222: "), "{error}");
        assert!(error.contains("Address already in use"), "{error}");
        for _ in 0..20 {
            assert_eq!(ask(&mut lab.connect(), b"mine"), b"mine");
        }
        first.signal("TERM").unwrap();
        assert_eq!(first.finish().code, Some(0));
    });
}

/// All or none: of several listeners each must be there.
#[test]
fn one_port_in_use_of_several_is_named() {
    isolated(|| {
        let lab = Lab::new();
        let taken = lab.host.run(|| std::net::TcpListener::bind("127.0.0.1:2223")).unwrap();
        let config = "[[listen]]\nport = 2222\n[[listen]]\nport = 2223\n";
        let ended = lab.start(config, &[]).finish();
        assert_eq!(ended.code, Some(1), "{}", ended.err);
        let error = ended.err.lines().last().unwrap();
        assert!(error.starts_with("error: can't listen on 127.0.0.1:2223: "), "{error}");
        drop(taken);
        let server = lab.serve(config, &[]);
        server.signal("TERM").unwrap();
        assert_eq!(server.finish().code, Some(0));
    });
}
