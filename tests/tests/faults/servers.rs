//! The stores, the lines to them that can be broken, and the two gateways.

use std::time::Duration;

use support::{FaultProxy, Gateway, LegacyPage, MariaDb, RedisServer, eventually};
use tokio::time::timeout;

/// Which stores the gateways are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stores {
    /// Redis alone.
    Redis,
    /// Redis, and MySQL to fall back to.
    Both,
}

/// All processes of a run; they end with it.
pub(crate) struct Servers {
    pub(crate) gateways: [Gateway; 2],
    /// From gateway A and from gateway B to Redis.
    pub(crate) to_redis: [FaultProxy; 2],
    /// From gateway A and from gateway B to MySQL; unused without it.
    pub(crate) to_mysql: Option<[FaultProxy; 2]>,
    pub(crate) redis: RedisServer,
    pub(crate) maria: Option<MariaDb>,
    pub(crate) dead: [bool; 2],
}

const READY: Duration = Duration::from_secs(5);

impl Servers {
    pub(crate) async fn start(stores: Stores) -> Self {
        let redis = RedisServer::start().await;
        let to_redis = [FaultProxy::before(redis.addr()).await, FaultProxy::before(redis.addr()).await];
        let (mut maria, mut to_mysql) = (None, None);
        if stores == Stores::Both {
            let server = MariaDb::start().await;
            server.wordpress_options().await;
            server.appointments().await;
            to_mysql =
                Some([FaultProxy::before(server.addr()).await, FaultProxy::before(server.addr()).await]);
            maria = Some(server);
        }
        let builder = |gateway: usize| {
            let builder = Gateway::builder().redis_at(&format!("redis://{}", to_redis[gateway].addr()));
            match (&maria, &to_mysql) {
                (Some(maria), Some(to_mysql)) => {
                    builder.with("mysql.url", maria.url_through(to_mysql[gateway].addr()))
                }
                _ => builder,
            }
        };
        let gateways = [builder(0).start().await, builder(1).start().await];
        for gateway in &gateways {
            gateway.eventually_ready().await;
        }
        Self { gateways, to_redis, to_mysql, redis, maria, dead: [false; 2] }
    }

    pub(crate) fn mysql(&mut self) -> &mut MariaDb {
        self.maria.as_mut().expect("this fault is for runs with MySQL")
    }

    /// Living gateways that do not say they are ready within a few seconds.
    pub(crate) async fn not_ready(&self) -> Vec<usize> {
        let mut found = Vec::new();
        for number in [0, 1].into_iter().filter(|number| !self.dead[*number]) {
            let page = LegacyPage::of(&self.gateways[number]);
            let ready =
                eventually("", READY * 2, async || (page.get("/readyz").await.status == 200).then_some(()));
            if timeout(READY, ready).await.is_err() {
                found.push(number);
            }
        }
        found
    }
}
