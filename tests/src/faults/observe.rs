//! The observer: moves what clients noted into the books, several times a second, so that a client's
//! ledger stays small however long a run is.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use topics::clock::Clock;

use super::books::Books;
use super::cast::Cast;
use crate::client::Client;

/// How often ledgers are emptied.
const EVERY: Duration = Duration::from_millis(250);

/// What load, observer and faults share.
pub struct Shared {
    /// Who talks where.
    pub cast: Arc<Cast>,
    /// Their clients, in the same order.
    pub clients: Vec<Client>,
    pub books: Mutex<Books>,
}

/// Starts observing; ends when it is aborted.
pub fn start(shared: Arc<Shared>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(EVERY);
        loop {
            ticks.tick().await;
            shared.observe().await;
        }
    })
}

impl Shared {
    /// Empties every ledger once.
    pub async fn observe(&self) {
        for (number, client) in self.clients.iter().enumerate() {
            let mut ledger = client.ledger.lock().await;
            let (acked, told) = (std::mem::take(&mut ledger.acked), std::mem::take(&mut ledger.told));
            let (seen, synced) = (std::mem::take(&mut ledger.seen), std::mem::take(&mut ledger.synced));
            let (errors, held_off) = (std::mem::take(&mut ledger.errors), std::mem::take(&mut ledger.held_off));
            let dropped = std::mem::take(&mut ledger.dropped);
            let (online, connections) = (ledger.online, ledger.connections);
            drop(ledger);
            let mut books = self.books.lock().await;
            acked.iter().for_each(|id| books.ack(id));
            told.iter().for_each(|message| books.told(message));
            seen.iter().for_each(|message| books.seen(number, message));
            synced.iter().for_each(|answer| books.synced(answer));
            books.failures.extend(errors.iter().map(|error| format!("client {number} was refused: {error}")));
            books.held_off += held_off;
            books.dropped += dropped;
            books.arrives(number, online, connections, Clock::system().now_ms());
        }
        self.books.lock().await.note_heads(Clock::system().now_ms());
    }

    /// Whether every client is connected.
    pub async fn all_online(&self) -> bool {
        for client in &self.clients {
            if !client.ledger.lock().await.online {
                return false;
            }
        }
        true
    }
}
