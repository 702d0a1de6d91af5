use super::*;
use crate::host::features::Support;

fn ready() -> ServerFacts {
    ServerFacts {
        tcp_fastopen: FastOpenFlags::new(3),
        somaxconn: 4096,
        syncookies: 1,
        unprivileged_port_start: 1024,
        may_bind_low_ports: false,
        address_is_local: Some(true),
        occupant: None,
        min_ttl: Support::Yes,
    }
}

fn wish() -> Wish {
    Wish::new(([127, 0, 0, 1], 2222).into(), 256, 1024)
}

#[test]
fn a_ready_host_has_no_findings() {
    assert_eq!(ready().findings(wish()), []);
}

#[test]
fn each_lack_is_a_finding_with_its_fix() {
    let bits = FastOpenFlags::new(1);
    let cases: [(ServerFacts, Wish, &str); 8] = [
        (ServerFacts { tcp_fastopen: bits, ..ready() }, wish(), "net.ipv4.tcp_fastopen=3"),
        (ServerFacts { syncookies: 2, ..ready() }, wish(), "net.ipv4.tcp_syncookies=1"),
        (ServerFacts { address_is_local: Some(false), ..ready() }, wish(), "ip address"),
        (ready(), Wish { queue: 0, ..wish() }, "listen.fastopen-queue"),
        (ready(), Wish { queue: 5000, ..wish() }, "net.core.somaxconn=5000"),
        (ready(), Wish { backlog: 5000, ..wish() }, "net.core.somaxconn=5000"),
        (ready(), Wish { address: ([127, 0, 0, 1], 80).into(), ..wish() }, "setcap"),
        (ServerFacts { min_ttl: Support::Refused(1), ..ready() }, wish(), "IP_MINTTL"),
    ];
    for (facts, wish, fix) in cases {
        let findings = facts.findings(wish);
        assert_eq!(findings.len(), 1, "{fix}: {findings:?}");
        assert!(findings[0].to_string().contains(fix), "{}", findings[0]);
    }
}

mod host_as_a_whole {
    use std::collections::HashSet;
    use std::time::Duration;

    use crate::host::environment::Containment;
    use crate::host::features::{Feature, Support};
    use crate::host::readiness::{Finding, HitRates, HostFacts, Level, Part, Role};
    use crate::host::{
        CounterChange, Counters, FastOpenFlags, Listener, NamespaceKey, RuntimeEnvironment,
    };

    fn facts() -> HostFacts {
        HostFacts {
            tcp_fastopen: FastOpenFlags::new(3),
            somaxconn: 4096,
            syncookies: 1,
            key: Some(NamespaceKey::Set),
            blackhole_timeout: Some(Duration::ZERO),
            features: Vec::new(),
            routes: Some(Vec::new()),
            cookies: Some(Vec::new()),
            counters: Some(Counters::default()),
            listeners: Some(vec![listener(256)]),
            connections: Some(Vec::new()),
            unread: Vec::new(),
        }
    }

    fn listener(fast_open_queue: u32) -> Listener {
        Listener {
            address: ([0, 0, 0, 0], 80).into(),
            uid: 0,
            inode: 1,
            fast_open_queue,
            accept_queue: 0,
        }
    }

    fn counters(change: impl FnOnce(&mut Counters)) -> HostFacts {
        let mut counters = Counters::default();
        change(&mut counters);
        HostFacts { counters: Some(counters), ..facts() }
    }

    #[test]
    fn a_ready_host_is_all_ok() {
        let findings = facts().findings();
        assert!(findings.iter().all(|finding| finding.level() == Level::Ok), "{findings:?}");
        let codes: Vec<_> = findings.iter().map(Finding::code).collect();
        let expected = [
            "client-on",
            "blackhole-off",
            "server-on",
            "syncookies",
            "somaxconn",
            "key-set",
            "listeners",
        ];
        assert_eq!(codes, expected);
        assert!(
            [Role::Client, Role::Server, Role::Both].iter().all(|half| facts().is_ready(*half))
        );
    }

    #[test]
    fn each_state_is_found() {
        let bits = |bits| HostFacts { tcp_fastopen: FastOpenFlags::new(bits), ..facts() };
        let key = |key| HostFacts { key: Some(key), ..facts() };
        let timer = Duration::from_secs(60);
        let none = || HostFacts { listeners: Some(vec![listener(0)]), ..facts() };
        let lacks = |support| HostFacts { features: vec![(Feature::Connect, support)], ..facts() };
        let cases = [
            (bits(2), "client-bit-off", "the client's bit (0x1) is off"),
            (bits(1), "server-bit-off", "the server's bit (0x2) is off"),
            (bits(7), "client-without-cookies", "bit 0x4"),
            (bits(0x203), "no-cookies", "forged ones too"),
            (bits(0x403), "all-listeners", "bit 0x400"),
            (HostFacts { syncookies: 2, ..facts() }, "syncookies-always", "SYN cookies"),
            (HostFacts { somaxconn: 0, ..facts() }, "somaxconn-zero", "cut to nothing"),
            (HostFacts { somaxconn: 16, ..facts() }, "somaxconn-small", "is 16"),
            (key(NamespaceKey::Zeros), "key-is-zeros", "anybody can make valid cookies"),
            (HostFacts { key: Some(NamespaceKey::Zeros), ..none() }, "key-unset", "at random"),
            (key(NamespaceKey::SetWithBackup), "key-set", "backup"),
            (key(NamespaceKey::NotReadable), "key-not-readable", "only root"),
            (HostFacts { blackhole_timeout: Some(timer), ..facts() }, "blackhole-on", "60 s"),
            (
                HostFacts { blackhole_timeout: Some(timer), ..counters(|c| c.blackhole = 2) },
                "blackhole-paused",
                "2 times",
            ),
            (counters(|c| c.blackhole = 1), "blackhole-paused", "off by now"),
            (none(), "no-listener", "1 listener is there, without fast open"),
            (
                HostFacts { listeners: Some(Vec::new()), ..facts() },
                "no-listener",
                "nothing listens",
            ),
            (counters(|c| c.active_fail = 1), "data-not-taken", "of 0 SYNs and left that of 1"),
            (counters(|c| c.passive_fail = 3), "invalid-cookies", "3 SYNs"),
            (counters(|c| c.listen_overflow = 1), "queue-full", "1 time"),
            (counters(|c| c.cookie_reqd = 1), "cookies-never-used", "came once only"),
            (
                HostFacts {
                    tcp_fastopen: FastOpenFlags::new(1),
                    ..counters(|c| c.cookie_reqd = 4)
                },
                "cookies-never-used",
                "4 times and no connection ever used one: the server's bit is off",
            ),
            (
                HostFacts { listeners: none().listeners, ..counters(|c| c.cookie_reqd = 4) },
                "cookies-never-used",
                "no listener has a fast open queue",
            ),
            (counters(|c| c.passive_alt_key = 1), "backup-key-used", "1 time"),
            (lacks(Support::No), "feature-missing", "no TCP_FASTOPEN_CONNECT"),
            (lacks(Support::Refused(1)), "feature-missing", "errno 1"),
            (
                HostFacts { unread: vec![(Part::Routes, "no".to_owned())], ..facts() },
                "unreadable",
                "the routes can't be read: no",
            ),
        ];
        for (facts, code, text) in cases {
            let findings = facts.findings();
            let found = findings.iter().find(|finding| finding.code() == code);
            let found = found.unwrap_or_else(|| panic!("{code}: {findings:?}"));
            let document = serde_json::to_value(found).expect("it can be written").to_string();
            assert!(document.contains(&format!("\"{code}\"")), "one word everywhere: {document}");
            assert!(found.what().contains(text), "{code}: {}", found.what());
            assert!(findings.is_sorted_by_key(Finding::level), "problems first: {findings:?}");
            let problem = found.is_problem();
            let problems = findings.iter().any(Finding::is_problem);
            assert_eq!(facts.is_ready(Role::Both), !problems, "{code}: problems decide");
            let pod = RuntimeEnvironment::new(Containment::Pod, true);
            for environment in [RuntimeEnvironment::HOST, pod] {
                let fix = found.fix(&environment);
                assert!(!problem || fix.iter().any(|step| step.contains('`')), "{code}: {fix:?}");
            }
        }
    }

    #[test]
    fn a_problem_of_one_half_leaves_the_other_ready() {
        let facts = HostFacts { tcp_fastopen: FastOpenFlags::new(1), ..facts() };
        assert!(facts.is_ready(Role::Client) && !facts.is_ready(Role::Server));
    }

    #[test]
    fn a_few_failures_among_many_are_no_finding() {
        let many = counters(|c| {
            (c.active, c.active_fail) = (100, 5);
            (c.passive, c.passive_fail, c.cookie_reqd) = (100, 11, 50);
        });
        assert!(many.findings().iter().all(|finding| finding.level() == Level::Ok));
        let more = counters(|c| (c.passive, c.passive_fail) = (100, 12));
        assert!(more.findings().iter().any(|finding| finding.code() == "invalid-cookies"));
    }

    #[test]
    fn a_feature_that_the_setting_forbids_is_not_missing() {
        let off = vec![(Feature::Connect, Support::SwitchedOff), (Feature::Key, Support::Yes)];
        let facts = HostFacts { features: off, ..facts() };
        assert!(facts.findings().iter().all(|finding| finding.code() != "feature-missing"));
    }

    #[test]
    fn hit_rates_are_shares_of_what_could_have_hit() {
        let mut counts = CounterChange::default();
        assert_eq!(HitRates::of(&counts), HitRates::default(), "there was nothing");
        (counts.active, counts.active_fail) = (3, 1);
        (counts.passive, counts.passive_fail, counts.listen_overflow) = (2, 1, 1);
        let rates = HitRates::of(&counts);
        assert_eq!((rates.outgoing, rates.incoming), (Some(0.75), Some(0.5)));
    }

    #[test]
    fn each_finding_has_a_word_of_its_own() {
        let codes: HashSet<_> = Finding::CODES.iter().collect();
        assert_eq!(codes.len(), Finding::CODES.len());
    }
}
