//! A real browser: Chromium without a screen, driven over WebDriver by Debian's chromedriver, on a profile of its own.
//! Invariant: what it started ends with it, also where the test fails.

use std::process::Stdio;
use std::time::Duration;

use fantoccini::key::Key;
use fantoccini::wd::{Capabilities, TimeoutConfiguration, WindowHandle};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long a browser may take to start, and a page to come to a state: it is the slowest thing here.
const PATIENCE: Duration = Duration::from_secs(60);

/// Pages behind others go on as those in front do, and nothing is fetched that a test did not ask for.
const ARGUMENTS: [&str; 10] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
];

/// A running Chromium.
#[derive(Debug)]
pub struct Browser {
    client: Client,
    /// The window it started with: there must always be one to go on from.
    first: WindowHandle,
    driver: Child,
    profile: TempDir,
}

/// One of its windows.
#[derive(Debug)]
pub struct Window<'a> {
    client: &'a Client,
    handle: WindowHandle,
}

impl Browser {
    /// Starts one that knows nothing: no storage, no cache.
    pub async fn start() -> Self {
        let profile = TempDir::with_prefix("slotcast-chromium-").expect("a temporary folder");
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("chromium-driver is installed");
        let mut said = BufReader::new(driver.stdout.take().expect("stdout is piped")).lines();
        let port = timeout(PATIENCE, async {
            while let Some(line) = said.next_line().await.expect("chromedriver speaks text") {
                if let Some((_, port)) = line.split_once("successfully on port ") {
                    return port.trim_end_matches('.').to_owned();
                }
            }
            panic!("chromedriver ended before it listened");
        });
        let port = port.await.expect("chromedriver listens in time");
        tokio::spawn(async move { while let Ok(Some(_)) = said.next_line().await {} });
        let mut arguments = ARGUMENTS.map(str::to_owned).to_vec();
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        let mut wishes = Capabilities::new();
        wishes.insert("goog:chromeOptions".to_owned(), json!({ "args": arguments }));
        let connecting = ClientBuilder::new(HttpConnector::new())
            .capabilities(wishes)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await;
        let client = connecting.expect("chromium starts");
        let patient = TimeoutConfiguration::new(Some(PATIENCE * 2), None, None);
        client.update_timeouts(patient).await.expect("chromium waits");
        let first = client.window().await.expect("chromium starts with a window");
        Browser { client, first, driver, profile }
    }

    /// Opens a window with this page; all windows are one browser with one storage.
    pub async fn window(&self, url: &str) -> Window<'_> {
        self.client.switch_to_window(self.first.clone()).await.expect("the first window stays open");
        let opened = self.client.new_window(false).await.expect("a window opens");
        let window = Window { client: &self.client, handle: opened.handle };
        window.go(url).await;
        window
    }

    /// Ends it as a user does: pages hear that they are left.
    pub async fn quit(mut self) {
        self.client.clone().close().await.expect("chromium ends");
        self.driver.kill().await.expect("our child can be killed");
    }
}

impl Drop for Browser {
    /// After a failure nobody asked Chromium to end. Its processes are known by the profile that only they use.
    fn drop(&mut self) {
        drop(self.driver.start_kill());
        let profile = format!("--user-data-dir={}", self.profile.path().display());
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let is_ours = command.split(|byte| *byte == 0).any(|argument| argument == profile.as_bytes());
            let pid = entry.file_name().to_str().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
            if let Some(pid) = pid.filter(|_| is_ours) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

impl Window<'_> {
    /// Loads a page.
    pub async fn go(&self, url: &str) {
        self.step_in_front().await;
        self.client.goto(url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
    }

    /// Loads the page anew.
    pub async fn reload(&self) {
        self.step_in_front().await;
        self.client.refresh().await.expect("a page can be loaded anew");
    }

    /// What the script returns; `arguments` are `arguments[0]` and so on in it. Promises are waited for.
    pub async fn run(&self, script: &str, arguments: Vec<Value>) -> Value {
        self.step_in_front().await;
        let script = format!(
            "const done = arguments[arguments.length - 1];
            (async (...args) => {{ {script} }})(...arguments)
                .then((value) => done({{ value }}), (error) => done({{ error: `${{error}} ${{error.stack}}` }}));"
        );
        let mut said = self.client.execute_async(&script, arguments).await.expect("a script runs");
        assert!(said.get("error").is_none(), "{}", said["error"]);
        said["value"].take()
    }

    /// The value of an expression.
    pub async fn value(&self, expression: &str) -> Value {
        self.run(&format!("return {expression};"), Vec::new()).await
    }

    /// Waits until the expression has this value. The page itself waits: asking it again and again would keep it busy.
    pub async fn eventually(&self, expression: &str, expected: impl Into<Value>) {
        let script = format!(
            "const [wanted, deadline] = [JSON.stringify(args[0]), Date.now() + args[1]];
            for (;;) {{
                const value = await (async () => {expression})().catch(String);
                if (JSON.stringify(value ?? null) === wanted) return null;
                if (Date.now() > deadline) return `stayed ${{JSON.stringify(value)}}`;
                await new Promise((resolve) => setTimeout(resolve, 20));
            }}"
        );
        let expected = expected.into();
        let ended = self.run(&script, vec![expected.clone(), json!(PATIENCE.as_millis())]).await;
        assert!(ended.is_null(), "{expression} {ended} and did not become {expected}");
    }

    /// Clicks as a mouse does.
    pub async fn click(&self, selector: &str) {
        self.step_in_front().await;
        let found = self.client.find(Locator::Css(selector)).await;
        let clicked = found.unwrap_or_else(|error| panic!("{selector}: {error}")).click().await;
        clicked.unwrap_or_else(|error| panic!("{selector}: {error}"));
    }

    /// Types into whatever has the focus.
    pub async fn press(&self, keys: &str) {
        self.step_in_front().await;
        let focused = self.client.active_element().await.expect("something has the focus");
        focused.send_keys(keys).await.expect("keys can be pressed");
    }

    /// Presses one key that is no letter.
    pub async fn press_key(&self, key: Key) {
        self.press(&char::from(key).to_string()).await;
    }

    /// Closes it; the browser stays.
    pub async fn close(self) {
        self.step_in_front().await;
        self.client.close_window().await.expect("a window can be closed");
    }

    async fn step_in_front(&self) {
        self.client.switch_to_window(self.handle.clone()).await.expect("the window is open");
    }
}
