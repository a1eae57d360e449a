//! The command line. Each scenario takes its struct as it stands, so a test can call it without a process.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::LoadError;
use crate::connect::Target;
use crate::dialect::{Change, Dialect, Generic, Rooms};
use crate::outlet::Outlet;

/// Measures servers that push changes to WebSocket subscribers.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version)]
pub struct Cli {
    /// What to measure.
    #[command(subcommand)]
    pub scenario: Scenario,
}

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum Scenario {
    /// Subscribers in rooms, changes at a pace: memory, CPU per delivery, latency, missed deliveries.
    Fanout(FanoutArgs),
    /// One subscriber that stops reading among many: memory, the others' latency, its state when it reads again.
    Conflate(ConflateArgs),
    /// Honest clients quiet, then beside attackers of every kind at once: latency of both, what attackers got.
    Hostile(HostileArgs),
    /// Rooms that each hold one selection: what keeping and watching them costs gateways and database.
    Hold(HoldArgs),
    /// Requests over kept HTTP connections, at a pace or as fast as answers come.
    Poll(PollArgs),
    /// The transaction of a booking on one connection, one after the other, without any server between: a yardstick.
    Bare(BareArgs),
    /// Prints reports saved with --json as one Markdown table; several of one kind become their median.
    Table(TableArgs),
}

/// The server under load.
#[derive(Clone, Debug, Args)]
pub struct ServerArgs {
    /// Where it listens: ws://IP:PORT/path (poll: http://); loopback only; {room} is filled in.
    #[arg(long)]
    pub url: String,
    /// The server's name: its column in the table.
    #[arg(long, default_value = "slotcast")]
    pub label: String,
    /// The scenario's name: its rows in the table.
    #[arg(long, default_value = "")]
    pub title: String,
    /// Process ids of the server, comma-separated; without them memory and CPU are not measured.
    #[arg(long = "pid", value_delimiter = ',')]
    pub pids: Vec<u32>,
    /// Also write the report here, as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// The subscribers.
#[derive(Clone, Debug, Args)]
pub struct CrowdArgs {
    /// How many.
    #[arg(long, default_value_t = 1000)]
    pub subscribers: usize,
    /// Over how many rooms they are spread evenly.
    #[arg(long, default_value_t = 1)]
    pub rooms: usize,
    /// How many share a source address.
    #[arg(long, default_value_t = 200)]
    pub per_address: usize,
    /// How many connect at one time.
    #[arg(long, default_value_t = 100)]
    pub connecting: usize,
    /// The rooms' date, YYYY-MM-DD; tomorrow if not given.
    #[arg(long)]
    pub date: Option<String>,
    /// The first room's employee; the others follow it.
    #[arg(long, default_value_t = 1)]
    pub first_employee: usize,
}

/// The changes.
#[derive(Clone, Debug, Args)]
pub struct LoadArgs {
    /// How many, before the run ends.
    #[arg(long, default_value_t = 100)]
    pub changes: u64,
    /// How many a second, over all rooms.
    #[arg(long, default_value_t = 5.0)]
    pub rate: f64,
    /// How many clients make them in turn, each in one room; at least one per room, and by default enough that none
    /// makes more than two a second.
    #[arg(long)]
    pub publishers: Option<usize>,
    /// Where they connect, if not where the subscribers do: another gateway's ws:// URL, on the same store.
    #[arg(long)]
    pub select_at: Option<String>,
    /// Book slots for good, where otherwise they are selected.
    #[arg(long)]
    pub confirm: bool,
    /// Have appointments put into the database past the server, by this command for sh. It prints `ready`, then for each
    /// line it reads, a row's columns as JSON, `ok` or what went wrong.
    #[arg(long, conflicts_with_all = ["confirm", "select_at"])]
    pub insert_by: Option<String>,
    /// Once no delivery came for so long, all are through; above the time a gateway needs to notice another's change.
    #[arg(long, default_value_t = 0.7)]
    pub quiet_secs: f64,
}

/// A server that is not slotcast. In frames and messages {room}, {seq}, {time}, {date} and {employee_id} are filled in.
#[derive(Clone, Debug, Default, Args)]
pub struct GenericArgs {
    /// What stands right before a message's number ({seq}); giving it makes the run generic.
    #[arg(long, requires = "publish")]
    pub marker: Option<String>,
    /// The frame that subscribes; none where connecting is enough.
    #[arg(long, requires = "marker")]
    pub subscribe: Option<String>,
    /// A text in the frame that says the subscription stands; none where no such frame comes.
    #[arg(long, requires = "marker")]
    pub ready: Option<String>,
    /// The message to publish, as a frame, or as a POST's body where --publish-url is given.
    #[arg(long, requires = "marker")]
    pub publish: Option<String>,
    /// Where to POST messages.
    #[arg(long, requires = "marker")]
    pub publish_url: Option<String>,
}

/// Subscribers in rooms, changes at a pace.
#[derive(Clone, Debug, Args)]
pub struct FanoutArgs {
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
    /// The subscribers.
    #[command(flatten)]
    pub crowd: CrowdArgs,
    /// The changes.
    #[command(flatten)]
    pub load: LoadArgs,
    /// The language, if not slotcast's.
    #[command(flatten)]
    pub generic: GenericArgs,
    /// Quiet time once all are connected, at whose end idle memory is taken.
    #[arg(long, default_value_t = 3.0)]
    pub settle_secs: f64,
    /// A Redis to call a bare script on, as often as a change is made, between the changes.
    #[arg(long)]
    pub bare_redis: Option<String>,
    /// A MySQL, with slotcast's tables, to make a bare transaction on, likewise.
    #[arg(long, conflicts_with = "bare_redis")]
    pub bare_mysql: Option<String>,
    /// Process ids of the server's database, comma-separated.
    #[arg(long = "store-pid", value_delimiter = ',')]
    pub store_pids: Vec<u32>,
}

/// Rooms that each hold one selection, on one gateway; their subscribers on another, which has the same store.
#[derive(Clone, Debug, Args)]
pub struct HoldArgs {
    /// The gateway of the subscribers, one a room.
    #[command(flatten)]
    pub server: ServerArgs,
    /// The gateway of the clients that hold the selections, one a room: its ws:// URL.
    #[arg(long)]
    pub select_at: String,
    /// Its process ids, comma-separated.
    #[arg(long = "select-pid", value_delimiter = ',')]
    pub select_pids: Vec<u32>,
    /// Process ids of the database, comma-separated.
    #[arg(long = "store-pid", value_delimiter = ',')]
    pub store_pids: Vec<u32>,
    /// How many; with 0, both gateways are idle.
    #[arg(long, default_value_t = 100)]
    pub rooms: usize,
    /// The first room's employee; the others follow it.
    #[arg(long, default_value_t = 1)]
    pub first_employee: usize,
    /// How many selections a second are made before the measurement.
    #[arg(long, default_value_t = 100.0)]
    pub rate: f64,
    /// How long is measured.
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
}

/// One subscriber that stops reading among many.
#[derive(Clone, Debug, Args)]
pub struct ConflateArgs {
    /// The server, which must be slotcast.
    #[command(flatten)]
    pub server: ServerArgs,
    /// The subscribers that go on reading.
    #[command(flatten)]
    pub crowd: CrowdArgs,
    /// The changes, made twice: without and with the stalled subscriber.
    #[command(flatten)]
    pub load: LoadArgs,
}

/// Honest clients, quiet and under attack.
#[derive(Clone, Debug, Args)]
pub struct HostileArgs {
    /// The server, which must be slotcast.
    #[command(flatten)]
    pub server: ServerArgs,
    /// The honest subscribers.
    #[command(flatten)]
    pub crowd: CrowdArgs,
    /// The honest changes, made twice: without and with the attackers.
    #[command(flatten)]
    pub load: LoadArgs,
    /// How many attackers, in percent of a full attack: some 2,500 sockets.
    #[arg(long, default_value_t = 100)]
    pub strength: usize,
    /// How long the attack goes on before it is measured.
    #[arg(long, default_value_t = 5.0)]
    pub settle_secs: f64,
}

/// Requests over kept connections.
#[derive(Clone, Debug, Args)]
pub struct PollArgs {
    /// The server; its URL names the path.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Kept connections, each with one request at a time.
    #[arg(long, default_value_t = 32)]
    pub connections: usize,
    /// Requests a second over all connections; 0: each connection as fast as answers come.
    #[arg(long, default_value_t = 0.0)]
    pub rate: f64,
    /// How long.
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// The method.
    #[arg(long, default_value = "GET")]
    pub method: String,
    /// The first employee in a body.
    #[arg(long, default_value_t = 1)]
    pub first_employee: usize,
    /// The body; {date} is filled in, and for each request {employee_id} and {time}, a slot of its own among those of 50
    /// employees, and {n}, an employee of its own.
    #[arg(long, default_value = "")]
    pub body: String,
    /// The body's type.
    #[arg(long, default_value = "application/x-www-form-urlencoded; charset=UTF-8")]
    pub content_type: String,
}

/// Bookings without a server.
#[derive(Clone, Debug, Args)]
pub struct BareArgs {
    /// A MySQL with WordPress', AppointEase's and slotcast's tables, prefix wp_: its mysql:// URL.
    #[arg(long)]
    pub mysql: String,
    /// The scenario's name: its rows in the table.
    #[arg(long, default_value = "")]
    pub title: String,
    /// How long.
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Also write the report here, as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// Which reports to print.
#[derive(Clone, Debug, Args)]
pub struct TableArgs {
    /// Files written with --json.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
}

impl CrowdArgs {
    /// The rooms' names.
    pub(crate) fn rooms(&self) -> Result<Rooms, LoadError> {
        if self.subscribers < self.rooms || self.rooms == 0 {
            return Err(LoadError::Usage("every room needs a subscriber".to_owned()));
        }
        let date = self.date.clone().unwrap_or_else(tomorrow);
        Ok(Rooms { date, first_employee: self.first_employee })
    }
}

/// The day after today in UTC.
pub(crate) fn tomorrow() -> String {
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    today.tomorrow().unwrap_or(today).to_string()
}

impl LoadArgs {
    /// What is done to a slot.
    pub(crate) fn change(&self) -> Change {
        match (&self.insert_by, self.confirm) {
            (Some(_), _) => Change::Insert,
            (None, true) => Change::Confirm,
            (None, false) => Change::Select,
        }
    }

    /// Publishers for so many rooms.
    pub(crate) fn publishers(&self, rooms: usize) -> Result<usize, LoadError> {
        if self.rate <= 0.0 || !self.rate.is_finite() {
            return Err(LoadError::Usage("--rate must be above 0".to_owned()));
        }
        let gentle = (self.rate / 2.0).ceil() as usize;
        let wanted = self.publishers.unwrap_or(gentle).max(rooms);
        // A whole number per room, so that every room gets as many changes.
        Ok(wanted.div_ceil(rooms) * rooms)
    }
}

impl GenericArgs {
    /// The language to speak and where changes go.
    pub(crate) fn dialect(&self, rooms: Rooms, target: &Target) -> Result<(Dialect, Outlet), LoadError> {
        let (Some(marker), Some(publish)) = (&self.marker, &self.publish) else {
            return Ok((Dialect::Slotcast(rooms), Outlet::Frames(target.clone())));
        };
        let generic = Generic {
            subscribe: self.subscribe.clone(),
            ready: self.ready.clone(),
            marker: marker.clone(),
            publish: publish.clone(),
        };
        generic.validate()?;
        let outlet = match &self.publish_url {
            Some(url) => Outlet::Posts(Target::parse(url)?),
            None => Outlet::Frames(target.clone()),
        };
        Ok((Dialect::Generic(rooms, generic), outlet))
    }
}
