//! The snippets for nginx, Apache and Caddy, each run with the real server: they carry an upgrade both ways, keep a
//! silent connection for more than a minute, and tell the gateway where a page comes from.

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use futures::{SinkExt, StreamExt};
use serde_json::json;
use support::{Gateway, LegacyPage, PATIENCE, PageBuilder, Room, WebServer, eventually};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::Method;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

type Socket = WebSocketStream<TcpStream>;

/// Longer than the minute after which proxies give up by themselves.
const SILENCE: Duration = Duration::from_secs(65);

async fn each_in_front_of(gateway: SocketAddr) -> Vec<(&'static str, WebServer)> {
    vec![
        ("nginx", WebServer::nginx(gateway).await),
        ("apache", WebServer::apache(gateway).await),
        ("caddy", WebServer::caddy(gateway).await),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_proxy_carries_push_polls_and_slots_and_leaves_the_rest_to_php() {
    let gateway = Gateway::start().await;
    for ((name, proxy), time) in
        each_in_front_of(gateway.addr()).await.into_iter().zip(["11:00", "12:00", "13:00"])
    {
        let room = Room::tomorrow_of(3);
        let page = PageBuilder::at(proxy.addr()).open().await;
        page.hello(&format!("of-{name}")).await;
        page.subscribe(&room).await;
        page.select(&room, "10:00").await.assert_ok("selected");
        page.eventually_active(&room, &["10:00"]).await;

        let legacy = LegacyPage::at(proxy.addr());
        let poll = legacy.heartbeat_json(json!({"appointease_poll": room.fields(&[])})).await;
        assert_eq!(poll.json["appointease_active_selections"], json!(["10:00"]), "{name}: {poll:?}");
        let asked = [("date", room.date.as_str()), ("employee_id", "3")];
        let poll = legacy.rest_get("/slots/poll", &asked).await;
        assert_eq!(poll.json["active_selections"], json!(["10:00"]), "{name}: {poll:?}");
        // What the client asks while its WebSockets are blocked is the gateway's all the same.
        for call in ["slots/lock", "availability", "appointments"] {
            let fields = room.fields(&[
                ("time", time),
                ("client_id", name),
                ("name", name),
                ("email", "ann@example.com"),
                ("idempotency_key", name),
            ]);
            let call = format!("/slotcast/{call}");
            let answer = legacy.send(Method::POST, &call, "application/json", fields.to_string()).await;
            assert_eq!(answer.status, 200, "{name}: {call}: {answer:?}");
        }
        for path in [
            "/",
            "/wp-admin/admin-ajax.php",
            "/wp-json/appointease/v1/appointments",
            "/dashboard",
            "/metrics",
            "/readyz",
            "/wsx",
            "/ws/x",
        ] {
            let answer = legacy.get(path).await;
            assert!(answer.status == 404 && !answer.body.contains("slotcast"), "{name}: {path}: {answer:?}");
        }
        page.deselect(&room, "10:00").await.assert_ok("deselected");
        page.eventually_active(&room, &[]).await;
    }
}

/// Connects from this address of the machine; the status where it is not let in.
async fn try_from(
    proxy: SocketAddr,
    address: [u8; 4],
    headers: &[(&'static str, &str)],
) -> Result<Socket, u16> {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((address, 0).into()).expect("an address of this machine");
    let stream = socket.connect(proxy).await.expect("the proxy accepts");
    let mut request = format!("ws://{proxy}/ws").into_client_request().expect("a request");
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().expect("a header's value"));
    }
    match timeout(PATIENCE, client_async(request, stream)).await.expect("an answer in time") {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(answer)) => Err(answer.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_proxy_passes_on_who_asks_and_for_which_host() {
    let (one, other) = ([127, 0, 0, 2], [127, 0, 0, 3]);
    let gateway = Gateway::builder()
        .with_limits()
        .with("security.max_connections_per_address", 1)
        .with("server.trusted_proxies", "127.0.0.1")
        .start()
        .await;
    for (name, proxy) in each_in_front_of(gateway.addr()).await {
        let (proxy, own) = (proxy.addr(), format!("http://{}", proxy.addr()));
        let first = try_from(proxy, one, &[("origin", &own)]).await.expect(name);
        // The address is the browser's own, whatever it says of itself.
        for lie in ["203.0.113.9", "203.0.113.9, 127.0.0.1", "127.0.0.1"] {
            let lying = try_from(proxy, one, &[("origin", &own), ("x-forwarded-for", lie)]).await;
            assert_eq!(lying.err(), Some(429), "{name}: {lie}");
        }
        for foreign in ["http://evil.example", "http://127.0.0.1:1", "null"] {
            let headers = [("origin", foreign), ("x-forwarded-host", "evil.example")];
            assert_eq!(try_from(proxy, other, &headers).await.err(), Some(403), "{name}: {foreign}");
        }
        let second = try_from(proxy, other, &[("origin", &own)]).await.expect(name);
        drop((first, second));
        for address in [one, other] {
            let again = async || try_from(proxy, address, &[]).await.ok();
            drop(eventually("the place is free again", PATIENCE, again).await);
        }
        let gone = async || (gateway_is_empty(&gateway).await).then_some(());
        eventually("all are gone", PATIENCE, gone).await;
    }
}

async fn gateway_is_empty(gateway: &Gateway) -> bool {
    LegacyPage::of(gateway).get("/health").await.json["connections"] == 0
}

/// Upgrades, and says nothing until it is spoken to: without the gateway's pings the proxy's own patience counts.
async fn silent_backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                // What only looks whether somebody listens is no browser.
                let Ok(mut socket) = accept_async(stream).await else { return };
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_text() {
                        drop(socket.send(message).await);
                    }
                }
            });
        }
    });
    addr
}

async fn echoed(socket: &mut Socket, text: &str) -> Result<(), tungstenite::Error> {
    socket.send(Message::text(text)).await?;
    let answer = timeout(PATIENCE, socket.next()).await.expect("an answer in time");
    assert_eq!(answer.ok_or(tungstenite::Error::ConnectionClosed)??, Message::text(text));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_proxy_keeps_a_connection_on_which_nobody_speaks_for_a_minute() {
    let proxies = each_in_front_of(silent_backend().await).await;
    let idle = proxies.iter().map(async |(name, proxy)| {
        let mut socket = try_from(proxy.addr(), [127, 0, 0, 1], &[]).await.expect(name);
        echoed(&mut socket, "before").await.unwrap_or_else(|error| panic!("{name}: {error}"));
        sleep(SILENCE).await;
        echoed(&mut socket, "after").await.unwrap_or_else(|error| panic!("{name}: {error}"));
    });
    join_all(idle).await;
}
