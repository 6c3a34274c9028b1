//! `gochat topics list` and `describe`.

use serde_json::{Value, json};
use topics::catalogue::{self, Cleanup, TopicSpec};
use topics::log::{Log, LogError};
use topics::tools::overview::{PartitionOverview, Times, TopicOverview};

use super::args::{DescribeArgs, ListArgs};
use crate::commands::error::CommandError;
use crate::commands::output;
use crate::topology::readers_of;

/// A row a topic.
pub async fn list(log: &dyn Log, args: &ListArgs) -> Result<(), CommandError> {
    let mut overviews = Vec::new();
    for topic in catalogue::ALL {
        match TopicOverview::of(log, topic, &readers_of(topic), Times::Skip).await {
            Ok(overview) => overviews.push(overview),
            // An older version made this log.
            Err(LogError::NoSuchTopic { topic }) => output::note(format_args!("{topic} is not there yet")),
            Err(e) => return Err(e.into()),
        }
    }
    if args.json {
        let topics: Vec<_> = overviews.iter().map(|overview| topic_json(overview, Detail::Sums)).collect();
        return Ok(output::line(serde_json::to_string_pretty(&topics)?)?);
    }
    let row = |overview: &TopicOverview| {
        let lags: Vec<_> =
            readers_of(overview.topic).iter().map(|group| format!("{group} {}", overview.lag_of(group))).collect();
        [
            overview.topic.name.to_owned(),
            overview.topic.record.to_owned(),
            overview.partitions.len().to_string(),
            overview.offsets().to_string(),
            kept(overview.topic),
            lags.join(", "),
        ]
    };
    let rows: Vec<_> = overviews.iter().map(row).collect();
    let heading = ["TOPIC", "RECORD", "PARTITIONS", "OFFSETS", "KEPT", "LAG OF GROUPS"];
    Ok(output::table(heading, &rows)?)
}

/// A row a partition.
pub async fn describe(log: &dyn Log, args: &DescribeArgs) -> Result<(), CommandError> {
    let topic = args.topic;
    let overview = TopicOverview::of(log, topic, &readers_of(topic), Times::Read).await?;
    if args.json {
        return Ok(output::line(serde_json::to_string_pretty(&topic_json(&overview, Detail::Partitions))?)?);
    }
    output::line(format_args!("topic       {}", topic.name))?;
    output::line(format_args!("key, record {}, {}", topic.key, topic.record))?;
    output::line(format_args!("partitions  {}", overview.partitions.len()))?;
    output::line(format_args!("kept        {}\n", kept(topic)))?;
    let mut rows = Vec::new();
    for partition in &overview.partitions {
        let (oldest, newest) = partition
            .times
            .map_or_else(Default::default, |(oldest, newest)| (output::time(oldest), output::time(newest)));
        let start = |group: String, position: String, lag: String| {
            let number = partition.partition.to_string();
            let (start, end) = (partition.bounds.start.to_string(), partition.bounds.end.to_string());
            [number, start, end, oldest.clone(), newest.clone(), group, position, lag]
        };
        if partition.groups.is_empty() {
            rows.push(start(String::new(), String::new(), String::new()));
        }
        for group in &partition.groups {
            let position = group.committed.map_or_else(|| "none".to_owned(), |position| position.to_string());
            rows.push(start(group.group.to_owned(), position, group.lag.to_string()));
        }
    }
    Ok(output::table(["PARTITION", "START", "END", "OLDEST", "NEWEST", "GROUP", "POSITION", "LAG"], &rows)?)
}

#[derive(Clone, Copy)]
enum Detail {
    Sums,
    Partitions,
}

fn topic_json(overview: &TopicOverview, detail: Detail) -> Value {
    let topic = overview.topic;
    let groups = readers_of(topic);
    let groups: Vec<_> = groups.iter().map(|&group| json!({"group": group, "lag": overview.lag_of(group)})).collect();
    let partitions = match detail {
        Detail::Sums => json!(overview.partitions.len()),
        Detail::Partitions => overview.partitions.iter().map(partition_json).collect(),
    };
    let retention_ms = match topic.cleanup {
        Cleanup::Delete(after) => json!(u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
        Cleanup::Compact => Value::Null,
    };
    let cleanup = match topic.cleanup {
        Cleanup::Delete(_) => "delete",
        Cleanup::Compact => "compact",
    };
    json!({
        "topic": topic.name, "key": topic.key, "record": topic.record, "partitions": partitions,
        "offsets": overview.offsets(), "cleanup": cleanup, "retention_ms": retention_ms,
        "groups": groups,
    })
}

fn partition_json(partition: &PartitionOverview) -> Value {
    let groups: Vec<_> = partition
        .groups
        .iter()
        .map(|group| json!({"group": group.group, "position": group.committed, "lag": group.lag}))
        .collect();
    json!({
        "partition": partition.partition, "start": partition.bounds.start, "end": partition.bounds.end,
        "oldest": partition.times.map(|(oldest, _)| output::time(oldest)),
        "newest": partition.times.map(|(_, newest)| output::time(newest)), "groups": groups,
    })
}

fn kept(topic: &TopicSpec) -> String {
    match topic.cleanup {
        Cleanup::Delete(after) => output::span(after),
        Cleanup::Compact => "newest of a key".into(),
    }
}
