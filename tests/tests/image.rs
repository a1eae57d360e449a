//! What the container image promises, as far as it can be shown without Docker: the program runs in a root that holds what
//! the final stage holds, answers its own health check there, and the compose file configures a gateway.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;
use support::{
    Certificate, Gateway, LegacyPage, MariaDb, NodeFolder, PATIENCE, Page, RedisServer, Room, eventually,
    run_slotcast, slotcast_binary, yaml,
};
use tempfile::TempDir;
use tokio::process::Command;

fn repository(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file)
}

/// The lines of the Dockerfile's last stage that begin with this instruction.
fn final_stage(instruction: &str) -> Vec<String> {
    let text = fs::read_to_string(repository("Dockerfile")).expect("a Dockerfile");
    let last = text.rsplit("\nFROM ").next().expect("a stage");
    last.lines()
        .filter_map(|line| line.strip_prefix(instruction))
        .map(|line| line.trim().to_owned())
        .collect()
}

/// The words of a command in exec form.
fn words(command: &str) -> Vec<String> {
    let list = &command[command.find('[').expect("the exec form: there is no shell")..];
    serde_json::from_str(list).expect("a list of words")
}

/// A root with the program where the image has it, and the C library, and nothing else.
struct BareRoot(TempDir);

impl BareRoot {
    async fn new() -> Self {
        let root = Self(TempDir::with_prefix("slotcast-root-").expect("a temporary folder"));
        let copy = final_stage("COPY --from=build ").pop().expect("the program is copied");
        let (from, to) = copy.split_once(' ').expect("two paths");
        assert_eq!(from, "/src/target/release/slotcast");
        root.put(slotcast_binary().await, to);
        let listed =
            Command::new("ldd").arg(slotcast_binary().await).output().await.expect("ldd is installed");
        for line in String::from_utf8(listed.stdout).expect("text").lines() {
            let Some(path) = line.split_whitespace().find(|word| word.starts_with('/')) else { continue };
            let name = Path::new(path).file_name().and_then(|name| name.to_str()).expect("a name");
            // What distroless/cc has.
            let there =
                ["libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"];
            assert!(there.contains(&name), "the image has no {name}");
            root.put(Path::new(path), path);
        }
        root
    }

    fn put(&self, from: &Path, to: &str) {
        let to = self.0.path().join(to.trim_start_matches('/'));
        fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
        fs::copy(from, to).expect("a copy");
    }

    /// A command within the root, with the image's own variables.
    fn command(&self, words: &[String]) -> Command {
        let mut command = Command::new("unshare");
        // Without a right that root would need: whoever runs this may look like root within, and nowhere else.
        command.args(["--user", "--map-root-user", "--root"]).arg(self.0.path()).args(words).env_clear();
        for pair in final_stage("ENV ") {
            let (name, value) = pair.split_once('=').expect("a name and a value");
            command.env(name, value);
        }
        command.kill_on_drop(true);
        command
    }

    async fn check(&self, listen: &str) -> Output {
        let health = words(&final_stage("HEALTHCHECK ").pop().expect("a health check"));
        self.command(&health)
            .env("SLOTCAST_SERVER_LISTEN", listen)
            .output()
            .await
            .expect("unshare is installed")
    }
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test]
async fn the_program_starts_answers_and_stops_in_a_root_with_nothing_else() {
    let root = BareRoot::new().await;
    let port = support::ReservedPort::new();
    let listen = port.addr().to_string();
    let mut program = root.command(&words(&final_stage("ENTRYPOINT ").pop().expect("an entry point")));
    let mut child = program.env("SLOTCAST_SERVER_LISTEN", &listen).spawn().unwrap();
    eventually("it is healthy", PATIENCE, async || root.check(&listen).await.status.success().then_some(()))
        .await;
    let pid = rustix::process::Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
    // As Docker stops it: the first process gets the signal.
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
    let gone = root.check(&listen).await;
    assert_eq!(gone.status.code(), Some(1), "{}", told(&gone));
    assert!(told(&gone).contains("cannot be reached"), "{}", told(&gone));
    assert_eq!(final_stage("FROM"), Vec::<String>::new());
}

#[tokio::test]
async fn the_health_check_fails_while_the_gateway_is_not_ready_and_says_why() {
    let mut redis = RedisServer::start().await;
    let gateway = Gateway::on(&redis).await;
    let listen = gateway.addr().to_string();
    let check = async || run_slotcast(&["healthcheck", "--listen", &listen], &[]).await;
    assert_eq!(check().await.status.code(), Some(0));
    redis.kill().await;
    gateway.eventually_readyz(503).await;
    let ill = check().await;
    assert_eq!(ill.status.code(), Some(1));
    assert!(told(&ill).contains("not ready"), "{}", told(&ill));
}

#[tokio::test]
async fn the_health_check_finds_a_gateway_on_a_socket_file_or_behind_tls() {
    let folder = TempDir::with_prefix("slotcast-socket-").expect("a temporary folder");
    let listen = format!("unix:{}", folder.path().join("slotcast.sock").display());
    let gateway = Gateway::builder().with("server.listen", &listen).start().await;
    let output = run_slotcast(&["healthcheck", "--listen", &listen], &[]).await;
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    drop(gateway);

    let certificate = Certificate::new().await;
    let gateway = Gateway::builder().with_tls(&certificate).start().await;
    let listen = gateway.log_events("listening")[0]["listen"].as_str().unwrap().to_owned();
    let (file, key) = (certificate.file().display().to_string(), certificate.key().display().to_string());
    let tls = [("SLOTCAST_SERVER_TLS_CERT", file.as_str()), ("SLOTCAST_SERVER_TLS_KEY", key.as_str())];
    let output = run_slotcast(&["healthcheck", "--listen", &listen], &tls).await;
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    Page::of(&gateway, "alice").await;
}

#[tokio::test]
async fn the_dockerfile_has_no_instruction_that_docker_does_not_know_and_its_user_is_not_root() {
    let folder = NodeFolder::with(&["Dockerfile"]).await;
    let program = "import { readFileSync } from 'node:fs';
        import linter from 'dockerfile-utils';
        const found = (text) => linter.validate(text).map((problem) => problem.message);
        const text = readFileSync('Dockerfile', 'utf8');
        console.log(JSON.stringify([found(text), found(text.replace('--interval', '--intervall'))]));";
    folder.write("lint.mjs", program);
    let found: Value = serde_json::from_str(&folder.run(&["lint.mjs"], &[]).await).unwrap();
    assert_eq!(found, serde_json::json!([[], ["Unknown flag: intervall"]]));
    let user = final_stage("USER ").pop().expect("a user");
    assert!(user.split(':').all(|number| number.parse::<u32>().is_ok_and(|number| number > 0)), "{user}");
}

/// The variables that the compose file gives a service; what it asks for is `secret`.
fn variables(compose: &Value, service: &str) -> Vec<(String, String)> {
    let filled = |value: &Value| {
        let value = value.as_str().expect("a text");
        match (value.find("${"), value.find('}')) {
            (Some(from), Some(to)) => format!("{}secret{}", &value[..from], &value[to + 1..]),
            _ => value.to_owned(),
        }
    };
    let named = compose["services"][service]["environment"].as_object().expect("variables");
    named.iter().map(|(name, value)| (name.clone(), filled(value))).collect()
}

#[tokio::test]
async fn the_compose_file_configures_a_gateway_and_mounts_what_is_there() {
    let file = repository("config/compose.yaml");
    let compose = yaml(&file).await;
    let text = compose.to_string();
    let environment = variables(&compose, "slotcast");
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let output = run_slotcast(&["check-config"], &environment).await;
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert!(!told(&output).contains("warning"), "{}", told(&output));
    assert!(told(&output).contains("storage mode: redis, with mysql"), "{}", told(&output));

    let seconds = |text: &str| text.trim_end_matches('s').parse::<u64>().unwrap();
    let grace = seconds(compose["services"]["slotcast"]["stop_grace_period"].as_str().unwrap());
    let (_, drain) = environment.iter().find(|(name, _)| *name == "SLOTCAST_SERVER_DRAIN_SECS").unwrap();
    let drain = seconds(drain);
    assert!(grace > drain, "Docker kills after {grace} s what may take {drain} s");
    assert!(text.contains("./redis.conf:") && file.with_file_name("redis.conf").exists());
    for (name, _) in environment {
        let lines = fs::read_to_string(&file).unwrap();
        let at = lines.lines().position(|line| line.trim().starts_with(&format!("{name}:"))).unwrap();
        assert!(lines.lines().nth(at - 1).unwrap().trim().starts_with('#'), "{name} is not explained");
    }
}

#[tokio::test]
async fn what_the_compose_file_starts_takes_bookings_and_survives_its_redis() {
    let file = repository("config/compose.yaml");
    let compose = yaml(&file).await;
    let of_maria = &compose["services"]["mariadb"];
    let words = of_maria["command"].as_array().expect("words");
    let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
    let maria = MariaDb::start_with(&words).await;
    // As the image does at its first start.
    let mounted = of_maria["volumes"].as_array().expect("volumes").iter().filter_map(Value::as_str);
    let played = mounted.filter_map(|volume| volume.strip_suffix(":/docker-entrypoint-initdb.d:ro"));
    for folder in played {
        for script in fs::read_dir(file.with_file_name(folder)).expect("the folder is there") {
            maria.run(&fs::read_to_string(script.unwrap().path()).unwrap()).await;
        }
    }
    let redis = redis_as_configured().await;
    let flags: Vec<String> = redis.run(&["CONFIG", "GET", "notify-keyspace-events"]).await;
    assert!("Kg$xe".chars().all(|flag| flags[1].contains(flag)), "{flags:?}");

    let mut gateway = Gateway::builder();
    let own = variables(&compose, "slotcast");
    for (name, value) in &own {
        gateway = gateway.environment(name, value);
    }
    let gateway = gateway.redis_at(&redis.url()).with("mysql.url", maria.url()).start().await;
    gateway.eventually_well_with_mysql().await;
    let (room, rest) = (Room::tomorrow_of(3), LegacyPage::of(&gateway));
    let booked = rest.rest_post("/appointments", room.booking("10:00", "a")).await;
    assert_eq!(booked.status, 200, "{booked:?}");
    redis.run::<()>(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
    eventually("MySQL keeps selections", PATIENCE, async || {
        let fields = room.fields(&[("time", "11:00"), ("client_id", "alice")]);
        let selected = rest.rest_post("/slots/select", fields).await;
        (selected.status == 200 && selected.json["storage"] == "mysql").then_some(())
    })
    .await;
    let booked = rest.rest_post("/appointments", room.booking("12:00", "b")).await;
    assert_eq!(booked.status, 200, "{booked:?}");
    assert!(gateway.log_events("mysql_table_warning").is_empty());

    // The account that the gateway is given is the one that is made.
    let made = variables(&compose, "mariadb");
    let value = |of: &[(String, String)], name: &str| {
        of.iter().find(|(named, _)| named == name).map(|(_, value)| value.clone()).expect("it is set")
    };
    let [user, password, database] =
        ["USER", "PASSWORD", "DATABASE"].map(|name| value(&made, &format!("MARIADB_{name}")));
    let url = format!("mysql://{user}:{password}@mariadb:3306/{database}");
    assert_eq!(value(&own, "SLOTCAST_MYSQL_URL"), url);
}

/// With the lines of the file that the compose file mounts.
async fn redis_as_configured() -> RedisServer {
    let text = fs::read_to_string(repository("config/redis.conf")).expect("a configuration");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let options: Vec<String> = lines.map(|line| format!("--{line}")).collect();
    let words: Vec<&str> =
        options.iter().flat_map(|option| option.split_once(' ').map(<[&str; 2]>::from)).flatten().collect();
    RedisServer::start_with(&words).await
}
