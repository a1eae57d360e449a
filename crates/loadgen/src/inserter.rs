//! The program that puts appointments into the database for all publishers, past the server, as another application
//! of the site would. It prints `ready`, then answers each line it reads, a row as JSON, with a line: `ok` or what went
//! wrong. It is asked one line after the other, and ends with the run.

use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{OnceCell, mpsc};
use tokio::task::spawn_local;
use tokio::time::timeout;

use crate::LoadError;
use crate::outlet::{Queue, SharedAnswers};
use crate::timing::Clock;

/// How long it may take until it is ready.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// One program for all publishers, started when the first of them connects.
#[derive(Debug)]
pub(crate) struct Inserter {
    command: String,
    queue: OnceCell<Queue>,
}

/// The program as it runs.
struct Running {
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    /// Dropped, it is killed.
    _child: Child,
}

impl Inserter {
    pub(crate) fn new(command: &str) -> Rc<Inserter> {
        Rc::new(Inserter { command: command.to_owned(), queue: OnceCell::new() })
    }

    /// Where rows go that it is to insert. To be called within a `LocalSet`.
    pub(crate) async fn queue(&self, clock: Clock, answers: SharedAnswers) -> Result<Queue, LoadError> {
        self.queue.get_or_try_init(|| self.start(clock, answers)).await.cloned()
    }

    async fn start(&self, clock: Clock, answers: SharedAnswers) -> Result<Queue, LoadError> {
        let mut running = Running::start(&self.command)?;
        let greeting = timeout(START_TIMEOUT, running.answer())
            .await
            .map_err(|_| LoadError::Late(format!("`ready` of {}", self.command)))?;
        match greeting {
            Ok(line) if line == "ready" => (),
            Ok(line) | Err(line) => return Err(LoadError::Refused(format!("{}: {line}", self.command))),
        }
        let (queue, mut rows) = mpsc::unbounded_channel::<(u64, String)>();
        spawn_local(async move {
            while let Some((id, row)) = rows.recv().await {
                let outcome = running.insert(row).await;
                answers.borrow_mut().on_answer(Some(id), outcome, clock.now_us());
            }
        });
        Ok(queue)
    }
}

impl Running {
    fn start(command: &str) -> Result<Running, LoadError> {
        let mut child = Command::new("sh")
            .args(["-c", command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(LoadError::io(command))?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(input), Some(output)) => {
                Ok(Running { input, output: BufReader::new(output).lines(), _child: child })
            }
            _ => Err(LoadError::Refused(format!("{command}: without a standard input or output"))),
        }
    }

    /// The next line it prints.
    async fn answer(&mut self) -> Result<String, String> {
        let line = self.output.next_line().await.map_err(|error| error.to_string())?;
        line.ok_or_else(|| "it ended; what it complained of is above".to_owned())
    }

    async fn insert(&mut self, row: String) -> Result<(), String> {
        self.input.write_all(format!("{row}\n").as_bytes()).await.map_err(|error| error.to_string())?;
        match self.answer().await? {
            line if line == "ok" => Ok(()),
            line => Err(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;
    use tokio::time::sleep;

    use super::{Clock, Duration, Inserter, LoadError};
    use crate::outlet::{Answers, SharedAnswers};

    async fn told(command: &str, rows: &[&str]) -> Result<SharedAnswers, LoadError> {
        let (inserter, answers, clock) = (Inserter::new(command), Answers::new(), Clock::start());
        for (id, row) in (0..).zip(rows) {
            let queue = inserter.queue(clock, answers.clone()).await?;
            answers.borrow_mut().expect(id, clock.now_us());
            queue.send((id, (*row).to_owned())).expect("it runs");
        }
        while answers.borrow().unanswered() > 0 {
            sleep(Duration::from_millis(1)).await;
        }
        Ok(answers)
    }

    #[tokio::test]
    async fn one_program_answers_all_rows_and_says_what_went_wrong() {
        let command = "echo ready; while read -r row; do [ $row = bad ] && echo no $row || echo ok; done";
        let told = LocalSet::new().run_until(told(command, &["good", "bad", "well"])).await;
        let answers = told.expect("it is ready");
        let answers = answers.borrow();
        assert_eq!(answers.accepted, 2);
        assert_eq!(answers.refused.iter().collect::<Vec<_>>(), [(&"no bad".to_owned(), &1)]);
    }

    #[tokio::test]
    async fn a_program_that_cannot_start_or_ends_is_named() {
        for (command, wanted) in [("echo no database", "no database"), ("exit 3", "it ended")] {
            let told = LocalSet::new().run_until(told(command, &["a"])).await;
            let refused = told.expect_err("it is not ready");
            assert!(refused.to_string().starts_with(&format!("{command}: {wanted}")), "{refused}");
        }
        let answers = LocalSet::new().run_until(told("echo ready; exec sleep 0", &["a"])).await;
        let answers = answers.expect("it was ready");
        assert_eq!((answers.borrow().accepted, answers.borrow().refused.len()), (0, 1));
    }
}
