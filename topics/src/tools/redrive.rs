//! Puts dead letters back to where they came from, each exactly once.
//!
//! The records that are put back and the marks that say so are one commit; a mark lies in the letter's
//! own partition and is kept as long as the letter. Whoever is killed in the middle and starts again
//! finds by the marks what is left. One redrive works at a time: it owns the partitions of
//! `dead-letters` as a member of a group, and a commit without owning them is refused.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::dead_letters::{DeadLetters, Selection};
use crate::catalogue::DEAD_LETTERS;
use crate::dead_letter::Letter;
use crate::log::{Commit, Event, Log, LogError, Member, MemberSpec};

/// The group that puts letters back.
pub const GROUP: &str = "redrive";
/// Most letters in one commit, and most bytes of their keys and values; one letter may exceed it alone.
const COMMIT_LETTERS_MAX: usize = 500;
const COMMIT_BYTES_MAX: usize = 4 << 20;
/// How long it may take until the group gives its partitions out: a killed redrive is waited for.
const JOIN_MAX: Duration = Duration::from_secs(60);
const POLL_INTERVAL_MAX: Duration = Duration::from_secs(120);

/// Puts the chosen letters back, and returns how many those were. `progress` hears after each commit how
/// many have been put back.
///
/// # Errors
/// Those of reading and committing; [`LogError::Fenced`] when another redrive took over. What was
/// committed stays so, and is not put back again by the next call.
pub async fn redrive(log: &dyn Log, selection: &Selection, mut progress: impl FnMut(usize)) -> Result<usize, LogError> {
    let topic = &DEAD_LETTERS.spec;
    let spec = MemberSpec {
        group: GROUP.into(),
        topic,
        instance: "redrive".into(),
        transactional: true,
        batch_records_max: 1,
        batch_bytes_max: 1,
        poll_interval_max: POLL_INTERVAL_MAX,
    };
    let mut member = log.join(spec).await?;
    own_all(&mut *member, log.layout().partitions(topic)).await?;
    // Read only now: what a former redrive committed last is seen.
    let letters = DeadLetters::read(log, selection).await?.letters;
    let mut done = 0;
    let mut rest = letters.as_slice();
    while !rest.is_empty() {
        let (now, later) = rest.split_at(fitting(rest));
        let outputs = now.iter().flat_map(Letter::redrive).collect();
        let mut positions: Vec<(u32, u64)> = Vec::new();
        for letter in now {
            let (partition, next) = (letter.place.partition, letter.place.offset + 1);
            match positions.iter_mut().find(|(at, _)| *at == partition) {
                Some((_, position)) => *position = next.max(*position),
                None => positions.push((partition, next)),
            }
        }
        member.commit(Commit { outputs, positions }).await?;
        done += now.len();
        progress(done);
        rest = later;
    }
    member.leave().await?;
    Ok(done)
}

async fn own_all(member: &mut dyn Member, partitions: u32) -> Result<(), LogError> {
    let deadline = Instant::now() + JOIN_MAX;
    let mut owned = 0;
    while owned < partitions {
        let Ok(event) = timeout_at(deadline, member.next()).await else {
            return Err(LogError::Fenced { group: GROUP.into(), instance: "redrive".into() });
        };
        match event? {
            Event::Assigned(assigned) => owned += u32::try_from(assigned.len()).unwrap_or(partitions),
            Event::Revoked(given) | Event::Lost(given) => owned -= u32::try_from(given.len()).unwrap_or(0).min(owned),
            Event::Batch(_) => {}
        }
    }
    Ok(())
}

/// How many of the letters go into one commit.
fn fitting(letters: &[Letter]) -> usize {
    let mut bytes = 0;
    let fits = |letter: &&Letter| {
        bytes += letter.key.len() + letter.value.len();
        bytes <= COMMIT_BYTES_MAX
    };
    letters.iter().take(COMMIT_LETTERS_MAX).take_while(fits).count().max(1)
}
