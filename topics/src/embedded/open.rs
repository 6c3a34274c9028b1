//! Opening a directory as a log: whose it is, and what it holds.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

use super::failure;
use super::group::Group;
use super::partition::Partition;
use super::rows;
use super::storage;
use super::topics::Topics;
use crate::catalogue::{self, Layout, TopicSpec};
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
}

/// Makes the directory when it is not there, and locks it for this process.
///
/// # Errors
/// [`LogError::InUse`] or [`LogError::Unusable`].
pub(super) fn lock(dir: &Path) -> Result<File, LogError> {
    let fail = |e| failure::of_directory(dir, &e);
    fs::create_dir_all(dir).map_err(fail)?;
    // One that was cut to nothing is no log; a start that is interrupted leaves one too, alone.
    if fs::metadata(storage::path_of(dir)).map_or(0, |file| file.len()) == 0 {
        for entry in fs::read_dir(dir).map_err(fail)? {
            let name = entry.map_err(fail)?.file_name();
            if ![LOCK_FILE, "synced.db", "synced.db-journal"].map(OsStr::new).contains(&&*name) {
                let reason = format!(
                    "it is not empty and holds no log (there is {}): choose an empty directory, or restore this one from a backup",
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

/// Adds the topics of the catalogue that are not there yet.
///
/// # Errors
/// [`LogError::TopicDiffers`] when a topic is there with other settings.
pub(super) fn prepare(db: &mut Connection, layout: Layout) -> Result<(), LogError> {
    let fail = |e| failure::of_reading("preparing the topics", e);
    if let Some(topic) = catalogue::ALL.iter().find(|topic| layout.partitions(topic) == 0) {
        let difference = "no partition is asked for, and there is at least one".into();
        return Err(LogError::TopicDiffers { topic: topic.name.into(), difference });
    }
    let mut next_id = 1;
    let mut recorded: HashMap<String, u32> = HashMap::new();
    for (id, topic, _) in storage::partitions(db).map_err(fail)? {
        next_id = next_id.max(id + 1);
        *recorded.entry(topic).or_default() += 1;
    }
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
    for topic in catalogue::ALL {
        let wanted = layout.partitions(topic);
        match recorded.get(topic.name) {
            None => {
                for partition in 0..wanted {
                    storage::create_partition(&tx, next_id, topic.name, partition).map_err(fail)?;
                    next_id += 1;
                }
            }
            Some(&partitions) if partitions == wanted => {}
            Some(partitions) => {
                let difference = format!("it has {partitions} partitions, and {wanted} are asked for");
                return Err(LogError::TopicDiffers { topic: topic.name.into(), difference });
            }
        }
    }
    tx.commit().map_err(fail)
}

/// Records the dedupe window of a new log, and of one that was made before it was recorded.
///
/// # Errors
/// [`LogError::WindowDiffers`] when it was made for another.
pub(super) fn keep_window(db: &Connection, configured: Duration) -> Result<(), LogError> {
    match window(db)? {
        Some(recorded) if recorded == configured => Ok(()),
        Some(recorded) => Err(LogError::WindowDiffers { recorded, configured }),
        None => {
            let ms = i64::try_from(configured.as_millis()).unwrap_or(i64::MAX);
            storage::set_setting(db, DEDUPE_WINDOW_MS, ms)
                .map_err(|e| failure::of_reading("recording the dedupe window", e))
        }
    }
}

/// The dedupe window that a log was made for, unless it was made before that was recorded.
///
/// # Errors
/// [`LogError::Storage`].
pub(super) fn window(db: &Connection) -> Result<Option<Duration>, LogError> {
    let recorded = storage::setting(db, DEDUPE_WINDOW_MS);
    let recorded = recorded.map_err(|e| failure::of_reading("reading the dedupe window", e))?;
    Ok(recorded.map(|ms| Duration::from_millis(ms.cast_unsigned())))
}

/// The layout that a log was made with.
///
/// # Errors
/// [`LogError::Storage`].
pub(super) fn layout(db: &Connection) -> Result<Layout, LogError> {
    let recorded = storage::partitions(db).map_err(|e| failure::of_reading("reading the topics", e))?;
    let count = |topic: &TopicSpec| {
        let count = recorded.iter().filter(|(_, name, _)| name == topic.name).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    };
    Ok(Layout { chain_partitions: count(&catalogue::UPSTREAM.spec), gateway_slots: count(&catalogue::DELIVERIES.spec) })
}

/// Reads what a log holds; a few queries a partition, however much that is.
///
/// # Errors
/// [`LogError::Storage`].
pub(super) fn load(db: &Connection, tail_bytes_max: usize) -> Result<Opened, LogError> {
    let fail = |e| failure::of_reading("loading the topics", e);
    let mut topics = Topics::default();
    let mut places = HashMap::new();
    let recorded = storage::partitions(db).map_err(fail)?;
    for &topic in catalogue::ALL {
        let mut partitions = Vec::new();
        for (id, _, index) in recorded.iter().filter(|(_, name, _)| name == topic.name) {
            let stored = rows::stored(db, *id).map_err(fail)?;
            places.insert(*id, (topic, *index));
            partitions.push(Partition::new(*id, topic, *index, stored, tail_bytes_max));
        }
        partitions.sort_by_key(|partition| partition.index);
        topics.add(topic, partitions);
    }
    let groups = groups(&topics, &places, storage::positions(db).map_err(fail)?);
    Ok(Opened { topics, groups })
}

/// A topic, and a group's position in each of its partitions.
type Positions = (&'static TopicSpec, Vec<Option<u64>>);

fn groups(
    topics: &Topics,
    places: &HashMap<u32, (&'static TopicSpec, u32)>,
    committed: Vec<(String, u32, u64)>,
) -> Groups {
    let mut positions: HashMap<(String, &'static str), Positions> = HashMap::new();
    for (group, id, offset) in committed {
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
