use std::time::Duration;

use super::*;

const REQUEST: Duration = Duration::from_secs(30);
const IDLE: Duration = Duration::from_secs(60);

fn seats(connections_max: usize, connections_an_address_max: usize) -> Arc<Seats> {
    let proxies = vec!["10.0.0.0/8".parse().unwrap()];
    let (request_time, idle_time) = (REQUEST, IDLE);
    let limits = Limits { connections_max, connections_an_address_max, request_time, idle_time, proxies };
    Arc::new(Seats::new("test", limits))
}

fn at(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Whether a connection may stay.
fn stays(seat: &Seat) -> bool {
    seat.seats.table().seats.contains_key(&seat.id)
}

#[test]
fn an_address_at_its_bound_replaces_its_own_and_nobody_elses() {
    let (seats, now) = (seats(100, 3), Instant::now());
    let other = seats.enter(at("203.0.113.1"), now).unwrap();
    let held: Vec<_> = (0..50).map(|_| seats.enter(at("203.0.113.9"), now).unwrap()).collect();
    assert!(stays(&other));
    let staying: Vec<_> = (0..50).filter(|&n| stays(&held[n])).collect();
    assert_eq!(staying, [47, 48, 49], "the oldest lost their seats");
    assert!(seats.many_are_leaving());
    drop(held);
    let table = seats.table();
    let left = (table.all.taken, table.leaving, table.addresses.len());
    assert_eq!(left, (1, 0, 1), "each seat is freed once");
}

#[test]
fn a_full_table_replaces_what_goes_longest_without_finishing_a_request() {
    let (seats, now) = (seats(3, 3), Instant::now());
    let [a, b, c] = [1, 2, 3].map(|n| seats.enter(IpAddr::from([203, 0, 113, n]), now).unwrap());
    a.finishes();
    let d = seats.enter(at("203.0.113.4"), now).unwrap();
    assert_eq!([&a, &b, &c, &d].map(stays), [true, false, true, true]);
    for seat in [&a, &c, &d] {
        let _ = seat.keep(at("203.0.113.5"));
    }
    assert_eq!(seats.enter(at("203.0.113.6"), now).err(), Some(Crowded), "all are kept");
    assert_eq!([&a, &c, &d].map(stays), [true; 3]);
}

#[tokio::test(start_paused = true)]
async fn who_is_slow_or_idle_loses_the_seat_and_who_is_kept_does_not() {
    let (seats, start) = (seats(100, 100), Instant::now());
    let [slow, idle, kept] = [1, 2, 3].map(|n| seats.enter(IpAddr::from([203, 0, 113, n]), start).unwrap());
    kept.keep(at("203.0.113.3")).unwrap();
    idle.finishes();
    let look = |after: Duration| {
        seats.end_slow(start + after);
        [&slow, &idle, &kept].map(stays)
    };
    assert_eq!(look(REQUEST - Duration::from_secs(1)), [true, true, true]);
    assert_eq!(look(REQUEST), [false, true, true]);
    slow.lost().await;
    assert_eq!(look(IDLE - Duration::from_secs(1)), [false, true, true]);
    tokio::time::advance(IDLE - Duration::from_secs(1)).await;
    idle.begins();
    assert_eq!(look(IDLE), [false, true, true], "a request has its own time");
    assert_eq!(look(IDLE + REQUEST), [false, false, true]);
    idle.lost().await;
    drop([slow, idle, kept]);
    assert_eq!(seats.table().all.taken, 0);
}

#[test]
fn a_proxys_connections_count_to_the_clients_they_are_kept_for() {
    let (seats, now) = (seats(100, 8), Instant::now());
    let connections: Vec<_> = (0..20).map(|_| seats.enter(at("10.0.0.1"), now).unwrap()).collect();
    let kept: Vec<_> = connections.iter().filter(|seat| seat.keep(at("203.0.113.9")).is_ok()).collect();
    assert_eq!(kept.len(), 7, "one in eight is for requests");
    assert!(connections[10].keep(at("203.0.113.8")).is_ok());
    assert!(connections.iter().all(stays));
    drop(connections);
    let table = seats.table();
    assert!(table.addresses.is_empty() && table.all.kept == 0);
}

#[test]
fn a_customer_of_ipv6_is_one_address() {
    let (seats, now) = (seats(100, 1), Instant::now());
    let first = seats.enter(at("2001:db8:1:2:3::4"), now).unwrap();
    let _second = seats.enter(at("2001:db8:1:2:ffff::1"), now).unwrap();
    assert!(!stays(&first));
    let [_mapped, _next] = ["::ffff:203.0.113.9", "2001:db8:1:3::1"].map(|peer| seats.enter(at(peer), now).unwrap());
    assert_eq!(seats.table().all.taken, 3);
}
