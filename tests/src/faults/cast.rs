//! Who talks where: pairs, a small group, a group over 500 and the world; and what they say.

use rand::RngExt;
use rand::rngs::StdRng;
use schemas::ids::ConversationId;

use super::stand::Stand;
use crate::api::{Account, Api};
use crate::client::Say;
use crate::users::quiet_users;

/// Members of the group that is over the bound of a small one.
const LARGE_GROUP_USERS: usize = 501;

/// How large a cast is.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Users who are connected and talk.
    pub users: usize,
    /// Whether there is a group over 500; its other members are never online.
    pub large_group: bool,
}

/// The users and their conversations.
#[derive(Debug)]
pub struct Cast {
    /// Who talks. The last one has a bad network.
    pub accounts: Vec<Account>,
    pub rooms: Vec<Room>,
}

#[derive(Debug)]
pub struct Room {
    pub id: ConversationId,
    /// Its members, by their number in the cast.
    pub members: Vec<usize>,
    /// How often something is said there, of 1,000 times.
    pub share: u32,
}

impl Cast {
    /// Signs everybody up and makes the groups.
    pub async fn gather(stand: &Stand, size: Size) -> Self {
        let (api, users) = (Api::new(stand.gateways()[0]), size.users);
        let mut accounts = Vec::with_capacity(users);
        for n in 0..users {
            accounts.push(api.register(&format!("talker{n}")).await);
        }
        let id = |account: &Account| account.user_id.clone();
        let everybody = || (0..users).collect::<Vec<_>>();
        let mut rooms = vec![Room { id: ConversationId::World, members: everybody(), share: 20 }];
        let few = users.div_ceil(2);
        let small = api.group(&accounts[0], "small", &accounts[1..few].iter().map(id).collect::<Vec<_>>()).await;
        rooms.push(Room { id: conversation(&small), members: (0..few).collect(), share: 150 });
        if size.large_group {
            let mut members: Vec<_> = accounts[1..].iter().map(id).collect();
            members.extend(quiet_users(stand.grpc(), users..LARGE_GROUP_USERS).await);
            let large = api.group(&accounts[0], "large", &members).await;
            rooms.push(Room { id: conversation(&large), members: everybody(), share: 30 });
        }
        let left = 1_000 - rooms.iter().map(|room| room.share).sum::<u32>();
        for n in 0..users {
            let other = (n + 1) % users;
            let id = conversation(&accounts[n].pair_with(&accounts[other]));
            rooms.push(Room { id, members: vec![n, other], share: left / users as u32 });
        }
        Self { accounts, rooms }
    }

    /// Who has the bad network.
    pub fn unlucky(&self) -> usize {
        self.accounts.len() - 1
    }

    /// Rooms of a user, by their number.
    pub fn rooms_of(&self, user: usize) -> Vec<usize> {
        (0..self.rooms.len()).filter(|&room| self.rooms[room].members.contains(&user)).collect()
    }

    /// Whose line comes next, and in which room.
    pub fn next(&self, random: &mut StdRng) -> (usize, usize) {
        loop {
            let mut at = random.random_range(0..1_000);
            let room = self.rooms.iter().position(|room| match at < room.share {
                true => true,
                false => {
                    at -= room.share;
                    false
                }
            });
            let room = room.unwrap_or_else(|| random.random_range(0..self.rooms.len()));
            let members = &self.rooms[room].members;
            let speaker = members[random.random_range(0..members.len())];
            // On a bad network one gets little said.
            if speaker != self.unlucky() || random.random_bool(0.25) {
                return (speaker, room);
            }
        }
    }

    /// A user's line of this number.
    pub fn say(&self, speaker: usize, number: u32, room: usize, twice: bool) -> Say {
        Say {
            client_msg_id: format!("{speaker}-{number}"),
            conversation: self.rooms[room].id,
            content: content(speaker, number),
            twice,
        }
    }
}

/// What a line says.
pub fn content(speaker: usize, number: u32) -> String {
    format!("line {number} of user {speaker}, said to whoever is there and to be found as it was said")
}

/// Whose line a clientMsgId names, and its number. `None`: an event of a group.
pub fn line_of(client_msg_id: &str) -> Option<(usize, u32)> {
    let (speaker, number) = client_msg_id.split_once('-')?;
    Some((speaker.parse().ok()?, number.parse().ok()?))
}

fn conversation(id: &str) -> ConversationId {
    id.parse().expect("a conversation id")
}
