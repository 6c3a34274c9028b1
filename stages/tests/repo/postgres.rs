//! The store in PostgreSQL: the contract, and what only it has.

use std::time::Duration;

use schemas::ids::Seq;
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};
use stages::repo::ServerConfig;
use stages::repo::model::HistoryRange;
use stages::repo::store::Store;

use crate::contract::store_contract;
use crate::databases::{Database, Kind, OwnServer};
use crate::fixtures::{ANN, pair, text, write};
use crate::servers;

store_contract!(contract, crate::databases::postgres_store);
servers::server_tests!(Kind::Postgres);

/// How long a standby may take to follow.
const FOLLOWS_TIME_MAX: Duration = Duration::from_secs(30);

/// A PostgreSQL with its standby.
struct Pair {
    server: OwnServer,
    database: Database,
    standby: String,
}

impl Pair {
    async fn start() -> Self {
        let server = OwnServer::start(Kind::Postgres).await;
        let database = Database::on(Kind::Postgres, server.url("postgres")).await;
        let query = database.url.split_once('?').unwrap().1;
        let standby = format!("{}?{query}", server.url("postgres_standby"));
        Self { server, database, standby }
    }

    /// How often the standby's messages were looked up by a key.
    async fn reads_of_the_standby(&self) -> i64 {
        let mut standby = PgConnection::connect(&self.standby).await.unwrap();
        let sql = "SELECT coalesce(sum(idx_scan), 0)::bigint FROM pg_stat_user_tables \
                   WHERE relname = 'messages' AND schemaname = current_schema()";
        sqlx::query_as::<_, (i64,)>(sql).fetch_one(&mut standby).await.unwrap().0
    }

    async fn tell_standby(&self, sql: &'static str) {
        PgConnection::connect(&self.standby).await.unwrap().execute(sql).await.unwrap();
    }
}

async fn newest(store: &std::sync::Arc<dyn Store>) -> i64 {
    let page = store.history(pair(), HistoryRange::Newest, Seq(1), 50).await.unwrap();
    let newest = page.messages.last().unwrap().seq_id;
    assert_eq!(newest, page.last_seq);
    newest.0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_is_behind_paused_or_dead_costs_no_answer() {
    let pair_of = Pair::start().await;
    let impatient = ServerConfig { replica_timeout_ms: 300, replica_rest_ms: 200, ..ServerConfig::default() };
    let store = pair_of.database.open_with(std::slice::from_ref(&pair_of.standby), &impatient).await;
    let say_and_read = async |seqs: std::ops::RangeInclusive<i64>| {
        for seq in seqs {
            write(&store, &[text(pair(), seq, ANN, "hi")]).await;
            assert_eq!(newest(&store).await, seq);
        }
    };
    let is_served = async |newest_seq| {
        let before = pair_of.reads_of_the_standby().await;
        let served = async {
            while pair_of.reads_of_the_standby().await == before {
                assert_eq!(newest(&store).await, newest_seq);
            }
        };
        tokio::time::timeout(FOLLOWS_TIME_MAX, served).await.expect("the standby is read");
    };
    write(&store, &[text(pair(), 1, ANN, "hi")]).await;

    // It answers once it has followed.
    is_served(1).await;

    // Paused, it is behind, and not believed.
    pair_of.tell_standby("SELECT pg_wal_replay_pause()").await;
    say_and_read(2..=20).await;
    pair_of.tell_standby("SELECT pg_wal_replay_resume()").await;
    say_and_read(21..=40).await;

    // Suspended, it does not answer; killed, nobody is there.
    pair_of.server.signal("postgres_standby", "STOP").await;
    say_and_read(41..=50).await;
    pair_of.server.signal("postgres_standby", "KILL").await;
    say_and_read(51..=60).await;

    // Started again it follows, and is read again.
    pair_of.server.start_again().await;
    is_served(60).await;
}
