//! Tests of the limits, on a clock that stands still.

use super::super::frames::Verdict;
use super::super::rates::FORGET_EVERY;
use super::*;

fn limits(change: impl FnOnce(&mut Security)) -> Limits {
    let mut security = Security::default();
    change(&mut security);
    Limits::new(&security)
}

fn from(address: &str) -> ClientAddress {
    ClientAddress::Known(address.parse().unwrap())
}

#[tokio::test(start_paused = true)]
async fn writes_are_limited_by_client_and_by_address() {
    let limits = limits(|security| {
        security.writes_per_second = 1;
        security.writes_per_second_per_address = 2;
    });
    let accepted =
        |client: &str, address| (0..20).filter(|_| limits.check_write(Some(client), address)).count();
    assert_eq!(accepted("a", from("192.0.2.1")), 4);
    assert_eq!(accepted("b", from("192.0.2.1")), 4);
    assert_eq!(accepted("c", from("192.0.2.1")), 0, "the address has used its eight");
    assert_eq!(accepted("d", from("192.0.2.2")), 4);
    let proxy = ClientAddress::UntrustedProxy("198.51.100.1".parse().unwrap());
    for client in ["e", "f", "g", "h"] {
        assert_eq!(accepted(client, proxy), 4, "no address rule behind a proxy that is not trusted");
    }
}

#[tokio::test(start_paused = true)]
async fn looks_at_new_rooms_are_limited_by_address() {
    let looked = |limits: &Limits, address| (0..1_000).filter(|_| limits.check_new_room(address)).count();
    let limits = limits(|security| security.new_rooms_per_second_per_address = 3);
    assert_eq!(looked(&limits, from("192.0.2.1")), 12);
    assert_eq!(looked(&limits, from("192.0.2.2")), 12);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(looked(&limits, from("192.0.2.1")), 3);
    let proxy = ClientAddress::UntrustedProxy("198.51.100.1".parse().unwrap());
    assert_eq!((looked(&limits, proxy), looked(&limits, ClientAddress::None)), (1_000, 1_000));
    let unchanged = Security { new_rooms_per_second_per_address: 3, ..Security::default() };
    limits.change(&Security { new_rooms_per_second_per_address: 0, ..unchanged });
    assert_eq!(looked(&limits, from("192.0.2.1")), 1_000);
    let months_of_five = 5 * 31;
    let usual = Limits::new(&Security::default());
    assert!((0..months_of_five).all(|_| usual.check_new_room(from("192.0.2.1"))));
}

#[tokio::test(start_paused = true)]
async fn quiet_clients_are_forgotten() {
    let limits = limits(|_| ());
    for number in 0..1_000 {
        assert!(limits.check_write(Some(&format!("client-{number}")), ClientAddress::None));
    }
    tokio::time::advance(FORGET_EVERY * 2).await;
    assert!(limits.check_write(Some("another"), ClientAddress::None));
    assert_eq!(limits.0.rates.load().writes_of_client.as_ref().unwrap().len(), 1);
}

#[test]
fn connections_are_counted_by_address_and_in_all_until_their_permit_goes() {
    let limits = limits(|security| {
        security.max_connections = 3;
        security.max_connections_per_address = 2;
    });
    let first = limits.admit(from("192.0.2.1")).unwrap();
    let second = limits.admit(from("::ffff:192.0.2.1")).unwrap();
    assert_eq!(limits.admit(from("192.0.2.1")).unwrap_err(), Refused::AddressFull);
    let third = limits.admit(from("192.0.2.2")).unwrap();
    assert_eq!(limits.admit(from("192.0.2.3")).unwrap_err(), Refused::Full);
    drop(first);
    let again = limits.admit(from("192.0.2.1")).unwrap();
    drop((second, third, again));
    assert_eq!(limits.connections(), 0);
    assert!(limits.0.connections.open.lock().by_address.is_empty());
}

#[test]
fn plain_http_is_counted_apart_and_not_for_who_forwards_for_many() {
    let limits = limits(|security| {
        security.max_connections = 2;
        security.max_connections_per_address = 1;
    });
    let _socket = limits.admit(from("192.0.2.1")).unwrap();
    let first = limits.admit_http(from("192.0.2.1")).unwrap();
    assert_eq!(limits.admit_http(from("192.0.2.1")).unwrap_err(), Refused::AddressFull);
    let second = limits.admit_http(from("192.0.2.2")).unwrap();
    assert_eq!(limits.admit_http(from("192.0.2.3")).unwrap_err(), Refused::Full);
    assert!(limits.admit_http(ClientAddress::None).unwrap().is_none());
    assert_eq!(limits.connections(), 1, "WebSockets alone");
    drop((first, second));
    assert!(limits.admit_http(from("192.0.2.3")).unwrap().is_some());
    limits.change(&Security { max_connections_per_address: 2, ..Security::default() });
    let both = [(); 3].map(|()| limits.admit_http(from("192.0.2.1")));
    assert_eq!(both.map(|admitted| admitted.is_ok()), [true, true, false]);
}

#[test]
fn one_ipv6_network_is_one_address() {
    let limits = limits(|security| security.max_connections_per_address = 1);
    let _permit = limits.admit(from("2001:db8:0:1::1")).unwrap();
    assert!(limits.admit(from("2001:db8:0:1:ffff::2")).is_err());
    assert!(limits.admit(from("2001:db8:0:2::1")).is_ok());
}

#[test]
fn zero_means_no_limit_and_an_untrusted_proxy_has_none_by_address() {
    let limits = limits(|security| {
        security.max_connections_per_address = 1;
        security.frames_per_second = 0;
        security.bytes_per_second = 0;
        security.writes_per_second = 0;
        security.writes_per_second_per_address = 0;
    });
    let proxy = ClientAddress::UntrustedProxy("198.51.100.1".parse().unwrap());
    let permits: Vec<_> = (0..100).map(|_| limits.admit(proxy).unwrap()).collect();
    assert_eq!(limits.connections(), 100);
    drop(permits);
    let mut frames = limits.frame_limiter();
    assert!((0..10_000).all(|_| frames.check(10_000) == Verdict::Ok));
    assert!((0..10_000).all(|_| limits.check_write(Some("a"), from("192.0.2.1"))));
}

#[test]
fn a_connections_place_is_small() {
    assert!(size_of::<ConnectionPermit>() <= 32, "{}", size_of::<ConnectionPermit>());
}
