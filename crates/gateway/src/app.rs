//! The composition root: from a configuration to a running gateway, and to its end.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use slot_state::{
    Calendar, DateWindow, HoldEnded, MySqlConfig, Observation, OpenStore, Room, Selection, Slot, Storage,
    StorageMode, StoreConfig, StoreError, Watcher,
};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::commands::Commands;
use crate::config::{self, Config, Listen, Security, StorageChoice};
use crate::dashboard::Dashboard;
use crate::heartbeat::Elsewhere;
use crate::http::{Listener, Server, Tls, TlsFailure};
use crate::observe::metrics::{CodeLabel, KindLabel, Metrics};
use crate::observe::operations::Recent;
use crate::observe::window::Ending;
use crate::observe::{pulse, sampling};
use crate::outbox::Courier;
use crate::presence::Presence;
use crate::protocol::error::RequestError;
use crate::protocol::legacy::{Sender, TOKEN};
use crate::protocol::server_frame::ServerFrame;
use crate::reload::Reload;
use crate::rooms::Hub;
use crate::security::limits::Limits;
use crate::security::token::{Grant, Tokens};
use crate::session::Registry;
use crate::wordpress::WordPress;
use crate::{service_manager, shutdown};

/// How long the first browsers wait for a store that does not answer.
const STORE_PATIENCE: Duration = Duration::from_secs(2);

/// What requests and sessions are served with.
pub struct Services {
    /// Carries out requests about slots.
    pub commands: Commands,
    /// Who looks at what.
    pub hub: Arc<Hub>,
    /// The open connections.
    pub connections: Arc<Registry>,
    /// Tells WordPress of bookings; `None` where there is no database.
    pub courier: Option<Arc<Courier>>,
    /// The numbers.
    pub metrics: Arc<Metrics>,
    /// What was measured lately.
    pub recent: Arc<Recent>,
    /// Shows operators how it goes.
    pub dashboard: Arc<Dashboard>,
    /// The days served.
    pub window: DateWindow,
    /// How long a lock lasts.
    pub lock_ttl: Duration,
    /// How often an old page is to poll.
    pub heartbeat_interval: Duration,
    /// Whether `/demo` is served.
    pub demo: bool,
    /// Whether the legacy paths answer.
    pub legacy_enabled: bool,
    /// Answers what old pages say to others; `None` where nobody does.
    pub(crate) elsewhere: Option<Elsewhere>,
    /// Origins, keys and limits, as last configured.
    pub security: ArcSwap<Security>,
    /// Who is who, where it is proven; with the keys last configured.
    pub tokens: ArcSwap<Tokens>,
    /// Whose forwarding headers are believed, how long a stop may take; as last configured.
    pub server: ArcSwap<config::Server>,
    /// Where the configuration was read, for who is told to run a command.
    pub config_file: Option<PathBuf>,
    /// Encrypts connections, where no proxy does.
    pub(crate) tls: Option<Arc<Tls>>,
    /// The process is on its way out: not ready any more.
    pub draining: AtomicBool,
    /// And takes no new browsers.
    pub leaving: AtomicBool,
}

impl Services {
    /// Why it is not ready, if it is not: the deciding store takes no writes, changes do not arrive, or the
    /// process is on its way out.
    pub fn not_ready(&self) -> Option<&'static str> {
        let storage = self.commands.storage();
        if self.draining.load(Ordering::Relaxed) {
            Some("draining")
        } else if !storage.writable {
            Some("the store takes no writes")
        } else if !storage.flowing {
            Some("no events flow from the store")
        } else {
            None
        }
    }

    /// What this token grants; nothing where none is shown, or where there is no key to check it with. An error if it
    /// does not count.
    pub(crate) fn grant(&self, token: Option<&str>) -> Result<Option<Grant>, RequestError> {
        let tokens = self.tokens.load();
        let token = token.filter(|token| !token.is_empty() && tokens.has_keys());
        token.map(|token| tokens.check(token).ok_or(RequestError::Unauthorized)).transpose()
    }

    /// Who sends a legacy request with these fields, as far as it is proven.
    pub(crate) fn sender(&self, fields: &Map<String, Value>) -> Result<Sender, RequestError> {
        let grant = self.grant(fields.get(TOKEN).and_then(Value::as_str))?;
        Ok(Sender { window: self.window, grant })
    }
}

/// Why the gateway could not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken, or not ours.
    #[error("cannot listen on {0}: {1}; choose another with --listen or server.listen")]
    Listen(Listen, io::Error),
    /// The store's address is none.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The certificate is of no use.
    #[error(transparent)]
    Tls(#[from] TlsFailure),
    /// Signals cannot be received.
    #[error("cannot wait for signals: {0}")]
    Signals(io::Error),
}

/// Runs until SIGTERM or SIGINT, then says goodbye and drains.
pub async fn serve(config: Config, reload: Reload) -> Result<(), ServeError> {
    let listener = Listener::open(&config.server.listen)
        .await
        .map_err(|error| ServeError::Listen(config.server.listen.clone(), error))?;
    let stop = shutdown::signal().map_err(ServeError::Signals)?;
    let hangups = shutdown::hangups().map_err(ServeError::Signals)?;
    let (services, mut tasks) = compose(&config, reload.sources.file.clone())?;
    let listen = listener.to_string();
    let storage = services.commands.storage().mode.as_str();
    let guidance = match &listener {
        Listener::Tcp(_) => {
            let s = if services.tls.is_some() { "s" } else { "" };
            format!("browsers connect to ws{s}://{listen}/ws; http{s}://{listen}/ lists every path")
        }
        Listener::Unix(..) => "a proxy passes /ws on to this socket file; / lists every path".to_owned(),
    };
    tracing::info!(event = "listening", listen, storage, "{guidance}");
    know_the_rooms(&services).await;
    let server = Server::start(listener, services.clone());
    tasks.spawn(reload.run(hangups, services.clone(), config));
    tasks.spawn(service_manager::give_signs_of_life(services.clone()));
    service_manager::ready();
    stop.await;
    service_manager::stopping();
    tracing::info!(event = "stopping", connections = services.connections.count());
    services.dashboard.close();
    let patience = services.server.load().drain();
    shutdown::drain(&services, server, patience).await;
    tasks.shutdown().await;
    sampling::tell();
    tracing::info!(event = "stopped");
    Ok(())
}

/// Waits until the store has been read, or does not answer: until then rooms would look empty. Who connects meanwhile
/// waits in the kernel.
async fn know_the_rooms(services: &Services) {
    let mut storage = services.commands.store.storage();
    let known = storage.wait_for(|storage| storage.writable && storage.flowing);
    // A store that is away does not stop the start: rooms are marked stale.
    let _ = timeout(STORE_PATIENCE, known).await;
}

fn compose(
    config: &Config,
    config_file: Option<PathBuf>,
) -> Result<(Arc<Services>, JoinSet<()>), ServeError> {
    let zone = config.mysql.zone();
    let fixed_zone = zone.is_some();
    let OpenStore { store, picture, bookings, outbox, mut tasks } = slot_state::open(&StoreConfig {
        redis_url: config.redis.url.as_ref().map(|url| url.expose().to_owned()),
        redis_command_timeout: config.redis.command_timeout(),
        mysql: config.mysql.url.as_ref().map(|url| MySqlConfig {
            url: url.expose().to_owned(),
            table_prefix: config.mysql.table_prefix.clone(),
            appointments_table: config.mysql.appointments_table().map(str::to_owned),
            command_timeout: Duration::from_millis(config.mysql.command_timeout_ms),
            sweep_every: Duration::from_millis(config.mysql.sweep_ms),
        }),
        lock_ttl: config.slots.lock_ttl(),
        calendar: Calendar::always_open(zone.unwrap_or(TimeZone::UTC), config.slots.grid()),
        fixed_zone,
        availability_ttl: config.slots.availability_ttl(),
    })?;
    let metrics = Arc::new(Metrics::default());
    let recent = Arc::new(Recent::default());
    metrics.storage_writable.set(i64::from(store.storage().borrow().writable));
    let connections = Arc::new(Registry::default());
    let presence = Presence::new(store.clone(), picture.clone(), config.slots.selection_ttl());
    let hub = Hub::new(picture.clone(), store.storage(), config.slots.coalesce(), metrics.clone());
    let watcher = Arc::new(Watching {
        hub: hub.clone(),
        presence: presence.clone(),
        connections: connections.clone(),
        metrics: metrics.clone(),
        recent: recent.clone(),
    });
    let weak: Weak<Watching> = Arc::downgrade(&watcher);
    picture.watch(weak);
    tasks.spawn(presence.clone().run());
    tasks.spawn(connections.clone().run());
    tasks.spawn(pulse::run(metrics.clone()));
    let wordpress = config.legacy.upstream.as_ref().map(WordPress::new);
    let courier =
        outbox.map(|outbox| Courier::new(outbox, wordpress.as_ref(), &config.security, metrics.clone()));
    if let Some(courier) = &courier {
        tasks.spawn(courier.clone().run());
    }
    let tls = Tls::open(&config.server, metrics.tls_certificate_expiry.clone())?;
    if let Some(tls) = &tls {
        tasks.spawn(tls.clone().run());
    }
    let services = Services {
        commands: Commands {
            store,
            picture,
            bookings,
            presence,
            limits: Limits::new(&config.security),
            metrics: metrics.clone(),
            recent: recent.clone(),
            bookings_in: bookings_in(config),
            selection_ttl: config.slots.selection_ttl(),
        },
        hub,
        connections,
        courier,
        metrics,
        recent,
        dashboard: Arc::default(),
        window: DateWindow { horizon_days: config.slots.horizon_days },
        lock_ttl: config.slots.lock_ttl(),
        heartbeat_interval: config.slots.heartbeat_interval(),
        demo: config.server.demo,
        legacy_enabled: config.legacy.enabled,
        elsewhere: wordpress.and_then(|wordpress| match wordpress {
            Ok(wordpress) => Some(Elsewhere::new(wordpress)),
            Err(lack) => {
                tracing::warn!(event = "wordpress_not_asked", "nothing is passed on to WordPress: {lack}");
                None
            }
        }),
        security: ArcSwap::from_pointee(config.security.clone()),
        tokens: ArcSwap::from_pointee(Tokens::new(&config.security.token_keys)),
        server: ArcSwap::from_pointee(config.server.clone()),
        config_file,
        tls,
        draining: AtomicBool::new(false),
        leaving: AtomicBool::new(false),
    };
    let services = Arc::new(services);
    tasks.spawn(crate::dashboard::run(services.clone()));
    // The picture knows the watcher weakly; this task keeps it for as long as the gateway runs.
    tasks.spawn(async move {
        let _watcher = watcher;
        std::future::pending::<()>().await;
    });
    Ok((services, tasks))
}

/// Where bookings are kept, as far as there is a place.
fn bookings_in(config: &Config) -> StorageMode {
    match config.storage() {
        StorageChoice::Memory => StorageMode::Memory,
        StorageChoice::Redis => StorageMode::Redis,
        StorageChoice::RedisAndMysql | StorageChoice::Mysql => StorageMode::Mysql,
    }
}

/// Passes on what the picture tells.
struct Watching {
    hub: Arc<Hub>,
    presence: Arc<Presence>,
    connections: Arc<Registry>,
    metrics: Arc<Metrics>,
    recent: Arc<Recent>,
}

impl Watcher for Watching {
    fn room_changed(&self, room: Room) {
        self.hub.room_changed(room);
    }

    fn selected(&self, slot: Slot, selection: &Selection) {
        self.presence.on_selected(slot, selection);
    }

    fn hold_ended(&self, ended: HoldEnded) {
        self.metrics.count_end(&ended);
        if !ended.late.is_zero() {
            self.metrics.expiry_lag.observe(ended.late.as_secs_f64());
            self.recent.expiry_lag.note(ended.late, Ending::Well);
        }
        self.presence.on_hold_ended(&ended);
    }

    fn live_rooms(&self) -> Vec<Room> {
        self.hub.live_rooms()
    }

    fn is_live(&self, room: Room) -> bool {
        self.hub.is_live(room)
    }

    fn read_anew(&self) {
        self.hub.read_anew();
    }

    fn storage_changed(&self, storage: Storage) {
        self.metrics.storage_writable.set(i64::from(storage.writable));
        self.metrics.storage_changes.inc();
        self.hub.storage_changed();
        let frame = ServerFrame::Storage { storage: storage.into() }.encode();
        self.connections.send_to_all(&frame);
    }

    fn observed(&self, observation: Observation) {
        match observation {
            Observation::EventLag(lag) => {
                self.metrics.event_lag.observe(lag.as_secs_f64());
                self.recent.event_lag.note(lag, Ending::Well);
            }
            Observation::StoreTime(time) => {
                self.metrics.store_time.observe(time.as_secs_f64());
                self.recent.store_time.note(time, Ending::Well);
            }
            Observation::StoreDown(store) => self.metrics.count_outage(store.as_str()),
            Observation::StoreError(kind) => {
                _ = self.metrics.store_errors.get_or_create(&KindLabel { kind }).inc()
            }
            Observation::BookingFailed(code) => {
                _ = self.metrics.bookings_failed.get_or_create(&CodeLabel { code }).inc()
            }
            Observation::ForeignSkipped => _ = self.metrics.foreign_skipped.inc(),
            Observation::Repaired(slots) => _ = self.metrics.repaired.inc_by(slots as u64),
            Observation::Resync => _ = self.metrics.resyncs.inc(),
        }
    }
}
