//! What holds of a store on any server: several processes, locks, crashes, replicas.

use std::sync::Arc;
use std::time::Duration;

use schemas::ids::{MessageId, Seq};
use schemas::records::Sequenced;
use sqlx::mysql::MySqlConnection;
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};
use stages::repo::ServerConfig;
use stages::repo::model::HistoryRange;
use stages::repo::store::{Class, Store, StoreError};
use tokio::sync::watch;

use crate::databases::{Database, Kind, OwnServer};
use crate::fixtures::{
    ANN, BEN, before_edits_were_blanked, before_emails_were_unique, check_edits_are_blanked, check_reads_only,
    check_the_oldest_keeps_the_address, pair, text, with_users, write,
};

/// All tests of this module on a kind of server.
macro_rules! server_tests {
    ($kind:expr) => {
        $crate::servers::server_tests!($kind, [
            of_many_processes_that_start_at_once_one_makes_the_tables,
            of_users_with_one_email_address_the_oldest_keeps_it,
            edits_of_messages_that_were_recalled_before_are_blanked,
            a_tool_reads_beside_the_writer_and_changes_nothing,
            a_lock_that_is_held_too_long_is_waited_for_again,
            a_replica_is_read_only_while_it_has_everything,
            an_address_without_a_server_says_so_and_keeps_the_password,
            a_server_killed_amid_batches_has_each_of_them_once,
            a_server_that_stands_still_is_given_up_and_comes_back,
        ]);
    };
    ($kind:expr, [$($test:ident,)*]) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                $crate::servers::$test($kind).await;
            }
        )*
    };
}
pub(crate) use server_tests;

pub async fn of_many_processes_that_start_at_once_one_makes_the_tables(kind: Kind) {
    let database = Arc::new(Database::new(kind).await);
    let mut opening = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let database = Arc::clone(&database);
        opening.spawn(async move { database.open().await });
    }
    for store in opening.join_all().await {
        write(&store, &[text(pair(), 1, ANN, "hi")]).await;
    }
}

pub async fn of_users_with_one_email_address_the_oldest_keeps_it(kind: Kind) {
    let database = Database::new(kind).await;
    with_users(&database.open().await).await;
    let drop_keys = match kind {
        Kind::MariaDb => "DROP TABLE user_emails",
        Kind::Postgres => "DROP INDEX users_by_email",
    };
    for sql in before_emails_were_unique(drop_keys) {
        kind.execute(&database.url, sql).await.unwrap();
    }
    check_the_oldest_keeps_the_address(&database.open().await).await;
}

pub async fn edits_of_messages_that_were_recalled_before_are_blanked(kind: Kind) {
    let database = Database::new(kind).await;
    let drop_keys = match kind {
        Kind::MariaDb => "DROP TABLE message_targets",
        Kind::Postgres => "DROP INDEX messages_by_target",
    };
    for sql in before_edits_were_blanked(&database.open().await, drop_keys).await {
        kind.execute(&database.url, sql).await.unwrap();
    }
    check_edits_are_blanked(&database.open().await).await;
}

pub async fn a_tool_reads_beside_the_writer_and_changes_nothing(kind: Kind) {
    let database = Database::new(kind).await;
    // It makes no tables where there are none.
    let reader = kind.open_read_only(&database.url).await.unwrap();
    reader.user(ANN).await.unwrap_err();
    let writer = database.open().await;
    check_reads_only(&*reader, &writer).await;
}

/// A transaction that holds a conversation.
enum Holder {
    MariaDb(MySqlConnection),
    Postgres(PgConnection),
}

impl Holder {
    async fn hold(database: &Database) -> Self {
        const SQL: &str = "SELECT * FROM conversations FOR UPDATE";
        match database.kind {
            Kind::MariaDb => {
                let mut connection = MySqlConnection::connect(&database.url).await.unwrap();
                connection.execute("BEGIN").await.unwrap();
                connection.execute(SQL).await.unwrap();
                Self::MariaDb(connection)
            }
            Kind::Postgres => {
                let mut connection = PgConnection::connect(&database.url).await.unwrap();
                connection.execute("BEGIN").await.unwrap();
                connection.execute(SQL).await.unwrap();
                Self::Postgres(connection)
            }
        }
    }

    async fn release(self) {
        match self {
            Self::MariaDb(connection) => connection.close().await.unwrap(),
            Self::Postgres(connection) => connection.close().await.unwrap(),
        }
    }
}

pub async fn a_lock_that_is_held_too_long_is_waited_for_again(kind: Kind) {
    let database = Database::new(kind).await;
    let by_lock = ServerConfig { lock_timeout_ms: 1_000, ..ServerConfig::default() };
    let by_statement = ServerConfig { statement_timeout_ms: 300, ..ServerConfig::default() };
    let by_call = ServerConfig { call_timeout_ms: 300, ..ServerConfig::default() };
    for (n, config) in (1..).zip([by_lock, by_statement, by_call]) {
        let store = database.open_with(&[], &config).await;
        write(&store, &[text(pair(), 2 * n - 1, ANN, "before")]).await;
        let holder = Holder::hold(&database).await;
        let message = text(pair(), 2 * n, ANN, "after");
        let error = store.write_batch(&[&message]).await.unwrap_err();
        assert_eq!(error.class(), Class::Retry, "{error:?}");
        assert!(error.to_string().contains("127.0.0.1:"), "{error}");
        // It did not come by halves, and reading was never hindered.
        assert_eq!(seqs(&store).await, (1..2 * n).collect::<Vec<_>>());
        holder.release().await;
        write(&store, &[message]).await;
        assert_eq!(seqs(&store).await, (1..=2 * n).collect::<Vec<_>>());
    }
}

async fn seqs(store: &Arc<dyn Store>) -> Vec<i64> {
    let page = store.history(pair(), HistoryRange::After(Seq(0)), Seq(1), 100_000).await.unwrap();
    page.messages.iter().map(|message| message.seq_id.0).collect()
}

/// The replica is another database, written by hand, so that it is seen who answers.
pub async fn a_replica_is_read_only_while_it_has_everything(kind: Kind) {
    let (primary, replica) = (Database::new(kind).await, Database::new(kind).await);
    let copy = replica.open().await;
    let store = primary.open_with(std::slice::from_ref(&replica.url), &ServerConfig::default()).await;
    let by = |seq, whom: &str| text(pair(), seq, ANN, whom);
    let answers = async || {
        let page = store.history(pair(), HistoryRange::Newest, Seq(1), 10).await.unwrap();
        page.messages.into_iter().map(|message| message.content).collect::<Vec<_>>()
    };
    write(&store, &[by(1, "primary")]).await;
    assert_eq!(answers().await, ["primary"], "an empty copy lacks a message");
    write(&copy, &[by(1, "copy")]).await;
    assert_eq!(answers().await, ["copy"]);
    write(&store, &[by(2, "primary")]).await;
    assert_eq!(answers().await, ["primary", "primary"]);
    write(&copy, &[by(2, "copy")]).await;
    assert_eq!(answers().await, ["copy", "copy"]);
    store.retire(&[(pair(), Seq(1))]).await.unwrap();
    assert_eq!(answers().await, ["primary"], "the copy has a message that was removed");
    copy.retire(&[(pair(), Seq(1))]).await.unwrap();
    assert_eq!(answers().await, ["copy"]);
    drop(replica);
    assert_eq!(answers().await, ["primary"], "a copy without tables is of no use");
}

pub async fn an_address_without_a_server_says_so_and_keeps_the_password(kind: Kind) {
    let scheme = match kind {
        Kind::MariaDb => "mysql",
        Kind::Postgres => "postgres",
    };
    let impatient = ServerConfig { acquire_timeout_ms: 500, ..ServerConfig::default() };
    let url = format!("{scheme}://gochat:secret@127.0.0.1:1/gochat");
    let Err(error) = kind.open(&url, &[], &impatient).await else { panic!("nobody listens on port 1") };
    assert_eq!(error.class(), Class::Retry, "{error:?}");
    assert!(error.to_string().contains("127.0.0.1:1/gochat"), "{error}");
    assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
    let Err(error) = kind.open(&format!("{scheme}://gochat:secret@local host/x"), &[], &impatient).await else {
        panic!("that is no address")
    };
    assert_eq!(error.class(), Class::Fatal, "{error:?}");
    assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
}

const BATCHES: i64 = 60;
const BATCH_MESSAGES: i64 = 200;

fn batch(n: i64) -> Vec<Sequenced> {
    let message =
        |seq| Sequenced { message_id: MessageId(seq), ..text(pair(), seq, if n % 2 == 0 { ANN } else { BEN }, "hi") };
    (n * BATCH_MESSAGES + 1..=(n + 1) * BATCH_MESSAGES).map(message).collect()
}

/// Writes all batches in order, each until it is taken, and tells how many were.
async fn write_all(store: Arc<dyn Store>, written: watch::Sender<i64>) -> u32 {
    let mut failed = 0;
    for n in 0..BATCHES {
        let batch = batch(n);
        let batch: Vec<_> = batch.iter().collect();
        while let Err(error) = store.write_batch(&batch).await {
            assert_eq!(error.class(), Class::Retry, "{error:?}");
            failed += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        written.send_replace(n + 1);
    }
    failed
}

/// How long all batches may take, the server's restart included.
const ALL_WRITTEN_TIME_MAX: Duration = Duration::from_secs(120);

/// Reads again where that may help: a connection that died with its server shows it when it is used, and
/// there are as many as the pool holds.
async fn read_again<T>(read: impl AsyncFn() -> Result<T, StoreError>) -> T {
    const TRIES_MAX: usize = 50;
    for _ in 0..TRIES_MAX {
        match read().await {
            Ok(answer) => return answer,
            Err(error) => assert_eq!(error.class(), Class::Retry, "{error:?}"),
        }
    }
    panic!("it was not read in {TRIES_MAX} tries");
}

async fn check_each_once(store: &Arc<dyn Store>) {
    let page = read_again(async || store.history(pair(), HistoryRange::After(Seq(0)), Seq(1), 100_000).await).await;
    let seqs: Vec<i64> = page.messages.iter().map(|message| message.seq_id.0).collect();
    assert_eq!(seqs, (1..=BATCHES * BATCH_MESSAGES).collect::<Vec<_>>());
    let (mut count, mut after) = (0, MessageId(0));
    loop {
        let page = read_again(async || store.scan(after, 5_000).await).await;
        let Some(last) = page.last() else { break };
        after = last.message_id;
        count += page.len();
    }
    assert_eq!(count as i64, BATCHES * BATCH_MESSAGES);
}

pub async fn a_server_killed_amid_batches_has_each_of_them_once(kind: Kind) {
    let server = OwnServer::start(kind).await;
    let store = kind.open(&server.url(kind.service()), &[], &ServerConfig::default()).await.unwrap();
    let (tell, mut written) = watch::channel(0);
    let writing = tokio::spawn(write_all(Arc::clone(&store), tell));
    for batches in [15, 40] {
        written.wait_for(|&written| written >= batches).await.unwrap();
        server.signal(kind.service(), "KILL").await;
        server.start_again().await;
    }
    let failed = tokio::time::timeout(ALL_WRITTEN_TIME_MAX, writing).await.unwrap().unwrap();
    assert!(failed > 0, "the server was killed while batches were written");
    check_each_once(&store).await;
}

pub async fn a_server_that_stands_still_is_given_up_and_comes_back(kind: Kind) {
    let server = OwnServer::start(kind).await;
    let impatient = ServerConfig { call_timeout_ms: 500, acquire_timeout_ms: 500, ..ServerConfig::default() };
    let store = kind.open(&server.url(kind.service()), &[], &impatient).await.unwrap();
    let (tell, mut written) = watch::channel(0);
    let writing = tokio::spawn(write_all(Arc::clone(&store), tell));
    written.wait_for(|&written| written >= 15).await.unwrap();
    for process in server.processes() {
        server.signal_pid(process, "STOP").await;
    }
    let error = store.history(pair(), HistoryRange::Newest, Seq(1), 1).await.unwrap_err();
    assert_eq!(error.class(), Class::Retry, "{error:?}");
    for process in server.processes() {
        server.signal_pid(process, "CONT").await;
    }
    let failed = tokio::time::timeout(ALL_WRITTEN_TIME_MAX, writing).await.unwrap().unwrap();
    assert!(failed > 0, "batches were written while the server stood still");
    check_each_once(&store).await;
}
