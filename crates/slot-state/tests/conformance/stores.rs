//! Every kind of store, open and ready.

use std::time::Duration;

use support::{MariaDb, RedisServer};

use crate::house::House;

/// What an open store runs on, to be kept while it does.
pub(crate) type Servers = (Option<RedisServer>, Option<MariaDb>);

pub(crate) async fn in_memory(lock_ttl: Duration) -> (House, Servers) {
    (House::open(None, lock_ttl), (None, None))
}

pub(crate) async fn on_redis(lock_ttl: Duration) -> (House, Servers) {
    let redis = RedisServer::start().await;
    let house = House::open(Some(redis.url()), lock_ttl);
    house.ready().await;
    (house, (Some(redis), None))
}

pub(crate) async fn on_mysql(lock_ttl: Duration) -> (House, Servers) {
    let maria = MariaDb::start().await;
    on_mariadb(None, maria, lock_ttl).await
}

pub(crate) async fn on_redis_with_mysql(lock_ttl: Duration) -> (House, Servers) {
    let (redis, maria) = (RedisServer::start().await, MariaDb::start().await);
    on_mariadb(Some(redis), maria, lock_ttl).await
}

async fn on_mariadb(redis: Option<RedisServer>, maria: MariaDb, lock_ttl: Duration) -> (House, Servers) {
    maria.wordpress_options().await;
    maria.appointments().await;
    let house = House::on_mysql(redis.as_ref().map(RedisServer::url), maria.url(), lock_ttl);
    house.ready().await;
    (house, (redis, Some(maria)))
}
