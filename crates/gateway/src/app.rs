//! The composition root: from a configuration to a running gateway, and to its end.

use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use jiff::tz::TimeZone;
use slot_state::{
    Calendar, DateWindow, HoldEnded, MySqlConfig, Observation, OpenStore, Room, Storage, StoreConfig,
    StoreError, Watcher,
};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::commands::Commands;
use crate::config::{Config, Listen, Security};
use crate::heartbeat::Elsewhere;
use crate::http;
use crate::observe::metrics::{KindLabel, Metrics};
use crate::outbox::Courier;
use crate::presence::Presence;
use crate::protocol::server_frame::ServerFrame;
use crate::rooms::Hub;
use crate::security::address::TrustedProxies;
use crate::security::limits::Limits;
use crate::security::token::Tokens;
use crate::session::Registry;
use crate::shutdown;
use crate::wordpress::WordPress;

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
    /// The days served.
    pub window: DateWindow,
    /// How long a lock lasts.
    pub lock_ttl: Duration,
    /// How often an old page is to poll.
    pub heartbeat_interval: Duration,
    /// 0 = any number.
    pub max_rooms_per_connection: usize,
    /// Whether `/demo` is served.
    pub demo: bool,
    /// Whether the legacy paths answer.
    pub legacy_enabled: bool,
    /// Answers what old pages say to others; `None` where nobody does.
    pub(crate) elsewhere: Option<Elsewhere>,
    /// Origins and keys.
    pub security: Security,
    /// Who is who, where it is proven.
    pub tokens: Tokens,
    /// Whose forwarding headers are believed.
    pub trusted_proxies: TrustedProxies,
    /// The process is on its way out: not ready any more.
    pub draining: AtomicBool,
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
    /// Signals cannot be received.
    #[error("cannot wait for signals: {0}")]
    Signals(io::Error),
}

/// Runs until SIGTERM or SIGINT.
pub async fn serve(config: Config) -> Result<(), ServeError> {
    let address = config.server.listen.clone();
    let listener = match &address {
        Listen::Tcp(tcp) => TcpListener::bind(tcp).await,
        Listen::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
    };
    let listener = listener.map_err(|error| ServeError::Listen(address, error))?;
    let signal = shutdown::signal().map_err(ServeError::Signals)?;
    run(listener, config, signal).await
}

/// Runs on a listener until `stop` ends, then says goodbye and drains.
pub async fn run(
    listener: TcpListener,
    config: Config,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let (services, mut tasks) = compose(&config)?;
    let listen = listener.local_addr().map(|address| address.to_string()).unwrap_or_default();
    let storage = services.commands.storage().mode.as_str();
    tracing::info!(
        event = "listening",
        listen,
        storage,
        "browsers connect to ws://{listen}/ws; http://{listen}/ lists every path"
    );
    let server = http::Server::start(listener, services.clone());
    stop.await;
    tracing::info!(event = "stopping", connections = services.connections.count());
    services.draining.store(true, Ordering::Relaxed);
    services.commands.presence.drain();
    shutdown::drain(&services, server, config.server.drain()).await;
    tasks.shutdown().await;
    tracing::info!(event = "stopped");
    Ok(())
}

fn compose(config: &Config) -> Result<(Arc<Services>, JoinSet<()>), StoreError> {
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
    metrics.storage_writable.set(i64::from(store.storage().borrow().writable));
    let connections = Arc::new(Registry::default());
    let presence = Presence::new(store.clone(), picture.clone(), config.slots.selection_ttl());
    let hub = Hub::new(picture.clone(), store.storage(), config.slots.coalesce(), metrics.clone());
    let watcher = Arc::new(Watching {
        hub: hub.clone(),
        presence: presence.clone(),
        connections: connections.clone(),
        metrics: metrics.clone(),
    });
    let weak: Weak<Watching> = Arc::downgrade(&watcher);
    picture.watch(weak);
    tasks.spawn(presence.clone().run());
    tasks.spawn(connections.clone().run());
    let wordpress = config.legacy.upstream.as_ref().map(WordPress::new);
    let courier =
        outbox.map(|outbox| Courier::new(outbox, wordpress.as_ref(), &config.security, metrics.clone()));
    if let Some(courier) = &courier {
        tasks.spawn(courier.clone().run());
    }
    let services = Services {
        commands: Commands {
            store,
            picture,
            bookings,
            presence,
            limits: Limits::new(&config.security),
            metrics: metrics.clone(),
            selection_ttl: config.slots.selection_ttl(),
        },
        hub,
        connections,
        courier,
        metrics,
        window: DateWindow { horizon_days: config.slots.horizon_days },
        lock_ttl: config.slots.lock_ttl(),
        heartbeat_interval: config.slots.heartbeat_interval(),
        max_rooms_per_connection: config.security.max_rooms_per_connection as usize,
        demo: config.server.demo,
        legacy_enabled: config.legacy.enabled,
        elsewhere: wordpress.and_then(|wordpress| match wordpress {
            Ok(wordpress) => Some(Elsewhere::new(wordpress)),
            Err(lack) => {
                tracing::warn!(event = "wordpress_not_asked", "nothing is passed on to WordPress: {lack}");
                None
            }
        }),
        security: config.security.clone(),
        tokens: Tokens::new(&config.security.token_keys),
        trusted_proxies: config.server.trusted_proxies.clone(),
        draining: AtomicBool::new(false),
    };
    // The picture knows the watcher weakly; this task keeps it for as long as the gateway runs.
    tasks.spawn(async move {
        let _watcher = watcher;
        std::future::pending::<()>().await;
    });
    Ok((Arc::new(services), tasks))
}

/// Passes on what the picture tells.
struct Watching {
    hub: Arc<Hub>,
    presence: Arc<Presence>,
    connections: Arc<Registry>,
    metrics: Arc<Metrics>,
}

impl Watcher for Watching {
    fn room_changed(&self, room: Room) {
        self.hub.room_changed(room);
    }

    fn hold_ended(&self, ended: HoldEnded) {
        if !ended.late.is_zero() {
            self.metrics.expiry_lag.observe(ended.late.as_secs_f64());
        }
        self.presence.on_hold_ended(&ended);
    }

    fn live_rooms(&self) -> Vec<Room> {
        self.hub.live_rooms()
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
            Observation::EventLag(lag) => self.metrics.event_lag.observe(lag.as_secs_f64()),
            Observation::StoreTime(time) => self.metrics.store_time.observe(time.as_secs_f64()),
            Observation::StoreError(kind) => {
                _ = self.metrics.store_errors.get_or_create(&KindLabel { kind }).inc()
            }
            Observation::ForeignSkipped => _ = self.metrics.foreign_skipped.inc(),
            Observation::Repaired(slots) => _ = self.metrics.repaired.inc_by(slots as u64),
            Observation::Resync => _ = self.metrics.resyncs.inc(),
        }
    }
}
