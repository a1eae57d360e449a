//! `slotcast status`: the dashboard in a terminal, its exit code, and what to do next where it is not 0.

use std::process::Output;

use serde_json::Value;
use support::{
    Certificate, Gateway, MariaDb, PATIENCE, Page, RedisServer, ReservedPort, Room, eventually, run_slotcast,
    spawn_slotcast,
};

const KEY: &str = "0pen-sesame-0pen-sesame";

fn printed(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

async fn status(url: &str, more: &[&str]) -> (Option<i32>, String, String) {
    printed(&run_slotcast(&[&["status", "--url", url], more].concat(), &[]).await)
}

#[tokio::test]
async fn a_ready_gateway_is_0_and_its_numbers_are_there() {
    let redis = RedisServer::start().await;
    let gateway = Gateway::on(&redis).await;
    let room = Room::tomorrow_of(12);
    let alice = Page::of(&gateway, "alice").await;
    alice.select(&room, "10:00").await.assert_ok("selected");
    alice.lock(&room, "11:00").await.assert_ok("locked");
    let (code, out, err) = status(&gateway.http_url(), &[]).await;
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.starts_with("OK: "), "{out}");
    let line = |name: &str| {
        let found = out.lines().find_map(|line| line.strip_prefix(name).map(str::trim));
        found.unwrap_or_else(|| panic!("no {name}: {out}")).to_owned()
    };
    assert_eq!((line("active selections").as_str(), line("locked slots").as_str()), ("1", "1"), "{out}");
    assert!(line("redis ").starts_with("online for "), "{out}");
    assert!(line("storage mode").starts_with("redis for "), "{out}");
    assert_eq!(line("heartbeat interval"), "5 s");
    assert!(line("response time").contains("p99 (2 in the last minute)"), "{out}");
    let operation = format!("{} 11:00  employee 12", room.date);
    assert!(out.lines().any(|line| line.contains("lock ") && line.contains(&operation)), "{out}");
    assert!(!out.contains("alice"), "{out}");
    assert!(out.lines().all(|line| line.len() <= 110 && line.trim_end() == line), "{out}");
}

#[tokio::test]
async fn a_gateway_that_is_not_ready_is_1_and_says_why() {
    let mut redis = RedisServer::start().await;
    let gateway = Gateway::on(&redis).await;
    redis.kill().await;
    gateway.eventually_readyz(503).await;
    let (out, err) = eventually("Redis is said to be away", PATIENCE, async || {
        let (code, out, err) = status(&gateway.http_url(), &[]).await;
        assert_eq!(code, Some(1), "{out}{err}");
        out.contains("Redis is away").then_some((out, err))
    })
    .await;
    assert!(out.starts_with("NOT READY: "), "{out}");
    assert!(err.starts_with("slotcast: not ready: "), "{err}");
}

#[tokio::test]
async fn tables_that_are_missing_are_trouble_though_the_database_answers() {
    let maria = MariaDb::start().await;
    maria.wordpress_options().await;
    maria
        .run("CREATE USER low IDENTIFIED BY 'hush'; GRANT SELECT, INSERT, UPDATE, DELETE ON site.* TO low")
        .await;
    let gateway = Gateway::builder().with("mysql.url", maria.url_as("low", "hush")).start().await;
    for trouble in ["slotcast's own tables", "no table of appointments"] {
        let out = eventually(trouble, PATIENCE, async || {
            let (_, out, _) = status(&gateway.http_url(), &[]).await;
            out.contains(trouble).then_some(out)
        })
        .await;
        assert!(!out.starts_with("OK") && out.contains("slotcast doctor"), "{out}");
    }
    for kind in ["own", "appointments"] {
        let lack = gateway.metric(&format!("slotcast_mysql_tables_lack{{kind=\"{kind}\"}}")).await;
        assert_eq!(lack, 1.0, "{kind}");
    }
}

#[tokio::test]
async fn what_is_away_refuses_or_is_something_else_is_1_with_advice() {
    let port = ReservedPort::new();
    let (code, out, err) = status(&format!("http://{}", port.addr()), &[]).await;
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("cannot be reached") && err.contains("--url"), "{err}");

    let gateway = Gateway::start().await;
    let (code, _, err) = status(&format!("{}/below", gateway.http_url()), &[]).await;
    assert_eq!(code, Some(1));
    assert!(err.contains("answered 404") && err.contains("is it a slotcast"), "{err}");

    let (code, _, err) = status("127.0.0.1:8080", &[]).await;
    assert_eq!(code, Some(2), "{err}");
}

#[tokio::test]
async fn the_key_comes_from_the_argument_the_environment_or_the_gateways_own_configuration() {
    let port = ReservedPort::new();
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("slotcast.toml");
    let toml = format!("[server]\nlisten = \"{}\"\n[security]\ndashboard_key = \"{KEY}\"\n", port.addr());
    std::fs::write(&file, toml).unwrap();
    let path = file.to_str().unwrap();
    let (code, _, err) = printed(&run_slotcast(&["status", "--config", path], &[]).await);
    assert_eq!(code, Some(1));
    assert!(err.contains(&port.addr().to_string()), "it asks the configured gateway: {err}");

    let gateway = Gateway::builder().with("security.dashboard_key", KEY).start().await;
    let proxy = Proxy::to(&gateway).await;
    for (args, env, code) in [
        (&[][..], &[][..], Some(1)),
        (&["--key", KEY], &[], Some(0)),
        (&["--key", "wrong"], &[], Some(1)),
        (&[], &[("SLOTCAST_SECURITY_DASHBOARD_KEY", KEY)], Some(0)),
    ] {
        let args = [&["status", "--url", &proxy.url], args].concat();
        let (ended, out, err) = printed(&run_slotcast(&args, env).await);
        assert_eq!(ended, code, "{args:?}: {out}{err}");
        if code == Some(1) {
            assert!(err.contains("security.dashboard_key") && err.contains("--key"), "{err}");
        }
    }
}

#[tokio::test]
async fn without_an_address_it_asks_on_the_gateways_own_socket_file_or_over_its_tls() {
    let folder = tempfile::TempDir::with_prefix("slotcast-socket-").unwrap();
    let listen = format!("unix:{}", folder.path().join("slotcast.sock").display());
    let gateway = Gateway::builder().with("server.listen", &listen).with("security.dashboard_key", KEY);
    let mut gateway = gateway.start().await;
    let ask = async |key: &str| {
        let env = [("SLOTCAST_SERVER_LISTEN", listen.as_str()), ("SLOTCAST_SECURITY_DASHBOARD_KEY", key)];
        printed(&run_slotcast(&["status"], &env).await)
    };
    let (code, out, err) = ask(KEY).await;
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.contains(&format!(" at {listen}, running for ")), "{out}");
    let (code, _, err) = ask("another-key-of-16-letters").await;
    assert!(code == Some(1) && err.contains(&listen) && err.contains("--key"), "{err}");
    gateway.terminate().await;
    let (code, _, err) = ask(KEY).await;
    assert!(code == Some(1) && err.contains(&format!("{listen} cannot be reached: ")), "{err}");

    let certificate = Certificate::new().await;
    let gateway = Gateway::builder().with_tls(&certificate).start().await;
    let listen = gateway.log_events("listening")[0]["listen"].as_str().unwrap().to_owned();
    let (file, key) = (certificate.file().display().to_string(), certificate.key().display().to_string());
    let tls = [("SLOTCAST_SERVER_TLS_CERT", file.as_str()), ("SLOTCAST_SERVER_TLS_KEY", key.as_str())];
    let (code, out, err) = printed(&run_slotcast(&["status", "--listen", &listen], &tls).await);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.contains(&format!(" at https://{listen}, running for ")), "{out}");
}

/// A proxy as sites have them: says for whom it forwards.
struct Proxy {
    url: String,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    async fn to(gateway: &Gateway) -> Self {
        use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let addr = gateway.addr();
        let task = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut server = tokio::net::TcpStream::connect(addr).await.expect("the gateway accepts");
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.expect("a request"));
                }
                head.truncate(head.len() - 2);
                head.extend_from_slice(b"X-Forwarded-For: 203.0.113.7\r\n\r\n");
                server.write_all(&head).await.expect("the gateway reads");
                let _ = copy_bidirectional(&mut client, &mut server).await;
            }
        });
        Proxy { url, task }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn json_is_what_the_gateway_says_and_watch_says_it_again_and_again() {
    let mut gateway = Gateway::start().await;
    let url = gateway.http_url();
    let (code, out, _) = status(&url, &["--json"]).await;
    assert_eq!(code, Some(0));
    let look: Value = serde_json::from_str(&out).expect("one line of JSON");
    assert_eq!((out.lines().count(), &look["storage"]["mode"]), (1, &Value::from("memory")));

    let (_watch, printed) = spawn_slotcast(&["status", "--url", &url, "--watch", "--json"]).await;
    let looks = eventually("three looks", PATIENCE, async || {
        let looks: Vec<Value> =
            printed.lines().iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
        (looks.len() >= 3).then_some(looks)
    })
    .await;
    assert!(looks.is_sorted_by(|a, b| a["at"].as_i64() < b["at"].as_i64()), "{looks:?}");
    gateway.terminate().await;
    eventually("it says that nobody answers, and goes on", PATIENCE, async || {
        let away = |line: &&String| line.contains("cannot be reached");
        (printed.lines().iter().filter(away).count() >= 2).then_some(())
    })
    .await;
}
