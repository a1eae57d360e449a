//! The tests' own instruments do what they say: a Redis that comes and goes, a network that breaks.

use std::time::Duration;

use support::{FaultProxy, PATIENCE, RedisServer, Room, Towards, eventually, holder_of, view_in};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const A_WHILE: Duration = Duration::from_millis(200);

/// A server that sends back what it gets.
async fn echo_server() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await.ok();
            });
        }
    });
    addr
}

async fn says_hello_back(stream: &mut TcpStream) -> bool {
    let mut answer = [0; 5];
    stream.write_all(b"hello").await.is_ok()
        && matches!(timeout(A_WHILE, stream.read_exact(&mut answer)).await, Ok(Ok(5)))
}

#[tokio::test]
async fn a_redis_keeps_its_port_and_comes_back_with_or_without_its_data() {
    let mut redis = RedisServer::start().await;
    let url = redis.url();
    redis.run::<()>(&["SET", "kept", "1"]).await;

    redis.restart().await;
    assert_eq!(redis.run::<Option<String>>(&["GET", "kept"]).await.as_deref(), Some("1"));

    redis.kill().await;
    assert!(redis.try_run::<String>(&["PING"]).await.is_err());

    redis.restart_empty().await;
    assert_eq!(redis.run::<Option<String>>(&["GET", "kept"]).await, None);
    assert_eq!(redis.url(), url);
}

#[tokio::test]
async fn a_paused_redis_is_silent_and_goes_on_where_it_was() {
    let redis = RedisServer::start().await;
    redis.pause();
    assert!(timeout(A_WHILE, redis.try_run::<String>(&["PING"])).await.is_err());
    redis.resume();
    assert_eq!(redis.run::<String>(&["PING"]).await, "PONG");
}

#[tokio::test]
async fn php_writes_two_keys_and_leaves_one_behind() {
    let redis = RedisServer::start().await;
    let (mut php, mut connection) = (redis.php().await, redis.connection().await);
    let room = Room::tomorrow_of(7);
    php.select(&room, "10:00", "wp_1").await;
    assert_eq!(holder_of(&mut connection, &room.active_key("10:00")).await.as_deref(), Some("wp_1"));
    assert!(view_in(&mut connection, &room).await.active.contains("10:00"));

    php.delete(&room, "10:00").await;
    assert!(view_in(&mut connection, &room).await.active.is_empty());
    assert_eq!(redis.run::<String>(&["GET", &room.user_key("wp_1")]).await, "10:00");
}

#[tokio::test]
async fn a_healthy_line_passes_bytes_and_their_end() {
    let proxy = FaultProxy::before(echo_server().await).await;
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    assert!(says_hello_back(&mut stream).await);
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    eventually("the proxy forgets it", PATIENCE, async || (proxy.connections() == 0).then_some(())).await;
}

#[tokio::test]
async fn a_half_open_line_stays_silent_while_new_ones_work() {
    let proxy = FaultProxy::before(echo_server().await).await;
    let mut old = TcpStream::connect(proxy.addr()).await.unwrap();
    assert!(says_hello_back(&mut old).await);
    proxy.swallow_existing(Towards::Client);
    assert!(!says_hello_back(&mut old).await);

    let mut new = TcpStream::connect(proxy.addr()).await.unwrap();
    assert!(says_hello_back(&mut new).await);
    assert!(!says_hello_back(&mut old).await);
}

#[tokio::test]
async fn a_line_is_chosen_by_what_was_said_on_it() {
    let proxy = FaultProxy::before(echo_server().await).await;
    let mut one = TcpStream::connect(proxy.addr()).await.unwrap();
    let mut other = TcpStream::connect(proxy.addr()).await.unwrap();
    one.write_all(b"PSUBSCRIBE ").await.unwrap();
    one.read_exact(&mut [0; 11]).await.unwrap();
    assert!(says_hello_back(&mut other).await);

    assert_eq!(proxy.black_hole_those_that_said("subscribe"), 1);
    assert!(!says_hello_back(&mut one).await);
    assert!(says_hello_back(&mut other).await);
}

#[tokio::test]
async fn a_line_can_be_reset_refused_and_healed() {
    let proxy = FaultProxy::before(echo_server().await).await;
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    assert!(says_hello_back(&mut stream).await);
    proxy.refuse().await;
    assert!(timeout(PATIENCE, stream.read(&mut [0])).await.unwrap().is_err());
    assert!(TcpStream::connect(proxy.addr()).await.is_err());

    proxy.heal();
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    assert!(says_hello_back(&mut stream).await);

    proxy.black_hole();
    let mut unheard = TcpStream::connect(proxy.addr()).await.unwrap();
    assert!(!says_hello_back(&mut unheard).await);
}

#[tokio::test]
async fn a_line_can_be_slow() {
    let proxy = FaultProxy::before(echo_server().await).await;
    proxy.delay(A_WHILE);
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    assert!(!says_hello_back(&mut stream).await);
    proxy.heal();
    proxy.limit(1_000);
    let mut narrow = TcpStream::connect(proxy.addr()).await.unwrap();
    let started = tokio::time::Instant::now();
    for _ in 0..3 {
        narrow.write_all(&[1; 100]).await.unwrap();
        narrow.read_exact(&mut [0; 100]).await.unwrap();
    }
    // The third piece waited for the first two, in each direction.
    assert!(started.elapsed() >= Duration::from_millis(200));
}
