//! The faults: how each is done, and what was away for whom while it lasted.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::servers::{Servers, Stores};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    RedisKilled,
    RedisStopped,
    BlackHole,
    Latency,
    ReadOnly,
    FlushAll,
    OnlyA,
    Divided,
    MySqlKilled,
    RedisThenMySql,
    BothKilled,
    Flapping,
    GatewayStopped,
    GatewayKilled,
}

/// All of them; the one that costs a gateway comes last.
pub(crate) const ALL: [Fault; 14] = [
    Fault::RedisKilled,
    Fault::RedisStopped,
    Fault::BlackHole,
    Fault::Latency,
    Fault::ReadOnly,
    Fault::FlushAll,
    Fault::OnlyA,
    Fault::Divided,
    Fault::MySqlKilled,
    Fault::RedisThenMySql,
    Fault::BothKilled,
    Fault::Flapping,
    Fault::GatewayStopped,
    Fault::GatewayKilled,
];

/// A time in which something is away.
pub(crate) type Span = (Instant, Instant);

/// What happened, by gateway where the gateways may see it differently.
#[derive(Clone, Debug)]
pub(crate) struct Marks {
    pub(crate) struck: Instant,
    pub(crate) healed: Instant,
    pub(crate) redis_away: [Option<Span>; 2],
    pub(crate) mysql_away: [Option<Span>; 2],
    /// The gateway itself did nothing.
    pub(crate) stopped: [Option<Span>; 2],
    /// No store was within reach of both gateways.
    pub(crate) divided: bool,
    /// Redis forgot everything.
    pub(crate) redis_emptied: bool,
}

const LATENCY: Duration = Duration::from_secs(5);
/// With both stores away; a selection's lifetime is longer, so that none may end.
const BOTH_AWAY: Duration = Duration::from_secs(3);

impl Fault {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RedisKilled => "redis-killed",
            Self::RedisStopped => "redis-stopped",
            Self::BlackHole => "black-hole",
            Self::Latency => "latency",
            Self::ReadOnly => "read-only",
            Self::FlushAll => "flushall",
            Self::OnlyA => "only-a",
            Self::Divided => "a-redis-b-mysql",
            Self::MySqlKilled => "mysql-killed",
            Self::RedisThenMySql => "redis-then-mysql",
            Self::BothKilled => "both-killed",
            Self::Flapping => "flapping",
            Self::GatewayStopped => "gateway-stopped",
            Self::GatewayKilled => "gateway-killed",
        }
    }

    /// For the table.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::RedisKilled => "Redis killed -9 and restarted empty",
            Self::RedisStopped => "Redis stopped (SIGSTOP) and continued",
            Self::BlackHole => "Redis in a black hole: packets dropped, no RST",
            Self::Latency => "5 s latency to Redis",
            Self::ReadOnly => "Redis answers PING and refuses writes",
            Self::FlushAll => "FLUSHALL",
            Self::OnlyA => "only A cut off from Redis",
            Self::Divided => "A cut off from Redis, B from MySQL",
            Self::MySqlKilled => "MySQL killed and restarted",
            Self::RedisThenMySql => "Redis killed, then MySQL; Redis back first",
            Self::BothKilled => "both killed, both back",
            Self::Flapping => "Redis up 1 s, down 1 s",
            Self::GatewayStopped => "gateway A stopped for 15 s and continued",
            Self::GatewayKilled => "gateway A killed -9",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        ALL.into_iter().find(|fault| fault.name() == name)
    }

    /// Whether it can be done with these stores.
    pub(crate) fn suits(self, stores: Stores) -> bool {
        let of_mysql = [Self::Divided, Self::MySqlKilled, Self::RedisThenMySql, Self::BothKilled];
        stores == Stores::Both || !of_mysql.contains(&self)
    }

    /// Strikes, waits and heals; short forms last as long as they must to be noticed.
    pub(crate) async fn play(self, servers: &mut Servers, short: bool) -> Marks {
        let lasts =
            |long: u64, shortened: u64| sleep(Duration::from_secs(if short { shortened } else { long }));
        let mut marks = Marks::struck_now();
        let struck = marks.struck;
        let since = |start: Instant| Some((start, Instant::now()));
        match self {
            Self::RedisKilled => {
                servers.redis.kill().await;
                lasts(8, 4).await;
                servers.redis.restart_empty().await;
                marks.redis_emptied = true;
                marks.redis_away = [since(struck); 2];
            }
            Self::RedisStopped => {
                servers.redis.pause();
                lasts(20, 5).await;
                servers.redis.resume();
                marks.redis_away = [since(struck); 2];
            }
            Self::BlackHole => {
                servers.to_redis.iter().for_each(support::FaultProxy::black_hole);
                lasts(10, 5).await;
                // The old connections stay half-open: nobody ever resets them.
                servers.to_redis.iter().for_each(support::FaultProxy::heal);
                marks.redis_away = [since(struck); 2];
            }
            Self::Latency => {
                servers.to_redis.iter().for_each(|line| line.delay(LATENCY));
                lasts(10, 6).await;
                servers.to_redis.iter().for_each(support::FaultProxy::heal);
                marks.redis_away = [since(struck); 2];
            }
            Self::ReadOnly => {
                servers.redis.run::<()>(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
                lasts(10, 5).await;
                servers.redis.run::<()>(&["CONFIG", "SET", "min-replicas-to-write", "0"]).await;
                marks.redis_away = [since(struck); 2];
            }
            Self::FlushAll => {
                servers.redis.run::<()>(&["FLUSHALL"]).await;
                sleep(Duration::from_secs(1)).await;
                marks.redis_emptied = true;
                marks.healed = struck;
                return marks;
            }
            Self::OnlyA => {
                servers.to_redis[0].refuse().await;
                lasts(10, 5).await;
                servers.to_redis[0].heal();
                marks.redis_away[0] = since(struck);
            }
            Self::Divided => {
                let to_mysql = servers.to_mysql.as_ref().expect("this fault is for runs with MySQL");
                servers.to_redis[0].refuse().await;
                to_mysql[1].refuse().await;
                lasts(12, 6).await;
                servers.to_redis[0].heal();
                to_mysql[1].heal();
                marks.divided = true;
                (marks.redis_away[0], marks.mysql_away[1]) = (since(struck), since(struck));
            }
            Self::MySqlKilled => {
                servers.mysql().kill().await;
                lasts(8, 4).await;
                servers.mysql().restart().await;
                marks.mysql_away = [since(struck); 2];
            }
            Self::RedisThenMySql => {
                servers.redis.kill().await;
                lasts(4, 3).await;
                let second = Instant::now();
                servers.mysql().kill().await;
                sleep(BOTH_AWAY).await;
                servers.redis.restart_empty().await;
                marks.redis_away = [since(struck); 2];
                lasts(6, 4).await;
                servers.mysql().restart().await;
                marks.mysql_away = [since(second); 2];
                marks.redis_emptied = true;
            }
            Self::BothKilled => {
                servers.redis.kill().await;
                servers.mysql().kill().await;
                sleep(BOTH_AWAY).await;
                let Servers { redis, maria, .. } = &mut *servers;
                let maria = maria.as_mut().expect("this fault is for runs with MySQL");
                let back = async {
                    redis.restart_empty().await;
                    Instant::now()
                };
                let (redis_back, ()) = tokio::join!(back, maria.restart());
                marks.redis_away = [Some((struck, redis_back)); 2];
                marks.mysql_away = [since(struck); 2];
                marks.redis_emptied = true;
            }
            Self::Flapping => {
                for _ in 0..if short { 4 } else { 30 } {
                    servers.redis.kill().await;
                    sleep(Duration::from_secs(1)).await;
                    servers.redis.restart_empty().await;
                    marks.redis_away = [since(struck); 2];
                    sleep(Duration::from_secs(1)).await;
                }
                marks.redis_emptied = true;
            }
            Self::GatewayStopped => {
                servers.gateways[0].pause();
                lasts(15, 6).await;
                servers.gateways[0].resume();
                marks.stopped[0] = since(struck);
            }
            Self::GatewayKilled => {
                servers.dead[0] = true;
                servers.gateways[0].kill().await;
                lasts(6, 4).await;
            }
        }
        marks.healed = Instant::now();
        marks
    }
}

impl Marks {
    fn struck_now() -> Self {
        let now = Instant::now();
        Self {
            struck: now,
            healed: now,
            redis_away: [None; 2],
            mysql_away: [None; 2],
            stopped: [None; 2],
            divided: false,
            redis_emptied: false,
        }
    }
}
