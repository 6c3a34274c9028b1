use std::time::Duration;

use ipnet::IpNet;

/// The bounds of a listener.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections in all; one more takes the place of the one that has gone longest without finishing a request, and is
    /// refused where all are [kept](Seat::keep).
    pub connections_max: usize,
    /// The same for the connections of one address.
    pub connections_an_address_max: usize,
    /// From the accept to the first answer, and from the head of a further request to its answer.
    pub request_time: Duration,
    /// From an answer to the head of the next request.
    pub idle_time: Duration,
    /// Proxies: their connections belong to many clients, and count to an address only once they are kept for it.
    pub proxies: Vec<IpNet>,
}

impl Limits {
    /// The same shares of at most this many connections.
    #[must_use]
    pub fn within(self, connections_max: usize) -> Self {
        if self.connections_max <= connections_max {
            return self;
        }
        let an_address = self.connections_an_address_max * connections_max / self.connections_max.max(1);
        Self { connections_max, connections_an_address_max: an_address.max(1), ..self }
    }
}
