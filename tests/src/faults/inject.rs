//! Makes a fault happen to an installation, and heals it.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use topics::clock::Clock;

use super::fault::Kind;
use super::scene::Scene;
use super::stand::Role;

/// Longer than a session lasts (6 s): the group has given the partitions away.
const ZOMBIE_TIME: Duration = Duration::from_secs(9);
/// How long a killed process is gone: long enough, sometimes, that its fellow takes over.
const GONE_TIMES: [Duration; 3] = [Duration::ZERO, Duration::from_secs(2), Duration::from_secs(9)];
const BROKER_LOST_TIME: Duration = Duration::from_secs(15);
const STORE_AWAY_TIME: Duration = Duration::from_secs(20);
/// A slow store: locked for so long, then free for so long, so often.
const SLOW: (Duration, Duration, u32) = (Duration::from_millis(900), Duration::from_millis(100), 10);

/// Makes a fault happen, and returns once its cause is gone: ms since 1970 UTC.
pub async fn inject(kind: Kind, scene: &mut Scene, random: &mut StdRng) -> i64 {
    match kind {
        Kind::KillAll => kill(scene, Role::Everything, random).await,
        Kind::KillRepo => kill(scene, Role::Repo, random).await,
        Kind::KillDedupe => kill(scene, Role::Dedupe, random).await,
        Kind::KillPersist => kill(scene, Role::Persist, random).await,
        Kind::KillFanOut => kill(scene, Role::FanOut, random).await,
        Kind::KillLargeGroup => kill(scene, Role::LargeGroup, random).await,
        Kind::KillGateway => kill(scene, Role::Gateway, random).await,
        Kind::Zombie => zombie(scene, random).await,
        Kind::BrokerLost => {
            let node = random.random_range(1..=brokers(scene).nodes());
            brokers(scene).kill_node(node).await;
            scene.go_on(BROKER_LOST_TIME).await;
            brokers(scene).start_again().await;
        }
        Kind::BrokersKilled => {
            brokers(scene).kill().await;
            brokers(scene).start_again().await;
        }
        Kind::StoreLocked => {
            let held = scene.stand.store.hold().await;
            scene.go_on(STORE_AWAY_TIME).await;
            scene.stand.store.let_go(held).await;
        }
        Kind::StoreKilled => scene.stand.store.kill().await,
        Kind::StoreSlow => {
            let (locked, free, times) = SLOW;
            for _ in 0..times {
                let held = scene.stand.store.hold().await;
                scene.go_on(locked).await;
                scene.stand.store.let_go(held).await;
                scene.go_on(free).await;
            }
        }
        Kind::DiskFull | Kind::DamagedFiles => unreachable!("has a scene of its own"),
    }
    Clock::system().now_ms()
}

async fn kill(scene: &mut Scene, role: Role, random: &mut StdRng) {
    let parts = scene.stand.parts_of(role);
    let at = parts[random.random_range(0..parts.len())];
    scene.stand.kill(at).await;
    let gone = GONE_TIMES[random.random_range(0..GONE_TIMES.len())];
    scene.go_on(gone).await;
    scene.stand.start(at).await;
}

async fn zombie(scene: &mut Scene, random: &mut StdRng) {
    const STAGES: [Role; 4] = [Role::Dedupe, Role::Persist, Role::FanOut, Role::LargeGroup];
    let parts = scene.stand.parts_of(STAGES[random.random_range(0..STAGES.len())]);
    let at = parts[random.random_range(0..parts.len())];
    scene.stand.signal(at, "STOP").await;
    scene.go_on(ZOMBIE_TIME).await;
    scene.stand.signal(at, "CONT").await;
}

fn brokers(scene: &Scene) -> &crate::broker::Broker {
    scene.stand.brokers.as_ref().expect("this fault is of an installation on Kafka")
}
