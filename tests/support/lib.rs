//! Builders for end-to-end tests: real servers, real browsers' frames, real network faults.
//! A test starts what it needs on ports the system picks, and everything ends with the test.

mod binary;
mod booking;
mod bridge;
mod certificate;
mod eventually;
mod fault_proxy;
mod gateway;
mod legacy_page;
mod live_view;
mod logs;
mod maria_db;
mod maria_template;
mod mysql_truth;
mod page;
mod php;
mod raw_socket;
mod redis_server;
mod redis_truth;
mod reserved_port;
mod room;
mod wordpress;

pub use binary::{run_slotcast, slotcast_binary, spawn_slotcast};
pub use booking::CUSTOMER_WORDS;
pub use bridge::Bridge;
pub use certificate::Certificate;
pub use eventually::{PATIENCE, eventually, holds_for};
pub use fault_proxy::{FaultProxy, Towards};
pub use gateway::{Gateway, GatewayBuilder, Stopped};
pub use legacy_page::{Answer, LegacyPage};
pub use live_view::{LiveView, View};
pub use logs::Logs;
pub use maria_db::MariaDb;
pub use mysql_truth::{StoredHolds, stored_holds};
pub use page::{Page, PageBuilder, Reply};
pub use php::Php;
pub use raw_socket::{RawAnswer, RawFrame, RawSocket, raw_http};
pub use redis_server::RedisServer;
pub use redis_truth::{holder_of, holds_in, view_in};
pub use reserved_port::ReservedPort;
pub use room::{Room, in_days, tomorrow};
pub use wordpress::WordPress;
