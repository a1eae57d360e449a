//! A run of the doctor, and what it found.

use std::collections::BTreeMap;
use std::process::Output;

use serde_json::Value;
use support::{ReservedPort, run_slotcast};

/// Never to be printed.
pub(crate) const SECRET: &str = "hush-hush-hush-hush";

/// What is configured, and what is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    env: BTreeMap<String, String>,
    args: Vec<String>,
    // Where the gateway would listen: nobody does.
    _port: std::sync::Arc<ReservedPort>,
}

impl Visit {
    /// A configuration without stores whose gateway does not run.
    pub(crate) fn new() -> Self {
        let port = std::sync::Arc::new(ReservedPort::new());
        let visit = Self { env: BTreeMap::new(), args: Vec::new(), _port: port.clone() };
        // Only real trouble is slow: the machine that tests share is, at times.
        visit.with("server.listen", &port.addr().to_string()).with("redis.command_timeout_ms", "30000")
    }

    /// Sets a key of the configuration.
    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        self.env.insert(format!("SLOTCAST_{}", key.replace('.', "_").to_uppercase()), value.to_owned());
        self
    }

    /// Trusts the certificates in this file, and no others.
    pub(crate) fn trusting(mut self, certificates: &std::path::Path) -> Self {
        self.env.insert("SSL_CERT_FILE".to_owned(), certificates.display().to_string());
        self
    }

    /// Adds arguments.
    pub(crate) fn asking(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// Runs the doctor with these arguments after its own.
    pub(crate) async fn run(&self, more: &[&str]) -> Output {
        let env: Vec<(&str, &str)> =
            self.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let args: Vec<&str> = ["doctor"]
            .into_iter()
            .chain(self.args.iter().map(String::as_str))
            .chain(more.iter().copied())
            .collect();
        let output = run_slotcast(&args, &env).await;
        let printed = [&output.stdout[..], &output.stderr[..]].concat();
        assert!(!String::from_utf8_lossy(&printed).contains("hush"), "a secret is printed: {output:?}");
        output
    }

    /// Runs it, and reads what it found.
    pub(crate) async fn examine(&self) -> Findings {
        let output = self.run(&["--json"]).await;
        let checks: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        let checks = checks.as_array().expect("an array").clone();
        let findings = Findings { code: output.status.code(), checks };
        let has_failed = findings.checks.iter().any(|check| check["verdict"] == "failed");
        assert_eq!(findings.code, Some(i32::from(has_failed)), "{findings:?}");
        findings
    }
}

/// What the doctor found.
#[derive(Clone, Debug)]
pub(crate) struct Findings {
    /// The exit code.
    pub code: Option<i32>,
    /// The array.
    pub checks: Vec<Value>,
}

impl Findings {
    /// The lines that this check wants pasted.
    #[track_caller]
    pub(crate) fn paste(&self, name: &str) -> &str {
        let check = self.checks.iter().find(|check| check["check"] == name).expect("this check was made");
        check["paste"]["text"].as_str().expect("there is something to paste")
    }

    /// Whatever is not well, as `check verdict`, but for what comes of how these tests are: without stores,
    /// without a gateway.
    #[track_caller]
    pub(crate) fn assert_troubles(&self, aside: &[&str], expected: &[(&str, &str)]) {
        let bad = self.checks.iter().filter(|check| check["verdict"] != "ok");
        let found: Vec<String> =
            bad.map(|check| format!("{} {}", word(check, "check"), word(check, "verdict"))).collect();
        let (of_tests, found): (Vec<String>, Vec<String>) =
            found.into_iter().partition(|trouble| aside.contains(&trouble.as_str()));
        assert_eq!(of_tests.len(), aside.len(), "{of_tests:?} {self:?}");
        let expected_names: Vec<&str> = expected.iter().map(|(trouble, _)| *trouble).collect();
        assert_eq!(found, expected_names, "{:#?}", self.checks);
        for (trouble, advice) in expected {
            let is_it = |check: &&Value| trouble.split(' ').next() == Some(word(check, "check"));
            let told = self.checks.iter().find(is_it).map(Value::to_string).unwrap_or_default();
            assert!(told.contains(advice), "{trouble} does not say {advice}: {told}");
        }
    }
}

fn word<'a>(check: &'a Value, field: &str) -> &'a str {
    check[field].as_str().expect("a word")
}
