//! `gochat topics dead-letters`.

use serde_json::{Value, json};
use topics::clock::Clock;
use topics::dead_letter::Letter;
use topics::log::Log;
use topics::tools::dead_letters::{DeadLetters, Group, LETTERS_MAX, Selection};
use topics::tools::redrive;
use topics::tools::view::{headers_json, text_or_hex};

use super::args::{LettersArgs, RedriveArgs, ShowArgs};
use crate::commands::error::CommandError;
use crate::commands::output;
use crate::config::Config;
use crate::log::OpenLog;
use crate::topology;

/// A row a source topic and reason.
pub async fn list(log: &dyn Log, args: &LettersArgs) -> Result<(), CommandError> {
    let found = read(log, &args.select.selection()).await?;
    if args.json {
        let groups: Vec<Value> = found.groups().iter().map(group_json).collect();
        let all = json!({"groups": groups, "letters": found.letters.len(), "redriven": found.redriven});
        return Ok(output::line(serde_json::to_string_pretty(&all)?)?);
    }
    print_groups(&found)?;
    Ok(output::line(format_args!("{} wait, {} were put back", found.letters.len(), found.redriven))?)
}

/// Letters in full.
pub async fn show(log: &dyn Log, args: &ShowArgs) -> Result<(), CommandError> {
    let mut selection = args.select.selection();
    selection.offsets.extend(&args.offsets);
    let found = read(log, &selection).await?;
    if found.letters.is_empty() {
        return Err(format!(
            "no dead letter waits there ({} of those chosen were put back): see gochat topics dead-letters list",
            found.redriven
        )
        .into());
    }
    for letter in found.letters.iter().take(args.limit) {
        if args.json {
            output::line(letter_json(letter))?;
        } else {
            print_letter(letter)?;
        }
    }
    if found.letters.len() > args.limit {
        output::note(format_args!("{} more: --limit N shows them", found.letters.len() - args.limit));
    }
    Ok(())
}

/// Says what would be put back, or puts it back.
pub async fn redrive(config: &Config, args: &RedriveArgs) -> Result<(), CommandError> {
    let selection = args.select.selection();
    let open = OpenLog::attach(config).await?;
    let (found, layout) = (read(&*open.log(), &selection).await, open.log().layout());
    open.close().await;
    let found = found?;
    print_groups(&found)?;
    let (waiting, before) = (found.letters.len(), found.redriven);
    if !args.apply {
        output::line(format_args!(
            "{waiting} would be put back, {before} were put back before; nothing was changed: --apply does it"
        ))?;
        return Ok(());
    }
    let mut config = config.clone();
    (config.log.chain_partitions, config.log.gateway_slots) = (layout.chain_partitions, layout.gateway_slots);
    let open = OpenLog::attach_for_writing(&config, Clock::system()).await?;
    let log = open.log();
    let done =
        redrive::redrive(&*log, &selection, |done| output::note(format_args!("{done} of {waiting} are back"))).await;
    drop(log);
    open.close().await;
    Ok(output::line(format_args!("{} were put back, {before} had been before", done?))?)
}

/// Reads the letters that were chosen, and says what is left out.
async fn read(log: &dyn Log, selection: &Selection) -> Result<DeadLetters, CommandError> {
    let found = DeadLetters::read(log, selection).await?;
    if !found.no_letters_at.is_empty() {
        let offsets: Vec<_> = found.no_letters_at.iter().map(u64::to_string).collect();
        return Err(
            format!("no dead letter is at offset {}: see gochat topics dead-letters list", offsets.join(", ")).into()
        );
    }
    if found.foreign > 0 {
        output::note(format_args!(
            "{} records of dead-letters are not dead letters of gochat, and are left alone",
            found.foreign
        ));
    }
    if found.left_out > 0 {
        output::note(format_args!(
            "{} letters are beyond the {LETTERS_MAX} that are looked at together: choose fewer",
            found.left_out
        ));
    }
    Ok(found)
}

fn print_groups(found: &DeadLetters) -> Result<(), CommandError> {
    let row = |group: &Group<'_>| {
        [
            group.topic.name.to_owned(),
            group.class.to_owned(),
            group.letters.to_string(),
            group.tries_max.to_string(),
            output::time(group.first_ms),
            output::time(group.last_ms),
            group.example.place.offset.to_string(),
        ]
    };
    let rows: Vec<_> = found.groups().iter().map(row).collect();
    Ok(output::table(["SOURCE", "REASON", "LETTERS", "TRIES", "FIRST", "LAST", "EXAMPLE"], &rows)?)
}

fn print_letter(letter: &Letter) -> Result<(), CommandError> {
    output::line(format_args!("dead letter  {}/{}", letter.place.partition, letter.place.offset))?;
    output::line(format_args!("set aside    {} by {}", output::time(letter.time_ms), letter.reader))?;
    output::line(format_args!("reason       {}: {}", letter.class, letter.error))?;
    let (topic, source) = (letter.topic.name, letter.source);
    output::line(format_args!("source       {topic} partition {} offset {}", source.partition, source.offset))?;
    output::line(format_args!("tries        {}", letter.tries))?;
    output::line(format_args!("key          {}", text_or_hex(&letter.key)))?;
    output::line(format_args!("headers      {}", headers_json(&letter.headers, &topology::hops())))?;
    output::line(format_args!("value        {} bytes", letter.value.len()))?;
    for (number, row) in letter.value.chunks(16).enumerate() {
        let bytes: Vec<_> = row.iter().map(|byte| format!("{byte:02x}")).collect();
        let shown = |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' };
        let text: String = row.iter().map(shown).collect();
        output::line(format_args!("  {:06x}  {:47}  {text}", number * 16, bytes.join(" ")))?;
    }
    Ok(output::line("")?)
}

fn letter_json(letter: &Letter) -> Value {
    let source =
        json!({"topic": letter.topic.name, "partition": letter.source.partition, "offset": letter.source.offset});
    json!({
        "partition": letter.place.partition, "offset": letter.place.offset, "time": output::time(letter.time_ms),
        "reader": letter.reader, "reason": letter.class, "error": letter.error, "source": source,
        "tries": letter.tries, "key": text_or_hex(&letter.key), "headers": headers_json(&letter.headers, &topology::hops()),
        "bytes": schemas::json::hex(&letter.value), "text": String::from_utf8_lossy(&letter.value),
    })
}

fn group_json(group: &Group<'_>) -> Value {
    json!({
        "source": group.topic.name, "reason": group.class, "letters": group.letters, "tries_max": group.tries_max,
        "first": output::time(group.first_ms), "last": output::time(group.last_ms),
        "example": {"partition": group.example.place.partition, "offset": group.example.place.offset,
                    "error": group.example.error},
    })
}
