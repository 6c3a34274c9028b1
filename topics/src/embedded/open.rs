//! Opening a directory as a log: whose it is, what it holds, and what a crash left behind.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

use super::failure;
use super::group::Group;
use super::partition::{Partition, Stored};
use super::rows;
use super::storage;
use super::storage::LAST_TXN;
use super::topics::Topics;
use crate::catalogue::{self, Durability, Layout, TopicSpec};
use crate::log::LogError;

/// The file that is locked while a process writes the log.
const LOCK_FILE: &str = "lock";
/// The setting that records the dedupe window.
const DEDUPE_WINDOW_MS: &str = "dedupe_window_ms";

/// Groups by their name and topic.
pub(super) type Groups = HashMap<(String, &'static str), Arc<Group>>;

/// What a log holds when it is opened.
pub(super) struct Opened {
    pub topics: Topics,
    pub groups: Groups,
    pub last_txn: i64,
}

/// Makes the directory when it is not there, and locks it for this process.
///
/// # Errors
/// [`LogError::InUse`] or [`LogError::Unusable`].
pub(super) fn lock(dir: &Path) -> Result<File, LogError> {
    let fail = |e| failure::of_directory(dir, &e);
    fs::create_dir_all(dir).map_err(fail)?;
    if !storage::path_of(dir, Durability::Synced).exists() {
        for entry in fs::read_dir(dir).map_err(fail)? {
            let name = entry.map_err(fail)?.file_name();
            if name != LOCK_FILE {
                let reason = format!(
                    "it is not empty and holds no log (there is {}): choose an empty directory",
                    name.to_string_lossy()
                );
                return Err(LogError::Unusable { path: dir.display().to_string(), reason });
            }
        }
    }
    let open = File::options().create(true).truncate(false).write(true).open(dir.join(LOCK_FILE));
    let file = open.map_err(fail)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LogError::InUse { path: dir.display().to_string() }),
        Err(TryLockError::Error(e)) => Err(fail(e)),
    }
}

/// Both files of a log.
pub(super) struct Files {
    pub synced: Connection,
    pub unsynced: Connection,
}

impl Files {
    fn of(&self, durability: Durability) -> &Connection {
        match durability {
            Durability::Synced => &self.synced,
            Durability::Unsynced => &self.unsynced,
        }
    }

    fn of_mut(&mut self, durability: Durability) -> &mut Connection {
        match durability {
            Durability::Synced => &mut self.synced,
            Durability::Unsynced => &mut self.unsynced,
        }
    }
}

/// Adds the topics of the catalogue that are not there yet, and removes what a crash left behind: rows of
/// one transaction that did not reach the other file. Rows of several show that the other file has lost some.
///
/// # Errors
/// [`LogError::TopicDiffers`] when a topic is there with other settings, [`LogError::Unusable`] when
/// `synced.db` has lost what was committed to it.
pub(super) fn prepare(dir: &Path, files: &mut Files, layout: Layout) -> Result<(), LogError> {
    let fail = |e| failure::of_reading("preparing the topics", e);
    if let Some(topic) = catalogue::ALL.iter().find(|topic| layout.partitions(topic) == 0) {
        let difference = "no partition is asked for, and there is at least one".into();
        return Err(LogError::TopicDiffers { topic: topic.name.into(), difference });
    }
    let mut next_id = 1;
    let mut recorded: HashMap<(String, Durability), u32> = HashMap::new();
    for durability in [Durability::Synced, Durability::Unsynced] {
        for (id, topic, _) in storage::partitions(files.of(durability)).map_err(fail)? {
            next_id = next_id.max(id + 1);
            *recorded.entry((topic, durability)).or_default() += 1;
        }
    }
    for durability in [Durability::Synced, Durability::Unsynced] {
        let tx = files.of_mut(durability).transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
        for topic in catalogue::ALL.iter().filter(|topic| topic.durability == durability) {
            if is_recorded(topic, layout, &recorded)? {
                continue;
            }
            for partition in 0..layout.partitions(topic) {
                storage::create_partition(&tx, next_id, topic.name, partition).map_err(fail)?;
                next_id += 1;
            }
        }
        tx.commit().map_err(fail)?;
    }
    let last_txn = storage::setting(&files.synced, LAST_TXN).map_err(fail)?.unwrap_or(0);
    let mut later = BTreeSet::new();
    for (id, ..) in storage::partitions(&files.unsynced).map_err(fail)? {
        later.extend(rows::later_txns(&files.unsynced, id, last_txn).map_err(fail)?);
    }
    if later.len() > 1 {
        return Err(LogError::Unusable {
            path: storage::path_of(dir, Durability::Synced).display().to_string(),
            reason: format!(
                "it lacks transactions from {} on that unsynced.db was part of: synced.db-wal was damaged or removed. \
                 Restore the data directory from a backup",
                last_txn + 1
            ),
        });
    }
    for (id, ..) in storage::partitions(&files.unsynced).map_err(fail)? {
        rows::roll_back(&files.unsynced, id, last_txn).map_err(fail)?;
    }
    Ok(())
}

fn is_recorded(
    topic: &TopicSpec,
    layout: Layout,
    recorded: &HashMap<(String, Durability), u32>,
) -> Result<bool, LogError> {
    let differs = |difference| LogError::TopicDiffers { topic: topic.name.into(), difference };
    let other = match topic.durability {
        Durability::Synced => Durability::Unsynced,
        Durability::Unsynced => Durability::Synced,
    };
    if recorded.contains_key(&(topic.name.into(), other)) {
        return Err(differs(format!("its durability is {other:?}, and {:?} is asked for", topic.durability)));
    }
    let wanted = layout.partitions(topic);
    match recorded.get(&(topic.name.into(), topic.durability)) {
        None => Ok(false),
        Some(&partitions) if partitions == wanted => Ok(true),
        Some(partitions) => Err(differs(format!("it has {partitions} partitions, and {wanted} are asked for"))),
    }
}

/// Records the dedupe window of a new log, and of one that was made before it was recorded.
///
/// # Errors
/// [`LogError::WindowDiffers`] when it was made for another.
pub(super) fn keep_window(files: &Files, configured: Duration) -> Result<(), LogError> {
    match window(files)? {
        Some(recorded) if recorded == configured => Ok(()),
        Some(recorded) => Err(LogError::WindowDiffers { recorded, configured }),
        None => {
            let ms = i64::try_from(configured.as_millis()).unwrap_or(i64::MAX);
            storage::set_setting(&files.synced, DEDUPE_WINDOW_MS, ms)
                .map_err(|e| failure::of_reading("recording the dedupe window", e))
        }
    }
}

/// The dedupe window that a log was made for, unless it was made before that was recorded.
///
/// # Errors
/// [`LogError::Storage`].
pub(super) fn window(files: &Files) -> Result<Option<Duration>, LogError> {
    let recorded = storage::setting(&files.synced, DEDUPE_WINDOW_MS);
    let recorded = recorded.map_err(|e| failure::of_reading("reading the dedupe window", e))?;
    Ok(recorded.map(|ms| Duration::from_millis(ms.cast_unsigned())))
}

/// The layout that a log was made with.
///
/// # Errors
/// [`LogError::Storage`].
pub(super) fn layout(files: &Files) -> Result<Layout, LogError> {
    let count = |topic: &TopicSpec| -> Result<u32, LogError> {
        let recorded = storage::partitions(files.of(topic.durability));
        let recorded = recorded.map_err(|e| failure::of_reading("reading the topics", e))?;
        let count = recorded.iter().filter(|(_, name, _)| name == topic.name).count();
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    };
    Ok(Layout {
        chain_partitions: count(&catalogue::UPSTREAM.spec)?,
        gateway_slots: count(&catalogue::DELIVERIES.spec)?,
    })
}

/// Reads what a log holds; a few queries a partition, however much that is.
///
/// # Errors
/// [`LogError::Storage`].
pub(super) fn load(files: &Files, tail_bytes_max: usize) -> Result<Opened, LogError> {
    let fail = |e| failure::of_reading("loading the topics", e);
    let last_in_both = storage::setting(&files.synced, LAST_TXN).map_err(fail)?.unwrap_or(0);
    let (committed, last_txn) = committed(files, last_in_both).map_err(fail)?;
    let mut topics = Topics::default();
    let mut places = HashMap::new();
    for durability in [Durability::Synced, Durability::Unsynced] {
        let recorded = storage::partitions(files.of(durability)).map_err(fail)?;
        for &topic in catalogue::ALL.iter().filter(|topic| topic.durability == durability) {
            let mut partitions = Vec::new();
            for (id, _, index) in recorded.iter().filter(|(_, name, _)| name == topic.name) {
                let stored = stored(files.of(durability), *id, last_in_both, &committed).map_err(fail)?;
                places.insert(*id, (topic, *index));
                partitions.push(Partition::new(*id, topic, *index, stored, tail_bytes_max));
            }
            partitions.sort_by_key(|partition| partition.index);
            topics.add(topic, partitions);
        }
    }
    let groups = groups(&topics, &places, committed);
    Ok(Opened { topics, groups, last_txn })
}

/// The newest position of each group in each partition, by number of the partition.
type Committed = HashMap<(String, u32), u64>;

fn committed(files: &Files, mut last_txn: i64) -> rusqlite::Result<(Committed, i64)> {
    let mut newest: HashMap<(String, u32), (i64, u64)> = HashMap::new();
    for db in [&files.synced, &files.unsynced] {
        for position in storage::positions(db)? {
            last_txn = last_txn.max(position.txn);
            let known = newest.entry((position.group, position.partition)).or_insert((position.txn, position.offset));
            if known.0 < position.txn {
                *known = (position.txn, position.offset);
            }
        }
    }
    Ok((newest.into_iter().map(|(place, (_, offset))| (place, offset)).collect(), last_txn))
}

fn stored(db: &Connection, id: u32, last_txn: i64, committed: &Committed) -> rusqlite::Result<Stored> {
    let mut stored = rows::stored(db, id, last_txn)?;
    // A power loss may have taken unsynced records that a group had worked on; their offsets are not
    // given out again, or the group would miss what comes in their place.
    let worked_on = committed.iter().filter(|((_, partition), _)| *partition == id).map(|(_, &offset)| offset).max();
    stored.bounds.end = stored.bounds.end.max(worked_on.unwrap_or(0));
    Ok(stored)
}

/// A topic, and a group's position in each of its partitions.
type Positions = (&'static TopicSpec, Vec<Option<u64>>);

fn groups(topics: &Topics, places: &HashMap<u32, (&'static TopicSpec, u32)>, committed: Committed) -> Groups {
    let mut positions: HashMap<(String, &'static str), Positions> = HashMap::new();
    for ((group, id), offset) in committed {
        // A topic that the catalogue no longer has.
        let Some(&(topic, partition)) = places.get(&id) else { continue };
        let Ok(open) = topics.of(topic) else { continue };
        let (_, of_group) =
            positions.entry((group, topic.name)).or_insert_with(|| (topic, vec![None; open.partitions as usize]));
        if let Some(place) = of_group.get_mut(partition as usize) {
            *place = Some(offset);
        }
    }
    let group = |((name, key), (topic, positions)): ((String, _), _)| {
        ((name.clone(), key), Arc::new(Group::new(name, topic, positions)))
    };
    positions.into_iter().map(group).collect()
}
