use std::time::Duration;

use tfo_core::lab::{PathSettings, isolated};
use tfo_core::socket::Method;

use super::support::{network, probe};

#[test]
fn no_packet_arrives_before_its_delay_is_over() {
    isolated(|| {
        let delay = Duration::from_millis(20);
        let net = network(PathSettings::new().delays(delay, delay));
        for v6 in [false, true] {
            probe(&net, v6, Method::SendTo);
            probe(&net, v6, Method::SendTo);
        }
        let crossings = net.crossings();
        assert!(crossings.len() > 20, "four connections crossed: {crossings:?}");
        for crossing in crossings {
            if let (Some(sent), Some(arrived)) = (&crossing.sent, &crossing.arrived) {
                assert!(arrived.at >= sent.at + delay, "{crossing:?}");
            }
        }
        assert_eq!(net.missed(), 0, "the record is the whole truth");
    });
}
