//! One gateway after the other is stopped and started anew behind nginx, while everybody there has a selection: none is
//! lost, nobody sees anything else than before, and the others are not overrun by those who return.

mod crowd;
mod proxy;

use std::time::Duration;

use support::{Gateway, RedisServer, ReservedPort, eventually};

use crowd::Crowd;
use proxy::Nginx;

/// What a site has to bear: the gateways spread returns so that about 500 come in a second.
const RETURNS_PER_SECOND: usize = 650;

#[tokio::test]
async fn a_rolling_restart_loses_no_selection_and_shows_nobody_a_wrong_view() {
    // Longer lived than usual, for machines on which a return takes seconds.
    roll(200, 20, Duration::from_secs(60)).await;
}

#[tokio::test]
#[ignore = "takes minutes and the whole machine: 2,000 browsers"]
async fn a_rolling_restart_under_2000_browsers() {
    roll(2_000, 10, Duration::from_secs(300)).await;
}

async fn roll(browsers: usize, selection_ttl_secs: u64, patience: Duration) {
    let redis = RedisServer::start().await;
    let ports = [ReservedPort::new(), ReservedPort::new()];
    let start = async |port: &ReservedPort| {
        let gateway = Gateway::builder()
            .redis_at(&redis.url())
            .with("slots.selection_ttl_secs", selection_ttl_secs)
            .with("server.listen", port.addr())
            .start()
            .await;
        gateway.eventually_ready().await;
        gateway
    };
    let mut gateways = [start(&ports[0]).await, start(&ports[1]).await];
    let nginx = Nginx::before(ports.each_ref().map(ReservedPort::addr)).await;
    let crowd = Crowd::gather(nginx.addr(), browsers, patience).await;
    for number in 0..2 {
        let leaving = crowd.connected_to(&gateways[number]).await;
        assert!(leaving >= browsers / 4, "nginx spreads browsers over both: {leaving}");
        let before = crowd.returns();
        let stopped = gateways[number].terminate().await;
        assert_eq!(stopped.code, Some(0));
        assert!(gateways[number].log_events("drain_incomplete").is_empty(), "somebody was cut off");
        gateways[number] = start(&ports[number]).await;
        eventually("everybody is back", patience, async || {
            (crowd.returns() >= before + leaving && crowd.all_are_here()).then_some(())
        })
        .await;
        println!("{leaving} browsers left gateway {number}, which stopped after {:?}", stopped.took);
    }
    crowd.everybody_still_sees_everything();
    let most = crowd.most_returns_in_a_second();
    println!("at most {most} of {browsers} returned within one second");
    assert!(most < RETURNS_PER_SECOND.min(browsers * 4 / 5), "{most} returned within one second");
    crowd.end().await;
}
